#include "fuse/kernel/request_buffer.h"

#include <linux/fuse.h>

#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace baton {
namespace {

thread_local CurrentRequestBuffer* current = nullptr;

struct Taken {
  std::shared_ptr<RequestBufferPool> pool;
  void* memory;
};

void GiveBack(void* owned) {
  std::unique_ptr<Taken> taken(static_cast<Taken*>(owned));
  taken->pool->Put(taken->memory);
}

}  // namespace

RequestBufferPool::~RequestBufferPool() {
  for (void* memory : free_) std::free(memory);
}

void* RequestBufferPool::Get() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) return nullptr;
  void* memory = free_.back();
  free_.pop_back();
  return memory;
}

void RequestBufferPool::Put(void* memory) {
  if (memory == nullptr) return;
  {
    std::lock_guard lock(mutex_);
    if (free_.size() < kKept) {
      free_.push_back(memory);
      return;
    }
  }
  std::free(memory);
}

CurrentRequestBuffer::CurrentRequestBuffer(std::shared_ptr<RequestBufferPool> pool) : pool_(std::move(pool)) {
  BATON_CHECK(current == nullptr);
  current = this;
}

CurrentRequestBuffer::~CurrentRequestBuffer() {
  pool_->Put(memory_);
  current = nullptr;
}

void* CurrentRequestBuffer::Memory() {
  if (memory_ == nullptr) memory_ = pool_->Get();
  return memory_;
}

std::uint64_t CurrentRequestBuffer::Number() {
  if (current == nullptr || current->memory_ == nullptr) return 0;
  return static_cast<const fuse_in_header*>(current->memory_)->unique;
}

RequestBuffer CurrentRequestBuffer::TakeOver() {
  BATON_CHECK(current != nullptr && current->memory_ != nullptr);
  auto taken = std::make_unique<Taken>(Taken{current->pool_, std::exchange(current->memory_, nullptr)});
  return RequestBuffer(taken.release(), &GiveBack);
}

}  // namespace baton
