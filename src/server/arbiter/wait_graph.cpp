#include "server/arbiter/wait_graph.h"

#include <set>
#include <vector>

#include "base/check.h"

namespace baton {

void WaitGraph::Add(RequestId request, const LockTable& table, const Lock& wish) {
  BATON_CHECK(waits_.emplace(request, Wait{&table, wish}).second);
  by_owner_.emplace(wish.owner, request);
}

void WaitGraph::Remove(RequestId request) {
  const auto wait = waits_.find(request);
  if (wait == waits_.end()) return;
  auto [at, end] = by_owner_.equal_range(wait->second.wish.owner);
  while (at != end && at->second != request) ++at;
  BATON_CHECK(at != end);
  by_owner_.erase(at);
  waits_.erase(wait);
}

bool WaitGraph::WouldDeadlock(const LockTable& table, const Lock& wish) const {
  const Wait asked{&table, wish};
  std::vector<const Wait*> pending{&asked};
  std::set<LockOwner> seen;
  std::size_t edges = 0;
  while (!pending.empty()) {
    const Wait& wait = *pending.back();
    pending.pop_back();
    for (const Lock* blocker : wait.table->AllConflicts(wait.wish)) {
      if (blocker->owner == wish.owner) return true;
      if (++edges > kMaxEdges) return false;
      if (!seen.insert(blocker->owner).second) continue;
      const auto [first, last] = by_owner_.equal_range(blocker->owner);
      for (auto at = first; at != last; ++at) pending.push_back(&waits_.at(at->second));
    }
  }
  return false;
}

}  // namespace baton
