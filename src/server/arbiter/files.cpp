// Files: what their claims, reservations and handles let an act do (rules O2, O3, S2, T9), and how handles go.
#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "server/arbiter/arbiter.h"

namespace baton {

std::string Arbiter::NodeOf(SessionId id) const {
  const auto at = sessions_.find(id);
  return at == sessions_.end() ? std::string() : at->second.node;
}

Holder Arbiter::HolderOf(const Handle& handle) const {
  return {NodeOf(handle.session), handle.guid, handle.pid, handle.program};
}

// close(2) returns before the handle is gone: the kernel sends RELEASE behind its back, only FLUSH comes before. Whoever meets a
// handle that was just flushed waits a moment for its end before he is refused, as on one machine (rules O5, L1).
Instant Arbiter::ClosingUntil(const Handle& handle) const {
  constexpr Duration kGrace = std::chrono::milliseconds(100);
  return handle.flushed == Instant{} ? Instant{} : handle.flushed + kGrace;
}

Instant Arbiter::ClosingUntil(HandleId id) const {
  const auto at = handles_.find(id);
  return at == handles_.end() ? Instant{} : ClosingUntil(at->second);
}

// A conflict with that handle: wait for its end, or end its session if that is silent and somebody else's (rule S2).
Arbiter::Verdict Arbiter::InTheWay(const Handle& handle, const Requester& who) const {
  const SessionState state = sessions_.at(handle.session).state;
  if (state == SessionState::kEnding) return {.kind = Verdict::kWait};
  if (state == SessionState::kSilent && handle.session != who.session) return {.kind = Verdict::kEndSession, .session = handle.session};
  Verdict verdict{.kind = Verdict::kWait,
                  .error = EBUSY,
                  .closing_until = ClosingUntil(handle),
                  .holder = HolderOf(handle)};
  verdict.why = "held by another";
  return verdict;
}

// Who is there says more than who may be.
Arbiter::Verdict Arbiter::JudgeFile(const Requester& who, const FileKey& key, Act act, ClaimMode mode) const {
  Verdict known = JudgeKnown(who, key, act);
  return known.kind == Verdict::kGrant && !absent_.empty() ? JudgeAbsent(who, mode, act) : known;
}

Arbiter::Verdict Arbiter::JudgeKnown(const Requester& who, const FileKey& key, Act act) const {
  const auto at = files_.find(key);
  if (at == files_.end() || Planted("claims ignored")) return {};
  const File& file = at->second;
  const auto relation_to = [&](const Guid& guid) {
    if (!who.instance) return Relation::kAnonymous;
    return who.instance->guid == guid ? Relation::kHolder : Relation::kOtherInstance;
  };
  for (const auto& [guid, reservation] : file.reservations) {
    if (!reservation.claim || Allows(*reservation.claim, relation_to(guid), act)) continue;
    Verdict verdict{.kind = Verdict::kWait, .error = EBUSY, .holder = Holder{"", guid, 0, ""}};
    verdict.why = "reserved for the instance that lost it";
    return verdict;
  }
  if (!file.claim || Allows(file.claim->mode, relation_to(file.claim->guid), act)) return {};
  Verdict blocking;
  for (const Handle& handle : file.handles) {
    if (!handle.claims) continue;
    blocking = InTheWay(handle, who);
    if (blocking.kind != Verdict::kEndSession) return blocking;  // somebody who is there: no session need end
  }
  return blocking;
}

Arbiter::Verdict Arbiter::JudgeOwnElsewhere(const Requester& who, const File& file) const {
  if (options_.scope != ReclaimScope::kFile || !who.instance) return {};
  const std::string& node = sessions_.at(who.session).node;
  Verdict revoke{.kind = Verdict::kRevoke};
  bool drains = false;
  for (const Handle& handle : file.handles) {
    if (handle.guid != who.instance->guid || NodeOf(handle.session) == node) continue;
    drains |= handle.draining;
    if (!handle.revoked) revoke.handles.push_back(handle.id);
  }
  if (drains) return {.kind = Verdict::kWait};  // whoever came meanwhile has his turn after that
  if (!revoke.handles.empty()) return revoke;
  return {};
}

Arbiter::Verdict Arbiter::JudgeOtherHandles(const OpenWish& wish, const File& file) const {
  if (!wish.who.instance) return {};
  const Guid& guid = wish.who.instance->guid;
  const std::string& node = sessions_.at(wish.who.session).node;
  const bool claims = wish.writes && wish.mode != ClaimMode::kNone;
  const bool exclusive = claims && wish.mode == ClaimMode::kExclusive;
  // Whoever could stand against a claim was dealt with when the instance first got it.
  const bool has_claim = file.claim && file.claim->guid == guid && file.claim->mode >= wish.mode;
  Verdict demote{.kind = Verdict::kDemote};
  bool drains = false;
  if (!claims || has_claim) return JudgeOwnElsewhere(wish.who, file);
  for (const Handle& handle : file.handles) {
    drains |= handle.demoted && handle.draining;
    if (handle.guid == guid || handle.demoted || !(handle.writes || exclusive)) continue;
    const auto& ancestors = wish.who.ancestors;
    const bool of_its_opener = NodeOf(handle.session) == node &&
                               std::find(ancestors.begin(), ancestors.end(), handle.pid) != ancestors.end();
    if (!handle.guid && of_its_opener) continue;  // a shell's redirection (rule I7)
    if (handle.guid || options_.strict) return InTheWay(handle, wish.who);
    demote.handles.push_back(handle.id);
  }
  if (drains) return {.kind = Verdict::kWait};
  // Nobody is revoked for an open that somebody else stands against (rule T2).
  if (Verdict own = JudgeOwnElsewhere(wish.who, file); own.kind != Verdict::kGrant) return own;
  if (!demote.handles.empty()) return demote;
  return {};
}

bool Arbiter::IsFenced(const Handle& handle) const {
  const Session& session = sessions_.at(handle.session);
  if (session.state == SessionState::kEnding && !session.clean) return true;
  if (!handle.guid) return false;
  const Life* life = LifeOf(instances_.at(*handle.guid), handle.epoch);
  return handle.revoked || life == nullptr || life->fencing;
}

std::size_t Arbiter::DropHandle(Handle& handle, const std::optional<Guid>& reserve_for) {
  File& file = *handle.file;
  std::size_t locks = 0;
  const bool reserves = reserve_for && options_.reservation > Duration::zero();
  if (reserves) {
    locks = ReserveLocks(file, handle, *reserve_for);
  } else {
    for (LockTable* table : {&file.records, &file.flocks}) {
      if (table->empty()) continue;
      EndReservedLocks(file, handle, *table, table->HeldThrough(handle.id));
      locks += table->DropHandle(handle.id);
    }
  }
  CountLocks(handle.session, locks, 0);
  if (handle.claims) {
    const ClaimMode mode = file.claim->mode;
    if (--file.claim->handles == 0) {
      file.claim.reset();
      if (reserves) ReserveClaim(file, *reserve_for, mode);
    }
  }
  file.handles.erase(file.handles.iterator_to(handle));
  Session& session = sessions_.at(handle.session);
  session.handles.erase(session.handles.iterator_to(handle));
  if (handle.guid) {
    Life& life = const_cast<Life&>(*LifeOf(instances_.at(*handle.guid), handle.epoch));
    life.handles.erase(life.handles.iterator_to(handle));
  }
  if (effects_.empty() || !std::holds_alternative<HandlesDropped>(effects_.back())) Push(HandlesDropped{});
  std::get<HandlesDropped>(effects_.back()).handles.push_back(handle.id);
  if (!file.waiters.empty()) touched_.insert(file.key);
  retry_ = true;
  handles_.erase(HandleId(handle.id));
  EraseFileIfUnused(file);
  return locks;
}

Arbiter::Reservation& Arbiter::ReservationOf(File& file, const Guid& guid) {
  const auto [at, is_new] = file.reservations.try_emplace(guid);
  if (is_new) ++instances_.at(guid).reservations;
  return at->second;
}

// What was not taken again is not kept longer by a further takeover (rule T9): the claim has its time, and
// locks have each theirs, by which the lock table tells them apart.
void Arbiter::ReserveClaim(File& file, const Guid& guid, ClaimMode mode) {
  Reservation& reservation = ReservationOf(file, guid);
  reservation.claim = mode;
  reservation.claim_until = now_ + options_.reservation;
  EndReservationAt(reservation.claim_until, file.key, guid);
}

std::size_t Arbiter::ReserveLocks(File& file, const Handle& handle, const Guid& guid) {
  const Instant until = now_ + options_.reservation;
  std::size_t locks = 0;
  for (LockTable* table : {&file.records, &file.flocks}) {
    if (!table->empty()) locks += table->Reserve(handle.id, guid, until);
  }
  if (locks == 0) return 0;
  ReservationOf(file, guid).locks = true;
  EndReservationAt(until, file.key, guid);
  return locks;
}

void Arbiter::EndReservationAt(Instant until, const FileKey& key, const Guid& guid) {
  auto& ends = reservation_ends_[until];
  const std::pair end(key, guid);
  if (ends.empty() || ends.back() != end) ends.push_back(end);
}

void Arbiter::DropReservationIfEmpty(File& file, const Guid& guid) {
  const auto at = file.reservations.find(guid);
  if (at == file.reservations.end() || at->second.claim || at->second.locks) return;
  file.reservations.erase(at);
  --instances_.at(guid).reservations;
}

// Its time is over.
void Arbiter::EndReservation(const FileKey& key, const Guid& guid) {
  const auto at = files_.find(key);
  if (at == files_.end()) return;
  File& file = at->second;
  const auto reservation = file.reservations.find(guid);
  if (reservation == file.reservations.end()) return;
  if (reservation->second.claim_until <= now_) reservation->second.claim.reset();
  if (reservation->second.locks) {
    for (LockTable* table : {&file.records, &file.flocks}) table->DropReservationsUntil(guid, now_);
    reservation->second.locks = file.records.HasReservations(guid) || file.flocks.HasReservations(guid);
  }
  DropReservationIfEmpty(file, guid);
  if (!file.waiters.empty()) touched_.insert(key);
  retry_ = true;
  EraseFileIfUnused(file);
}

// The instance has claimed the file again: from now on the claim says what others may do.
void Arbiter::EndReservedClaim(File& file, const Guid& guid) {
  const auto at = file.reservations.find(guid);
  if (at == file.reservations.end() || !at->second.claim) return;
  at->second.claim.reset();
  DropReservationIfEmpty(file, guid);
  retry_ = true;  // what is claimed now may let in who waited for what was reserved
}

void Arbiter::EraseFileIfUnused(const File& file) {
  const bool used = !file.handles.empty() || !file.reservations.empty() || !file.records.empty() ||
                    !file.flocks.empty() || !file.waiters.empty();
  if (!used) files_.erase(FileKey(file.key));
}

}  // namespace baton
