// LockTable: the byte-range locks of ONE file: who holds what, who conflicts with whom, and what is left
// after a lock, an unlock, an upgrade, a release or a takeover. POSIX and OFD locks of a file share one
// table; flock has a second one, in which every range is the whole file (SetFlock). Rules L1, L3, T9; the
// model is Linux, fs/locks.c, and the oracle test compares the two call by call. What it is not: it knows no
// waiters (see wait_graph.h for deadlocks), no clock, no incarnations, no files; it does no I/O. A value,
// movable; one thread at a time.
#pragma once

#include <boost/intrusive/set.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "base/guid.h"
#include "base/ids.h"
#include "base/range.h"
#include "locks/lock.h"
#include "locks/lock_index.h"

namespace baton {

// What a flock call that asks for a lock has done (SetFlock).
struct FlockAnswer {
  const Lock* conflict = nullptr;  // null: granted
  bool released = false;           // the owner's lock of the other type is gone: waiters may be served
};

// Order of answers: owners in the order in which each came (an owner that has lost its last lock comes anew),
// and within an owner by start. This is what F_GETLK shows of the kernel's own list.
//
// Pointers to locks hold until the next call that is not const. Cost: Conflict is O(log n) on the usual
// tables (at worst the number of locks that overlap); Apply and Unlock O(log n + pieces touched); a drop
// O(log n) per lock dropped. Memory: below 200 bytes a lock.
class LockTable {
 public:
  LockTable() = default;
  LockTable(LockTable&&) noexcept = default;
  LockTable& operator=(LockTable&&) = delete;
  LockTable(const LockTable&) = delete;
  LockTable& operator=(const LockTable&) = delete;
  ~LockTable();

  // The first lock, in the order of answers, that stands against `wish`; null if it can be granted. `wish`
  // needs owner, type, range and instance only.
  const Lock* Conflict(const Lock& wish) const;
  // All of them, in the order of answers.
  std::vector<const Lock*> AllConflicts(const Lock& wish) const;
  // The owner's own first lock that overlaps `range`: what F_OFD_GETLK answers when asked with type F_UNLCK.
  const Lock* FirstHeld(const LockOwner& owner, const ByteRange& range) const;
  // Copies of all that an owner holds and that overlaps `range`, and of all that was set, last, through a handle.
  std::vector<Lock> HeldBy(const LockOwner& owner, const ByteRange& range) const;
  std::vector<Lock> HeldThrough(HandleId handle) const;
  // False at once when no lock could stand against this owner, whatever it asks for.
  bool HeldByOthers(const LockOwner& owner) const;

  // Sets a lock that has no Conflict. In its range it replaces what the owner had (upgrade, downgrade,
  // split), and it merges with the owner's neighbours of the same type and instance; the merged range belongs
  // to the handle and pid that came last. (Ranges of different instances stay apart, so that a takeover takes
  // only its own, rule I7.) Requires range.start <= range.last <= kRangeEnd.
  void Apply(const Lock& lock);
  // True if the owner held anything there.
  bool Unlock(const LockOwner& owner, const ByteRange& range);

  // flock(2) with LOCK_SH or LOCK_EX, as flock_lock_inode does it: the same type again changes nothing;
  // another type *first* removes the lock that is held and then asks for the new one, so that a conversion
  // that is refused or has to wait has lost the old lock. `wish.range` must be the whole file.
  FlockAnswer SetFlock(const Lock& wish);

  // Each returns how many locks it dropped.
  std::size_t DropOwner(const LockOwner& owner);
  std::size_t DropHandle(HandleId handle);  // locks set, last, through that handle
  std::size_t DropSession(SessionId session);

  // Turns the locks into reservations of `instance` (rule T9): conflicting with everyone but that instance;
  // those with the same end are merged, for writing where any of them was. Each returns how many locks went.
  // What lapses, and when, the caller says with DropReservationsUntil.
  std::size_t Reserve(HandleId handle, const Guid& instance, Instant until);
  std::size_t ReserveIf(const std::function<bool(const Lock&)>& chosen, const Guid& instance, Instant until);
  // Each returns how many reservations were cut or dropped; what is outside `range` stays.
  std::size_t DropReservations(const Guid& instance, const ByteRange& range = {});
  std::size_t DropReservationsUntil(const Guid& instance, Instant now);
  bool HasReservations(const Guid& instance) const;

  bool empty() const { return by_owner_.empty(); }
  std::size_t size() const { return by_owner_.size(); }
  // All locks in the order of answers; sorts, for listings.
  std::vector<Lock> List() const;

  // CHECKs what must always hold. O(n log n).
  void CheckInvariants() const;

 private:
  struct OwnerOrder {
    using type = std::pair<LockOwner, std::uint64_t>;  // owner, start
    type operator()(const LockNode& node) const { return {node.lock.owner, node.lock.range.start}; }
  };
  struct HandleOrder {
    using type = std::tuple<HandleId, LockOwner, std::uint64_t>;  // handle, owner, start
    type operator()(const LockNode& node) const {
      return {node.lock.handle, node.lock.owner, node.lock.range.start};
    }
  };
  template <class Tag, class Order>
  using NodeSet = boost::intrusive::set<LockNode, boost::intrusive::base_hook<LockHook<Tag>>,
                                        boost::intrusive::key_of_value<Order>>;
  using Owners = NodeSet<ByOwner, OwnerOrder>;

  // The owner's first lock that ends at `from` or later, if the owner has one.
  Owners::const_iterator Find(const LockOwner& owner, std::uint64_t from) const;
  std::uint64_t GroupOf(const LockOwner& owner);
  void Insert(const Lock& lock, std::uint64_t group);
  void Link(LockNode* node);
  Owners::const_iterator Unlink(Owners::const_iterator at);  // the node is the caller's then
  Owners::const_iterator Erase(Owners::const_iterator at);
  // Removes the owner's locks in `range`, leaving what sticks out; returns how many it met.
  std::size_t Cut(const LockOwner& owner, const ByteRange& range, std::uint64_t group);
  std::vector<LockOwner> ReservationsOf(const Guid& instance) const;  // in order of their ends
  void AddReservation(const LockOwner& owner, LockType type, const ByteRange& range);
  std::size_t TurnInto(const std::vector<Lock>& taken, const LockOwner& reservation);

  LockIndex& IndexOf(LockType type) { return type == LockType::kWrite ? writes_ : reads_; }

  Owners by_owner_;  // owns the nodes
  NodeSet<ByHandle, HandleOrder> by_handle_;
  LockIndex reads_;
  LockIndex writes_;
  std::uint64_t last_group_ = 0;
  std::uint32_t priority_ = 1;
};

}  // namespace baton
