// Buffers that frames are received into: three sizes, pooled, so that a MiB of file data neither faults in
// fresh pages nor is copied. Only the two larger sizes count against the bound: the small ones are bounded by
// the number of connections and threads. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "protocol/frame.h"

namespace baton::server {

class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static constexpr std::size_t kSmall = 16 * 1024;
  static constexpr std::size_t kMedium = 144 * 1024;
  static constexpr std::size_t kLarge =
      protocol::kFrameHeaderSize + protocol::kMaxBodySize + protocol::kMaxDataSize;

  struct Free {
    std::shared_ptr<BufferPool> pool;
    std::size_t size = 0;
    void operator()(std::byte* bytes) const { pool->Release(bytes, size); }
  };
  // Shared by the frames that were received into it.
  struct Buffer {
    std::shared_ptr<std::byte> bytes;
    std::size_t size = 0;
  };

  // `on_released` is called when memory that counts against the bound came back after somebody was refused.
  BufferPool(std::uint64_t bound, std::function<void()> on_released)
      : bound_(bound), on_released_(std::move(on_released)) {}
  ~BufferPool();

  // A buffer of at least `size` bytes; an empty one if the bound does not allow it now. Requires: size <=
  // kLarge.
  Buffer Get(std::size_t size);
  std::uint64_t Counted() const { return counted_.load(std::memory_order_relaxed); }
  // From now on nobody is called any more.
  void Detach();

 private:
  struct FreeList {
    std::size_t size;
    std::size_t most_kept;
    std::vector<std::byte*> buffers{};
  };

  void Release(std::byte* bytes, std::size_t size);
  FreeList& ListFor(std::size_t size);

  const std::uint64_t bound_;
  std::atomic<std::uint64_t> counted_ = 0;
  std::mutex mutex_;
  std::array<FreeList, 3> lists_{{{kSmall, 256}, {kMedium, 64}, {kLarge, 16}}};
  std::atomic<bool> refused_ = false;  // since on_released_ was last called
  std::mutex callback_mutex_;
  std::function<void()> on_released_;
};

}  // namespace baton::server
