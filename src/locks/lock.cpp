#include "locks/lock.h"

#include <cstring>

namespace baton {

LockOwner LockOwner::Reservation(const Guid& instance, Instant until) {
  LockOwner owner;
  owner.until_ = until;
  std::memcpy(&owner.high_, instance.data, sizeof owner.high_);
  std::memcpy(&owner.low_, instance.data + sizeof owner.high_, sizeof owner.low_);
  return owner;
}

Guid LockOwner::instance() const {
  Guid guid{};
  if (IsReservation()) {
    std::memcpy(guid.data, &high_, sizeof high_);
    std::memcpy(guid.data + sizeof high_, &low_, sizeof low_);
  }
  return guid;
}

bool Conflicts(const Lock& held, const Lock& wish) {
  if (held.owner == wish.owner || !held.range.Overlaps(wish.range)) return false;
  if (held.type == LockType::kRead && wish.type == LockType::kRead) return false;
  const bool reserved = held.owner.IsReservation() || wish.owner.IsReservation();
  return !reserved || held.instance != wish.instance;
}

}  // namespace baton
