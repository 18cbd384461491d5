// WorkerPool: threads for what may block (identity's slow path, invalidations, which make the kernel send
// dirty pages and wait for them). Grows while every thread is busy, so that one blocked job does not hold up
// another's, and shrinks when idle; bounded. Never for the work of READ or WRITE (rule I6). Post from any
// thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <string>

#include "fuse/client/unique_function.h"

namespace baton {

class WorkerPool {
 public:
  using Job = UniqueFunction<void(), 128>;

  // `name` (at most 15 bytes) is the threads' name. At most `most` threads.
  WorkerPool(std::string name, std::size_t most);
  ~WorkerPool() { Stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Post(Job job);
  // Runs what is queued, then waits for the threads. What is posted afterwards runs inside Post.
  void Stop();

 private:
  void Run();
  void StartThread();

  const std::string name_;
  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable all_ended_;
  std::deque<Job> jobs_;
  std::size_t threads_ = 0;
  std::size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace baton
