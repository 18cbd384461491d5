// EpochBook: which epoch of its instance a process of this node belongs to (rule T7). It reads nothing; the
// resolver brings the facts. Any thread; its mutex is a leaf.
//
// A process belongs to the epoch it is pinned to, for good. Unpinned, it belongs to its nearest pinned
// ancestor's. Unpinned altogether, it is old (of the newest fenced epoch) unless proven new: it and every
// ancestor of the same id that was seen started after the fence's acknowledgement, and it was not left to the
// reaper inside a control group that held members. A version above the fenced one is the other proof.
// Whatever is found old is pinned as old: nothing later makes it new.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/guid.h"
#include "base/ids.h"
#include "fuse/identity/proc_reader.h"

namespace baton {

// A member process and the ancestors of the same id, as far as they were alive when it was first seen.
struct Lineage {
  struct Kin {
    ProcessKey process;
    std::optional<InstanceVersion> version;
    friend bool operator==(const Kin&, const Kin&) = default;
  };
  ProcessKey self;
  Guid guid{};
  std::optional<InstanceVersion> version;
  std::vector<Kin> kin;    // nearest first
  Ticks oldest_start = 0;  // of self and kin
  // The topmost one of the same id may have been left to the reaper by a parent of the same id that is gone.
  bool orphan = false;
  std::optional<CgroupId> cgroup;  // of that topmost one; nullopt: not known
};

class EpochBook {
 public:
  struct Verdict {
    bool fenced = false;
    Epoch epoch = kNewEpoch;
  };
  struct Incarnation {
    Guid guid{};
    Epoch epoch = kNewEpoch;
    std::optional<InstanceVersion> version;  // the highest of its pinned processes
  };

  Verdict Judge(const Lineage& lineage);

  void Pin(const ProcessKey& process, const Guid& guid, Epoch epoch, std::optional<InstanceVersion> version);

  // False if this epoch, or a later one, is fenced already. Until EndScan every control group counts as one
  // with members.
  bool Fence(const Incarnation& fenced, Ticks acked_at);
  void EndScan(const Guid& guid, Epoch epoch, const std::set<CgroupId>& groups_with_members);
  // What FenceAll has to fence: for each instance its newest epoch that is pinned and not fenced.
  std::vector<Incarnation> Unfenced() const;

  // A member was seen in this group. One that started before a fence was there at the fence.
  void NoteMember(const Guid& guid, const CgroupId& cgroup, Ticks oldest_start);
  // The groups that held members, and what to call for one that was found without any process after that:
  // what starts there later was not left behind by a member. `as_of` keeps a member that came in between.
  struct WatchedGroups {
    std::uint64_t as_of = 0;
    std::vector<CgroupId> groups;
  };
  WatchedGroups GroupsWithMembers() const;
  void ForgetGroup(const CgroupId& cgroup, std::uint64_t as_of);

  std::vector<ProcessKey> PinnedProcesses() const;
  // Takes the pins of processes that are gone. Returns the incarnations that lost their last pinned process
  // by it, those of fenced epochs left out.
  std::vector<Incarnation> ForgetProcesses(const std::vector<ProcessKey>& gone);
  std::optional<Epoch> PinOf(const ProcessKey& process, const Guid& guid) const;
  bool IsFenced(const Guid& guid, Epoch epoch) const;
  bool HasPins(const Guid& guid, Epoch epoch) const;

 private:
  struct PinRecord {
    Epoch epoch = kNewEpoch;
    std::optional<InstanceVersion> version;
  };
  using Groups = std::map<CgroupId, std::uint64_t>;  // with the note that put it there last
  struct FenceRecord {
    Epoch epoch = kNewEpoch;
    std::optional<InstanceVersion> version;
    Ticks acked_at = 0;
    bool any_group = true;
    Groups groups;
  };
  struct GuidHash {
    std::size_t operator()(const Guid& guid) const { return boost::uuids::hash_value(guid); }
  };
  struct MemberGroups {
    bool any = false;  // too many to keep
    Groups groups;
  };
  using Pins = std::vector<std::pair<Guid, PinRecord>>;  // mostly one

  const PinRecord* FindPin(const ProcessKey& process, const Guid& guid) const;
  const FenceRecord* FindFence(const Guid& guid) const;
  void SetPin(const ProcessKey& process, const Guid& guid, PinRecord pin);
  std::optional<PinRecord> Inherited(const Lineage& lineage) const;
  void BoundFences();

  mutable std::mutex mutex_;
  std::unordered_map<ProcessKey, Pins, ProcessKeyHash> pins_;
  std::unordered_map<Guid, FenceRecord, GuidHash> fences_;
  std::unordered_map<Guid, MemberGroups, GuidHash> member_groups_;
  std::uint64_t notes_ = 0;
  bool member_groups_full_ = false;  // from now on every fence counts every group
};

}  // namespace baton
