#include "server/net/buffers.h"

#include <cstdlib>
#include <new>
#include <utility>

#include "base/check.h"

namespace baton::server {

BufferPool::~BufferPool() {
  for (FreeList& list : lists_) {
    for (std::byte* bytes : list.buffers) ::operator delete(bytes);
  }
}

BufferPool::FreeList& BufferPool::ListFor(std::size_t size) {
  for (FreeList& list : lists_) {
    if (size <= list.size) return list;
  }
  BATON_CHECK(size <= kLarge);
  std::abort();
}

BufferPool::Buffer BufferPool::Get(std::size_t size) {
  FreeList& list = ListFor(size);
  const bool counts = list.size != kSmall;
  if (counts && counted_.fetch_add(list.size) + list.size > bound_) {
    counted_.fetch_sub(list.size);
    refused_.store(true);
    return {};
  }
  std::byte* bytes = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!list.buffers.empty()) {
      bytes = list.buffers.back();
      list.buffers.pop_back();
    }
  }
  if (bytes == nullptr) bytes = static_cast<std::byte*>(::operator new(list.size));
  return {std::shared_ptr<std::byte>(bytes, Free{shared_from_this(), list.size}), list.size};
}

void BufferPool::Release(std::byte* bytes, std::size_t size) {
  FreeList& list = ListFor(size);
  {
    const std::lock_guard lock(mutex_);
    if (list.buffers.size() < list.most_kept) {
      list.buffers.push_back(bytes);
      bytes = nullptr;
    }
  }
  ::operator delete(bytes);
  if (size == kSmall) return;
  counted_.fetch_sub(size);
  if (!refused_.exchange(false)) return;
  const std::lock_guard lock(callback_mutex_);
  if (on_released_) on_released_();
}

void BufferPool::Detach() {
  const std::lock_guard lock(callback_mutex_);
  on_released_ = nullptr;
}

}  // namespace baton::server
