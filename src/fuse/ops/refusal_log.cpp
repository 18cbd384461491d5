#include "fuse/ops/refusal_log.h"

namespace baton {

bool RefusalLog::First(std::uint64_t file, int pid) {
  const Instant now = clock_.Now();
  std::lock_guard lock(mutex_);
  const auto [logged, added] = logged_.emplace(std::pair(file, pid), now);
  if (!added && now - logged->second < kQuiet) return false;
  logged->second = now;
  if (logged_.size() > kMost) std::erase_if(logged_, [&](const auto& entry) { return entry.second != now; });
  return true;
}

}  // namespace baton
