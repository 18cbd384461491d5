// Lock, its owner and its type, and the rule that says which locks stand against each other. Values; any
// thread. Rules L1, T9. What a table of locks does with them is in lock_table.h.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "base/guid.h"
#include "base/ids.h"
#include "base/range.h"

namespace baton {

enum class LockType : std::uint8_t { kRead, kWrite };

// Locks of one owner never conflict with each other. An owner is either the kernel's lock owner in a session
// (for flock: the handle), or an instance for which locks are kept reserved (rule T9). Ordered; owners of one
// session are neighbours.
class LockOwner {
 public:
  LockOwner() = default;
  LockOwner(SessionId session, std::uint64_t owner) : high_(Raw(session)), low_(owner) {}
  static LockOwner Flock(SessionId session, HandleId handle) { return {session, Raw(handle)}; }
  static LockOwner Reservation(const Guid& instance);

  bool IsReservation() const { return reservation_; }
  SessionId session() const { return SessionId{reservation_ ? 0 : high_}; }  // none for a reservation
  std::uint64_t owner() const { return reservation_ ? 0 : low_; }
  Guid instance() const;  // nil unless a reservation

  friend auto operator<=>(const LockOwner&, const LockOwner&) = default;

 private:
  bool reservation_ = false;
  std::uint64_t high_ = 0;  // the session, or the first half of the instance's GUID
  std::uint64_t low_ = 0;
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
