#include "fuse/kernel/open_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace baton {

std::uint64_t OpenTable::Add(std::shared_ptr<Open> open) {
  Open* const key = open.get();
  std::lock_guard lock(mutex_);
  const bool revoked = open->generation == revoked_generation_ && revoked_.erase(open->handle) > 0;
  if (revoked || IsGone(*open)) open->dead = true;
  opens_.emplace(key, std::move(open));
  return reinterpret_cast<std::uint64_t>(key);
}

std::shared_ptr<Open> OpenTable::Get(std::uint64_t number) {
  return reinterpret_cast<Open*>(number)->shared_from_this();
}

std::shared_ptr<Open> OpenTable::Remove(std::uint64_t number) {
  std::lock_guard lock(mutex_);
  const auto found = opens_.find(reinterpret_cast<Open*>(number));
  BATON_CHECK(found != opens_.end());
  std::shared_ptr<Open> open = std::move(found->second);
  opens_.erase(found);
  return open;
}

template <class Condition>
std::vector<std::shared_ptr<Open>> OpenTable::Kill(Condition condition) {
  std::vector<std::shared_ptr<Open>> killed;
  std::lock_guard lock(mutex_);
  for (const auto& [key, open] : opens_) {
    if (condition(*open) && !open->dead.exchange(true)) killed.push_back(open);
  }
  return killed;
}

std::vector<std::shared_ptr<Open>> OpenTable::KillIncarnation(const Guid& guid, Epoch epoch) {
  {
    std::lock_guard lock(mutex_);
    Epoch& fenced = fenced_[guid];
    if (Raw(fenced) < Raw(epoch)) fenced = epoch;
  }
  return Kill([&](const Open& open) { return IsGone(open); });
}

bool OpenTable::IsGone(const Open& open) const {
  if (open.generation < oldest_live_) return true;
  if (!open.incarnation) return false;
  if (open.incarnation->guid.is_nil()) {
    return std::any_of(fenced_.begin(), fenced_.end(),
                       [&](const auto& entry) { return entry.second == open.incarnation->epoch; });
  }
  const auto found = fenced_.find(open.incarnation->guid);
  return found != fenced_.end() && Raw(open.incarnation->epoch) <= Raw(found->second);
}

std::vector<std::shared_ptr<Open>> OpenTable::KillHandles(client::Generation generation,
                                                          std::span<const HandleId> handles) {
  const std::unordered_set<HandleId> named(handles.begin(), handles.end());
  std::unordered_set<HandleId> unknown = named;
  std::vector<std::shared_ptr<Open>> killed;
  std::lock_guard lock(mutex_);
  for (const auto& [key, open] : opens_) {
    if (open->generation != generation || !named.contains(open->handle)) continue;
    unknown.erase(open->handle);
    if (!open->dead.exchange(true)) killed.push_back(open);
  }
  if (std::exchange(revoked_generation_, generation) != generation || revoked_.size() > kMostRevoked) {
    revoked_.clear();
  }
  revoked_.merge(unknown);
  return killed;
}

std::vector<std::shared_ptr<Open>> OpenTable::KillSessionsBefore(client::Generation generation) {
  {
    std::lock_guard lock(mutex_);
    oldest_live_ = std::max(oldest_live_, generation);
  }
  return Kill([&](const Open& open) { return IsGone(open); });
}

std::vector<std::shared_ptr<Open>> OpenTable::LoseUnsynced() {
  std::vector<std::shared_ptr<Open>> losers;
  std::lock_guard lock(mutex_);
  for (const auto& [key, open] : opens_) {
    if (open->dead || open->last_unsynced_ <= open->inode->Settled()) continue;
    open->lost_ = true;
    losers.push_back(open);
  }
  for (const auto& open : losers) open->inode->SetSettled(open->inode->Written());
  return losers;
}

std::vector<int> OpenTable::PidsOf(const Inode& inode) const {
  std::vector<int> pids;
  std::lock_guard lock(mutex_);
  for (const auto& [key, open] : opens_) {
    if (open->inode.get() == &inode && open->pid != 0) pids.push_back(open->pid);
  }
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

}  // namespace baton
