#include "fuse/identity/epoch_book.h"

#include <algorithm>
#include <set>

#include "base/log.h"

namespace baton {
namespace {

// Far more instances than a node runs; the server bounds them too (rule T12).
constexpr std::size_t kMaxInstances = 65536;
constexpr std::size_t kMaxGroups = 64;

// A version that only a replacement can have.
bool Above(const std::optional<InstanceVersion>& version, const std::optional<InstanceVersion>& other) {
  return version && (!other || *version > *other);
}

}  // namespace

const EpochBook::PinRecord* EpochBook::FindPin(const ProcessKey& process, const Guid& guid) const {
  auto found = pins_.find(process);
  if (found == pins_.end()) return nullptr;
  for (const auto& [pinned, pin] : found->second) {
    if (pinned == guid) return &pin;
  }
  return nullptr;
}

const EpochBook::FenceRecord* EpochBook::FindFence(const Guid& guid) const {
  auto found = fences_.find(guid);
  return found == fences_.end() ? nullptr : &found->second;
}

void EpochBook::SetPin(const ProcessKey& process, const Guid& guid, PinRecord pin) {
  pins_[process].emplace_back(guid, pin);
}

// The nearest pinned ancestor's epoch, unless this process's version says that it is there to replace that
// one.
std::optional<EpochBook::PinRecord> EpochBook::Inherited(const Lineage& lineage) const {
  for (const Lineage::Kin& kin : lineage.kin) {
    const PinRecord* pin = FindPin(kin.process, lineage.guid);
    if (pin != nullptr && !Above(lineage.version, kin.version)) return *pin;
  }
  return std::nullopt;
}

EpochBook::Verdict EpochBook::Judge(const Lineage& lineage) {
  std::lock_guard lock(mutex_);
  const FenceRecord* fence = FindFence(lineage.guid);
  auto judge_pin = [&](Epoch epoch) {
    bool fenced = fence != nullptr && epoch <= fence->epoch;
    return Verdict{fenced, fenced ? fence->epoch : epoch};
  };
  if (const PinRecord* pin = FindPin(lineage.self, lineage.guid)) return judge_pin(pin->epoch);
  bool replaces_fenced = fence != nullptr && Above(lineage.version, fence->version);
  if (std::optional<PinRecord> pin = Inherited(lineage)) {
    bool old = fence != nullptr && pin->epoch <= fence->epoch;
    if (!old || !replaces_fenced) {
      SetPin(lineage.self, lineage.guid, {pin->epoch, lineage.version});
      return judge_pin(pin->epoch);
    }
  }
  if (fence == nullptr || replaces_fenced) return {};
  bool left_behind =
      lineage.orphan && (!lineage.cgroup || fence->any_group || fence->groups.contains(*lineage.cgroup));
  if (lineage.oldest_start > fence->acked_at && !left_behind) return {};
  SetPin(lineage.self, lineage.guid, {fence->epoch, lineage.version});
  return {true, fence->epoch};
}

void EpochBook::Pin(const ProcessKey& process, const Guid& guid, Epoch epoch,
                    std::optional<InstanceVersion> version) {
  if (epoch == kNewEpoch) return;
  std::lock_guard lock(mutex_);
  // The first one stays: no later grant moves a process to another epoch.
  if (FindPin(process, guid) == nullptr) SetPin(process, guid, {epoch, version});
}

bool EpochBook::Fence(const Incarnation& fenced, Ticks acked_at) {
  std::lock_guard lock(mutex_);
  auto found = fences_.find(fenced.guid);
  if (found != fences_.end() && fenced.epoch <= found->second.epoch) return false;
  if (found == fences_.end()) {
    BoundFences();
    found = fences_.emplace(fenced.guid, FenceRecord{}).first;
  }
  FenceRecord& fence = found->second;
  fence.epoch = fenced.epoch;
  fence.version = fenced.version;
  fence.acked_at = acked_at;
  fence.any_group = true;
  return true;
}

// Makes room by letting go of the fence acknowledged longest ago. Pinned processes of it still send their old
// epoch, which the server refuses.
void EpochBook::BoundFences() {
  if (fences_.size() < kMaxInstances) return;
  auto oldest = std::min_element(fences_.begin(), fences_.end(), [](const auto& a, const auto& b) {
    return a.second.acked_at < b.second.acked_at;
  });
  log::Warn("identity: more than {} fenced instances here, forgetting the fence of {}", kMaxInstances,
            ToString(oldest->first));
  fences_.erase(oldest);
}

void EpochBook::EndScan(const Guid& guid, Epoch epoch, const std::set<CgroupId>& groups_with_members) {
  std::lock_guard lock(mutex_);
  auto found = fences_.find(guid);
  if (found == fences_.end() || found->second.epoch != epoch) return;
  FenceRecord& fence = found->second;
  ++notes_;
  for (const CgroupId& group : groups_with_members) fence.groups[group] = notes_;
  fence.any_group = member_groups_full_;
  auto members = member_groups_.find(guid);
  if (members == member_groups_.end()) return;
  for (const auto& [group, note] : members->second.groups) fence.groups[group] = notes_;
  fence.any_group = fence.any_group || members->second.any;
}

std::vector<EpochBook::Incarnation> EpochBook::Unfenced() const {
  std::lock_guard lock(mutex_);
  std::unordered_map<Guid, Incarnation, GuidHash> newest;
  for (const auto& [process, pins] : pins_) {
    for (const auto& [guid, pin] : pins) {
      const FenceRecord* fence = FindFence(guid);
      if (fence != nullptr && pin.epoch <= fence->epoch) continue;
      Incarnation& known = newest.try_emplace(guid, Incarnation{guid, pin.epoch, pin.version}).first->second;
      if (pin.epoch > known.epoch) known = {guid, pin.epoch, pin.version};
      if (pin.epoch == known.epoch && Above(pin.version, known.version)) known.version = pin.version;
    }
  }
  std::vector<Incarnation> result;
  for (const auto& [guid, incarnation] : newest) result.push_back(incarnation);
  return result;
}

void EpochBook::NoteMember(const Guid& guid, const CgroupId& cgroup, Ticks oldest_start) {
  std::lock_guard lock(mutex_);
  ++notes_;
  auto fence = fences_.find(guid);
  if (fence != fences_.end() && oldest_start <= fence->second.acked_at) fence->second.groups[cgroup] = notes_;
  if (!member_groups_.contains(guid) && member_groups_.size() >= kMaxInstances) {
    member_groups_full_ = true;
    return;
  }
  MemberGroups& members = member_groups_[guid];
  if (members.groups.size() >= kMaxGroups && !members.groups.contains(cgroup)) members.any = true;
  if (!members.any) members.groups[cgroup] = notes_;
}

EpochBook::WatchedGroups EpochBook::GroupsWithMembers() const {
  std::lock_guard lock(mutex_);
  std::set<CgroupId> groups;
  for (const auto& [guid, fence] : fences_) {
    for (const auto& [group, note] : fence.groups) groups.insert(group);
  }
  for (const auto& [guid, members] : member_groups_) {
    for (const auto& [group, note] : members.groups) groups.insert(group);
  }
  return {notes_, {groups.begin(), groups.end()}};
}

void EpochBook::ForgetGroup(const CgroupId& cgroup, std::uint64_t as_of) {
  std::lock_guard lock(mutex_);
  auto forget = [&](Groups& groups) {
    auto found = groups.find(cgroup);
    if (found != groups.end() && found->second <= as_of) groups.erase(found);
  };
  for (auto& [guid, fence] : fences_) forget(fence.groups);
  for (auto& [guid, members] : member_groups_) forget(members.groups);
}

std::vector<ProcessKey> EpochBook::PinnedProcesses() const {
  std::lock_guard lock(mutex_);
  std::vector<ProcessKey> processes;
  processes.reserve(pins_.size());
  for (const auto& [process, pins] : pins_) processes.push_back(process);
  return processes;
}

std::vector<EpochBook::Incarnation> EpochBook::ForgetProcesses(const std::vector<ProcessKey>& gone) {
  std::vector<Incarnation> touched;
  {
    std::lock_guard lock(mutex_);
    for (const ProcessKey& process : gone) {
      auto found = pins_.find(process);
      if (found == pins_.end()) continue;
      for (const auto& [guid, pin] : found->second) {
        const FenceRecord* fence = FindFence(guid);
        bool fenced = fence != nullptr && pin.epoch <= fence->epoch;
        bool known = std::any_of(touched.begin(), touched.end(), [&](const Incarnation& other) {
          return other.guid == guid && other.epoch == pin.epoch;
        });
        if (!fenced && !known) touched.push_back({guid, pin.epoch, pin.version});
      }
      pins_.erase(found);
    }
  }
  std::erase_if(touched, [&](const Incarnation& each) { return HasPins(each.guid, each.epoch); });
  return touched;
}

std::optional<Epoch> EpochBook::PinOf(const ProcessKey& process, const Guid& guid) const {
  std::lock_guard lock(mutex_);
  const PinRecord* pin = FindPin(process, guid);
  return pin == nullptr ? std::nullopt : std::optional(pin->epoch);
}

bool EpochBook::IsFenced(const Guid& guid, Epoch epoch) const {
  std::lock_guard lock(mutex_);
  const FenceRecord* fence = FindFence(guid);
  return fence != nullptr && epoch <= fence->epoch;
}

bool EpochBook::HasPins(const Guid& guid, Epoch epoch) const {
  std::lock_guard lock(mutex_);
  for (const auto& [process, pins] : pins_) {
    for (const auto& [pinned, pin] : pins) {
      if (pinned == guid && pin.epoch == epoch) return true;
    }
  }
  return false;
}

}  // namespace baton
