#include "locks/lock_table.h"

#include <algorithm>

#include "base/check.h"

namespace baton {
namespace {

bool EarlierAnswer(const LockNode* a, const LockNode* b) {
  return std::pair(a->group, a->lock.range.start) < std::pair(b->group, b->lock.range.start);
}

// xorshift: spreads a counter's successors well enough for a treap and is the same in every run.
std::uint32_t NextPriority(std::uint32_t x) {
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return x;
}

bool Mergeable(const Lock& a, const Lock& b) {
  return a.type == b.type && a.instance == b.instance;
}

}  // namespace

LockTable::~LockTable() {
  by_handle_.clear();
  by_owner_.clear_and_dispose([](LockNode* node) { delete node; });
}

const Lock* LockTable::Conflict(const Lock& wish) const {
  if (!HeldByOthers(wish.owner)) return nullptr;
  const LockNode* write = writes_.FirstConflict(wish);
  const LockNode* read = wish.type == LockType::kWrite ? reads_.FirstConflict(wish) : nullptr;
  if (write == nullptr || read == nullptr) {
    const LockNode* only = write == nullptr ? read : write;
    return only == nullptr ? nullptr : &only->lock;
  }
  return EarlierAnswer(write, read) ? &write->lock : &read->lock;
}

std::vector<const Lock*> LockTable::AllConflicts(const Lock& wish) const {
  if (!HeldByOthers(wish.owner)) return {};
  std::vector<const LockNode*> found;
  const auto collect = [&found](const LockNode& node) { found.push_back(&node); };
  writes_.ForEachConflict(wish, collect);
  if (wish.type == LockType::kWrite) reads_.ForEachConflict(wish, collect);
  std::sort(found.begin(), found.end(), EarlierAnswer);
  std::vector<const Lock*> locks;
  locks.reserve(found.size());
  for (const LockNode* node : found) locks.push_back(&node->lock);
  return locks;
}

const Lock* LockTable::FirstHeld(const LockOwner& owner, const ByteRange& range) const {
  const auto at = Find(owner, range.start);
  return at != by_owner_.end() && at->lock.range.start <= range.last ? &at->lock : nullptr;
}

std::vector<Lock> LockTable::HeldBy(const LockOwner& owner, const ByteRange& range) const {
  std::vector<Lock> locks;
  for (auto at = Find(owner, range.start);
       at != by_owner_.end() && at->lock.owner == owner && at->lock.range.start <= range.last; ++at) {
    locks.push_back(at->lock);
  }
  return locks;
}

std::vector<Lock> LockTable::HeldThrough(HandleId handle) const {
  std::vector<Lock> locks;
  for (auto at = by_handle_.lower_bound({handle, LockOwner{}, 0}); at != by_handle_.end() && at->lock.handle == handle; ++at) {
    locks.push_back(at->lock);
  }
  return locks;
}

bool LockTable::HeldByOthers(const LockOwner& owner) const {
  return !empty() && (by_owner_.begin()->lock.owner != owner || by_owner_.rbegin()->lock.owner != owner);
}

void LockTable::Apply(const Lock& lock) {
  BATON_CHECK(lock.range.start <= lock.range.last && lock.range.last <= kRangeEnd);
  const std::uint64_t group = GroupOf(lock.owner);
  Lock merged = lock;
  // From the neighbour that ends just before the range to the one that starts just after it.
  const std::uint64_t from = lock.range.start == 0 ? 0 : lock.range.start - 1;
  for (auto at = Find(lock.owner, from); at != by_owner_.end() && at->lock.owner == lock.owner &&
                                         at->lock.range.start <= lock.range.last + 1;) {
    const Lock& old = at->lock;
    if (!Mergeable(old, lock)) {
      ++at;
      continue;
    }
    merged.range.start = std::min(merged.range.start, old.range.start);
    merged.range.last = std::max(merged.range.last, old.range.last);
    at = Erase(at);
  }
  Cut(lock.owner, lock.range, group);
  Insert(merged, group);
}

bool LockTable::Unlock(const LockOwner& owner, const ByteRange& range) {
  BATON_CHECK(range.start <= range.last);
  return Cut(owner, range, GroupOf(owner)) != 0;
}

FlockAnswer LockTable::SetFlock(const Lock& wish) {
  BATON_CHECK(wish.range == ByteRange{});
  FlockAnswer answer;
  if (const Lock* held = FirstHeld(wish.owner, wish.range)) {
    if (held->type == wish.type) return answer;
    answer.released = DropOwner(wish.owner) != 0;
  }
  answer.conflict = Conflict(wish);
  if (answer.conflict == nullptr) Apply(wish);
  return answer;
}

std::size_t LockTable::DropOwner(const LockOwner& owner) {
  std::size_t dropped = 0;
  for (auto at = Find(owner, 0); at != by_owner_.end() && at->lock.owner == owner; ++dropped) at = Erase(at);
  return dropped;
}

std::size_t LockTable::DropHandle(HandleId handle) {
  BATON_CHECK(handle != HandleId{});
  std::size_t dropped = 0;
  auto at = by_handle_.lower_bound({handle, LockOwner{}, 0});
  while (at != by_handle_.end() && at->lock.handle == handle) {
    const LockNode& node = *at++;
    Erase(by_owner_.iterator_to(node));
    ++dropped;
  }
  return dropped;
}

std::size_t LockTable::DropSession(SessionId session) {
  std::size_t dropped = 0;
  Owners::const_iterator at = by_owner_.lower_bound({LockOwner(session, 0), 0});
  while (at != by_owner_.end() && !at->lock.owner.IsReservation() && at->lock.owner.session() == session) {
    at = Erase(at);
    ++dropped;
  }
  return dropped;
}

std::size_t LockTable::Reserve(HandleId handle, const Guid& instance, Instant until) {
  BATON_CHECK(handle != HandleId{});
  const LockOwner reservation = LockOwner::Reservation(instance, until);
  auto at = by_handle_.lower_bound({handle, LockOwner{}, 0});
  if (at == by_handle_.end() || at->lock.handle != handle) return 0;
  if (size() ==
      1) {  // nearly every file: nothing to be merged with, so the lock itself becomes the reservation
    auto* node = const_cast<LockNode*>(&*at);
    Unlink(by_owner_.iterator_to(*node));
    node->lock = {
        .owner = reservation, .range = node->lock.range, .type = node->lock.type, .instance = instance};
    node->group = ++last_group_;
    Link(node);
    return 1;
  }
  std::vector<Lock> taken;
  while (at != by_handle_.end() && at->lock.handle == handle) {
    const LockNode& node = *at++;
    taken.push_back(node.lock);
    Erase(by_owner_.iterator_to(node));
  }
  return TurnInto(taken, reservation);
}

std::size_t LockTable::ReserveIf(const std::function<bool(const Lock&)>& chosen, const Guid& instance,
                                 Instant until) {
  std::vector<Lock> taken;
  for (auto at = by_owner_.cbegin(); at != by_owner_.cend();) {
    if (at->lock.owner.IsReservation() || !chosen(at->lock)) {
      ++at;
      continue;
    }
    taken.push_back(at->lock);
    at = Erase(at);
  }
  return TurnInto(taken, LockOwner::Reservation(instance, until));
}

std::size_t LockTable::TurnInto(const std::vector<Lock>& taken, const LockOwner& reservation) {
  for (const Lock& lock : taken) AddReservation(reservation, lock.type, lock.range);
  return taken.size();
}

// A reservation for writing is never weakened by one for reading: the instance may come back for either.
void LockTable::AddReservation(const LockOwner& owner, LockType type, const ByteRange& range) {
  Lock lock{.owner = owner, .range = range, .type = type, .instance = owner.instance()};
  std::vector<Lock> stronger;
  if (type == LockType::kRead) {
    for (auto at = Find(lock.owner, range.start);
         at != by_owner_.end() && at->lock.owner == lock.owner && at->lock.range.start <= range.last; ++at) {
      if (at->lock.type == LockType::kWrite) stronger.push_back(at->lock);
    }
  }
  Apply(lock);
  for (const Lock& write : stronger) Apply(write);
}

std::vector<LockOwner> LockTable::ReservationsOf(const Guid& instance) const {
  std::vector<LockOwner> owners;
  LockOwner next = LockOwner::Reservation(instance, Instant::zero());
  for (;;) {
    const auto at = by_owner_.lower_bound({next, 0});
    if (at == by_owner_.end() || !at->lock.owner.IsReservation() || at->lock.instance != instance)
      return owners;
    owners.push_back(at->lock.owner);
    next = LockOwner::Reservation(instance, at->lock.owner.until() + Instant(1));
  }
}

std::size_t LockTable::DropReservations(const Guid& instance, const ByteRange& range) {
  std::size_t met = 0;
  for (const LockOwner& owner : ReservationsOf(instance)) met += Cut(owner, range, GroupOf(owner));
  return met;
}

std::size_t LockTable::DropReservationsUntil(const Guid& instance, Instant now) {
  std::size_t dropped = 0;
  for (const LockOwner& owner : ReservationsOf(instance)) {
    if (owner.until() <= now) dropped += DropOwner(owner);
  }
  return dropped;
}

bool LockTable::HasReservations(const Guid& instance) const {
  const auto at = by_owner_.lower_bound({LockOwner::Reservation(instance, Instant::zero()), 0});
  return at != by_owner_.end() && at->lock.owner.IsReservation() && at->lock.instance == instance;
}

std::vector<Lock> LockTable::List() const {
  std::vector<const LockNode*> nodes;
  nodes.reserve(size());
  for (const LockNode& node : by_owner_) nodes.push_back(&node);
  std::sort(nodes.begin(), nodes.end(), EarlierAnswer);
  std::vector<Lock> locks;
  locks.reserve(nodes.size());
  for (const LockNode* node : nodes) locks.push_back(node->lock);
  return locks;
}

LockTable::Owners::const_iterator LockTable::Find(const LockOwner& owner, std::uint64_t from) const {
  auto at = by_owner_.upper_bound({owner, from});
  if (at != by_owner_.begin()) {
    const auto before = std::prev(at);
    if (before->lock.owner == owner && before->lock.range.last >= from) return before;
  }
  return at != by_owner_.end() && at->lock.owner == owner ? at : by_owner_.end();
}

// The group of an owner that holds something, else a new one: an owner's place among the answers ends with
// its last lock.
std::uint64_t LockTable::GroupOf(const LockOwner& owner) {
  const auto at = Find(owner, 0);
  return at != by_owner_.end() ? at->group : ++last_group_;
}

void LockTable::Insert(const Lock& lock, std::uint64_t group) {
  auto* node = new LockNode;
  node->lock = lock;
  node->group = group;
  node->priority = priority_ = NextPriority(priority_);
  Link(node);
}

void LockTable::Link(LockNode* node) {
  BATON_CHECK(by_owner_.insert(*node).second);
  BATON_CHECK(by_handle_.insert(*node).second);
  IndexOf(node->lock.type).Insert(node);
}

LockTable::Owners::const_iterator LockTable::Unlink(Owners::const_iterator at) {
  auto* node = const_cast<LockNode*>(&*at);  // the set's elements are ours; only its order is const
  const auto next = by_owner_.erase(at);
  by_handle_.erase(by_handle_.iterator_to(*node));
  IndexOf(node->lock.type).Erase(node);
  return next;
}

LockTable::Owners::const_iterator LockTable::Erase(Owners::const_iterator at) {
  const LockNode* node = &*at;
  const auto next = Unlink(at);
  delete node;
  return next;
}

std::size_t LockTable::Cut(const LockOwner& owner, const ByteRange& range, std::uint64_t group) {
  std::size_t met = 0;
  auto at = Find(owner, range.start);
  while (at != by_owner_.end() && at->lock.owner == owner && at->lock.range.start <= range.last) {
    const Lock old = at->lock;
    at = Erase(at);
    ++met;
    Lock piece = old;
    if (old.range.start < range.start) {
      piece.range = {old.range.start, range.start - 1};
      Insert(piece, group);
    }
    if (old.range.last > range.last) {
      piece.range = {range.last + 1, old.range.last};
      Insert(piece, group);
    }
  }
  return met;
}

void LockTable::CheckInvariants() const {
  const LockNode* before = nullptr;
  for (const LockNode& node : by_owner_) {
    const Lock& lock = node.lock;
    BATON_CHECK(lock.range.start <= lock.range.last && lock.range.last <= kRangeEnd);
    BATON_CHECK(lock.owner.IsReservation()
                    ? lock.handle == HandleId{} && lock.instance == lock.owner.instance()
                    : lock.owner != LockOwner{});
    if (before != nullptr && before->lock.owner == lock.owner) {
      BATON_CHECK(before->group == node.group);
      BATON_CHECK(before->lock.range.last < lock.range.start);
      BATON_CHECK(before->lock.range.last + 1 < lock.range.start || !Mergeable(before->lock, lock));
    }
    BATON_CHECK(Conflict(lock) == nullptr);
    before = &node;
  }
  BATON_CHECK(by_handle_.size() == by_owner_.size());
}

}  // namespace baton
