// What looks at all processes: the scan at a fence (rule T7) and the sweep (rule T3).
#include <algorithm>

#include "fuse/identity/resolver_impl.h"

namespace baton {
namespace {

constexpr std::size_t kEnvironLimit = 2 << 20;

}  // namespace

// Living processes whose environment carries one of these ids, and those known as members.
std::map<Guid, std::vector<ProcessKey>> IdentityResolver::Impl::Carriers(const std::set<Guid>& guids) const {
  std::map<Guid, std::vector<ProcessKey>> carriers;
  for (const Guid& guid : guids) {
    for (const ProcessKey& member : table_.MembersOf(guid)) {
      if (Alive(member)) carriers[guid].push_back(member);
    }
  }
  VariableNames names{options_.instance_variable, options_.version_variable, options_.takeover_variable};
  for (pid_t pid : proc_.ListProcesses().value_or(std::vector<pid_t>{})) {
    Result<Environ> environment = proc_.ReadEnviron(pid, kEnvironLimit);
    if (!environment || environment->text.empty()) continue;
    OwnId own = ReadOwnId(*environment, names);
    if (own.kind != OwnId::Kind::kId || !guids.contains(own.guid)) continue;
    Result<TaskStat> stat = proc_.ReadStat(pid);
    if (stat) carriers[own.guid].push_back({pid, stat->start});
  }
  return carriers;
}

IdentityResolver::Fences IdentityResolver::Impl::PutInForce(const Incarnations& fenced, Instant acked_at) {
  Fences fences;
  Ticks tick = proc_.TickOf(acked_at);
  for (const EpochBook::Incarnation& each : fenced) {
    if (book_.Fence(each, tick)) fences.emplace_back(each.guid, each.epoch);
  }
  return fences;
}

void IdentityResolver::Impl::ScanForMembers(const Fences& fences) {
  // Without a list of processes nothing can be said of any group: the scan stays open, every orphan is old.
  if (fences.empty() || !proc_.ListProcesses()) return;
  std::set<Guid> guids;
  for (const auto& [guid, epoch] : fences) guids.insert(guid);
  std::map<Guid, std::vector<ProcessKey>> carriers = Carriers(guids);
  for (const auto& [guid, epoch] : fences) {
    std::set<CgroupId> groups;
    for (const ProcessKey& carrier : carriers[guid]) {
      Result<CgroupId> group = proc_.ReadCgroup(carrier.tgid);
      if (group) groups.insert(std::move(*group));
    }
    book_.EndScan(guid, epoch, groups);
  }
}

bool IdentityResolver::Impl::Alive(const ProcessKey& process) const {
  Result<TaskStat> stat = proc_.ReadStat(process.tgid);
  if (!stat) return stat.error().value != ESRCH;
  return stat->start == process.start && !stat->dead;
}

std::vector<std::pair<Guid, Epoch>> IdentityResolver::Impl::Sweep() {
  std::lock_guard lock(sweep_mutex_);
  // The known ones are taken down before the living ones are listed: a process met in between is not taken
  // for gone.
  std::vector<ProcessKey> known = table_.Processes();
  std::vector<ProcessKey> pinned = book_.PinnedProcesses();
  Result<std::vector<pid_t>> pids = proc_.ListProcesses();
  if (!pids) return {};
  std::set<pid_t> living(pids->begin(), pids->end());
  std::set<ProcessKey> gone;
  for (const ProcessKey& process : known) {
    if (!living.contains(process.tgid)) gone.insert(process);
  }
  for (const ProcessKey& process : pinned) {  // exactly: a later process may have the number
    if (!living.contains(process.tgid) || !Alive(process)) gone.insert(process);
  }
  std::vector<ProcessKey> gone_list(gone.begin(), gone.end());
  table_.Forget(gone_list);
  Incarnations lost = book_.ForgetProcesses(gone_list);
  SweepRegistrations(gone);
  SweepGroups();
  return WithoutProcess(lost);
}

// A registration outlives its process as long as a descendant that carries it is known.
void IdentityResolver::Impl::SweepRegistrations(const std::set<ProcessKey>& gone) {
  std::set<RegistrationId> in_use = table_.RegistrationsInUse();
  for (const ProcessKey& process : registry_.Processes()) {
    if (!gone.contains(process) && Alive(process)) continue;
    std::optional<Registry::Entry> entry = registry_.Find(process);
    if (entry && !in_use.contains(entry->id)) registry_.Remove(process);
  }
}

void IdentityResolver::Impl::SweepGroups() {
  EpochBook::WatchedGroups watched = book_.GroupsWithMembers();
  for (const CgroupId& group : watched.groups) {
    if (!proc_.CgroupMayHoldProcesses(group)) book_.ForgetGroup(group, watched.as_of);
  }
}

// Of the incarnations whose pinned processes are gone, those that no process carries any more (a worker that
// never used the mount is not pinned and still counts).
std::vector<std::pair<Guid, Epoch>> IdentityResolver::Impl::WithoutProcess(const Incarnations& lost) {
  for (const EpochBook::Incarnation& each : lost) lingering_.push_back({each.guid, each.epoch, {}});
  std::erase_if(lingering_, [&](const Lingering& each) {
    return book_.HasPins(each.guid, each.epoch) || book_.IsFenced(each.guid, each.epoch);
  });
  std::set<Guid> to_scan;
  for (Lingering& each : lingering_) {
    std::erase_if(each.carriers, [&](const ProcessKey& carrier) { return !Alive(carrier); });
    if (each.carriers.empty()) to_scan.insert(each.guid);
  }
  if (to_scan.empty()) return {};
  std::map<Guid, std::vector<ProcessKey>> carriers = Carriers(to_scan);
  std::vector<std::pair<Guid, Epoch>> result;
  for (Lingering& each : lingering_) {
    if (!each.carriers.empty()) continue;
    each.carriers = carriers[each.guid];
    // One that is pinned now is pinned to another epoch.
    std::erase_if(each.carriers,
                  [&](const ProcessKey& carrier) { return book_.PinOf(carrier, each.guid).has_value(); });
    if (each.carriers.empty()) result.emplace_back(each.guid, each.epoch);
  }
  std::erase_if(lingering_, [](const Lingering& each) { return each.carriers.empty(); });
  return result;
}

}  // namespace baton
