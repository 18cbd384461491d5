// One log line per file and caller that was refused with EBUSY (rule O2), not one per try. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "base/clock.h"

namespace baton {

class RefusalLog {
 public:
  explicit RefusalLog(const Clock& clock) : clock_(clock) {}
  // True if a line is due: the first for this file and process, or the first for a while. Bounded memory.
  bool First(std::uint64_t file, int pid);

 private:
  static constexpr Duration kQuiet = std::chrono::minutes(10);
  static constexpr std::size_t kMost = 4096;

  const Clock& clock_;
  std::mutex mutex_;
  std::map<std::pair<std::uint64_t, int>, Instant> logged_;
};

}  // namespace baton
