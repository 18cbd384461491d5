#include "fuse/ops/ancestor_cache.h"

namespace baton {

std::vector<std::int32_t> AncestorCache::Of(const ProcessKey& process) {
  const Instant now = clock_.Now();
  {
    std::lock_guard lock(mutex_);
    const auto found = known_.find(process);
    if (found != known_.end() && now - found->second.at < kFresh) return found->second.ancestors;
  }
  std::vector<std::int32_t> ancestors = Read(process.tgid);
  std::lock_guard lock(mutex_);
  if (known_.size() >= kMost) known_.clear();
  known_.insert_or_assign(process, Known{ancestors, now});
  return ancestors;
}

std::vector<std::int32_t> AncestorCache::Read(pid_t pid) const {
  std::vector<std::int32_t> ancestors;
  while (ancestors.size() < kMostAncestors) {
    const Result<TaskStat> stat = proc_.ReadStat(pid);
    if (!stat || stat->ppid <= 0) break;
    pid = stat->ppid;
    ancestors.push_back(pid);
  }
  return ancestors;
}

}  // namespace baton
