// The buffers in which requests of the kernel arrive. A WRITE's handler takes the buffer over, so that its
// data is neither copied nor freed until batond has answered; the loop then goes on with another one from the
// pool. The pool: any thread. The current buffer: each loop thread's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace baton {

// Memory as libfuse's receive function allocates it: of its size, by malloc.
class RequestBufferPool {
 public:
  ~RequestBufferPool();
  // nullptr: none is free; libfuse allocates one then.
  void* Get();
  void Put(void* memory);

 private:
  static constexpr std::size_t kKept = 32;  // of 1 MiB each, of which only touched pages count
  std::mutex mutex_;
  std::vector<void*> free_;
};

using RequestBuffer = std::unique_ptr<void, void (*)(void*)>;

// Where one loop thread receives. At most one lives per thread.
class CurrentRequestBuffer {
 public:
  explicit CurrentRequestBuffer(std::shared_ptr<RequestBufferPool> pool);
  ~CurrentRequestBuffer();
  CurrentRequestBuffer(const CurrentRequestBuffer&) = delete;
  CurrentRequestBuffer& operator=(const CurrentRequestBuffer&) = delete;

  // Where to receive the next request: another buffer if the last was taken over, or nullptr.
  void* Memory();
  // What libfuse made of it.
  void Set(void* memory) { memory_ = memory; }

  // The buffer of the request that this thread is handling. Requires that it is a loop's thread and that
  // nobody took the buffer yet.
  static RequestBuffer TakeOver();
  // The kernel's number of the request that this thread is handling: it counts them in the order in which it
  // sends them. 0 on other threads.
  static std::uint64_t Number();

 private:
  std::shared_ptr<RequestBufferPool> pool_;
  void* memory_ = nullptr;
};

}  // namespace baton
