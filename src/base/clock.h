// Time as the rules use it: nanoseconds since the node's boot, suspended time included (CLOCK_BOOTTIME, clock_gettime(2)).
#pragma once

#include <time.h>

#include <chrono>

namespace baton {

using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::nanoseconds;  // since boot

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

class BootClock final : public Clock {
 public:
  Instant Now() const override {
    timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  }
};

}  // namespace baton
