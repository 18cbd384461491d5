// The mount's clock work: a tick each second, a faster one while some request may have to be given up, and
// things to be done at a time. One thread of its own, on which nothing may block.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "fuse/client/unique_function.h"

namespace baton {

class Housekeeping {
 public:
  struct Duties {
    std::function<bool()> fast_wanted;
    std::function<void()> fast;  // each 100 ms while fast_wanted
    std::function<void()> slow;  // each second
  };

  explicit Housekeeping(const Clock& clock) : clock_(clock) {}
  ~Housekeeping() { Stop(); }
  Housekeeping(const Housekeeping&) = delete;
  Housekeeping& operator=(const Housekeeping&) = delete;

  void Start(Duties duties);
  // What was not due yet is done now.
  void Stop();

  // Any thread. After Stop it is done at once, by the caller.
  void After(Duration delay, UniqueFunction<void()> then);
  // The next tick is a fast one.
  void Hurry();

 private:
  void Run();

  const Clock& clock_;
  Duties duties_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<Instant, UniqueFunction<void()>> due_;
  bool hurry_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace baton
