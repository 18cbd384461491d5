// Executor and Timers: how the service goes on later, on a thread of the pool. Not for work in the order of a
// connection (that is FrameHandler). Every method may be called from any thread, with locks held: callbacks
// never run inside the call.
#pragma once

#include <cstdint>
#include <functional>

#include "base/clock.h"

namespace baton::server {

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `task` once, on some thread of the pool, at the same time as others; it may block.
  virtual void Post(std::function<void()> task) = 0;
};

enum class TimerId : std::uint64_t {};  // 0: none

class Timers {
 public:
  virtual ~Timers() = default;
  // Runs `task` once, at `when` (CLOCK_BOOTTIME) or at once if that is past, on some thread of the pool; it
  // may block.
  virtual TimerId At(Instant when, std::function<void()> task) = 0;
  // True if the task was still to come; it never runs then. False: it ran, runs, or never was.
  virtual bool Cancel(TimerId id) = 0;
};

}  // namespace baton::server
