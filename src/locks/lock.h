// Lock, its owner and its type, and the rule that says which locks stand against each other. Values; any
// thread. Rules L1, T9. What a table of locks does with them is in lock_table.h.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/guid.h"
#include "base/ids.h"
#include "base/range.h"

namespace baton {

enum class LockType : std::uint8_t { kRead, kWrite };

// Locks of one owner never conflict with each other. An owner is either the kernel's lock owner in a session
// (for flock: the handle), or an instance for which locks are kept reserved (rule T9), until a time: what was
// lost at different times is of different owners, so that it lapses at different times. Ordered; owners of
// one session are neighbours, and so are the reservations of one instance.
class LockOwner {
 public:
  LockOwner() = default;
  LockOwner(SessionId session, std::uint64_t owner) : high_(Raw(session)), low_(owner) {}
  static LockOwner Flock(SessionId session, HandleId handle) { return {session, Raw(handle)}; }
  static LockOwner Reservation(const Guid& instance, Instant until);

  bool IsReservation() const { return until_ != kNoReservation; }
  SessionId session() const { return SessionId{IsReservation() ? 0 : high_}; }  // none for a reservation
  std::uint64_t owner() const { return IsReservation() ? 0 : low_; }
  Guid instance() const;                    // nil unless a reservation
  Instant until() const { return until_; }  // of a reservation

  friend bool operator==(const LockOwner&, const LockOwner&) = default;
  friend std::strong_ordering operator<=>(const LockOwner& a, const LockOwner& b) {
    if (const auto order = a.IsReservation() <=> b.IsReservation(); order != 0) return order;
    if (const auto order = a.high_ <=> b.high_; order != 0) return order;
    if (const auto order = a.low_ <=> b.low_; order != 0) return order;
    return a.until_.count() <=> b.until_.count();
  }

 private:
  static constexpr Instant kNoReservation = Instant::min();
  std::uint64_t high_ = 0;  // the session, or the first half of the instance's GUID
  std::uint64_t low_ = 0;
  Instant until_ = kNoReservation;
};

// A lock, or the wish for one.
struct Lock {
  LockOwner owner;
  ByteRange range;
  HandleId handle{};     // the one it was set through; none for a reservation
  std::int32_t pid = 0;  // of the process that set it, on its own node
  LockType type = LockType::kRead;
  std::optional<Guid> instance;  // whose handle it was set through, if any

  friend bool operator==(const Lock&, const Lock&) = default;
};

// True if `wish` cannot be granted while `held` is: other owners, overlapping ranges, not both for reading. A
// reservation (whose lock names the instance, too) and its instance do not stand against each other.
bool Conflicts(const Lock& held, const Lock& wish);

}  // namespace baton
