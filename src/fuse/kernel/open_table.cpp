#include "fuse/kernel/open_table.h"

#include <algorithm>
#include <unordered_set>

#include "base/check.h"

namespace baton {

std::uint64_t OpenTable::Add(std::shared_ptr<Open> open) {
  Open* const key = open.get();
  std::lock_guard lock(mutex_);
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
  return Kill([&](const Open& open) {
    return open.incarnation && open.incarnation->guid == guid && Raw(open.incarnation->epoch) <= Raw(epoch);
  });
}

std::vector<std::shared_ptr<Open>> OpenTable::KillHandles(client::Generation generation,
                                                          std::span<const HandleId> handles) {
  const std::unordered_set<HandleId> named(handles.begin(), handles.end());
  return Kill([&](const Open& open) { return open.generation == generation && named.contains(open.handle); });
}

std::vector<std::shared_ptr<Open>> OpenTable::KillSessionsBefore(client::Generation generation) {
  return Kill([&](const Open& open) { return open.generation < generation; });
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
