// Locks: asked for, waited for in order, granted, withdrawn (rules L1-L3, S2, T6, T9). The algebra is in lock_table.h.
#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "server/arbiter/arbiter.h"

namespace baton {

Lock Arbiter::LockOf(const LockWish& wish, const Handle& handle) const {
  const LockOwner owner = wish.kind == LockKind::kFlock ? LockOwner::Flock(handle.session, wish.handle)
                                                        : LockOwner(handle.session, wish.owner);
  return {owner, wish.range, wish.handle, wish.pid, wish.type, handle.guid};
}

void Arbiter::On(const LockWish& event) {
  const auto at = handles_.find(event.handle);
  if (at == handles_.end() || FindSession(at->second.session) == nullptr) {
    Push(Refused{event.request, ESTALE, std::nullopt});
    return;
  }
  const Handle& handle = at->second;
  if (IsFenced(handle)) {
    Push(Refused{event.request, ESTALE, std::nullopt});
    return;
  }
  const FileKey key = handle.file->key;
  const Lock lock = LockOf(event, handle);
  if (const Limit* limit = LimitOfWaiting(handle.session); limit != nullptr && WouldWaitForOthers(event, lock, *handle.file)) {
    RefuseAtLimit(event.request, event, *limit);
    return;
  }
  LockWait& wait = lock_waits_[event.request];
  wait = {event, lock, key};
  ++sessions_.at(handle.session).waiting;
  if (DecideLock(event.request, wait)) {
    ForgetWait(event.request);
    return;
  }
  if (IsFenced(handle)) {  // with the silent session in its way, which held something of its own incarnation
    ForgetWait(event.request);
    Push(Refused{event.request, ESTALE, std::nullopt});
    return;
  }
  files_.at(key).waiters.push_back(event.request);
  if (event.kind == LockKind::kRecord) wait_graph_.Add(event.request, files_.at(key).records, wait.lock);
}

// True if it was answered; false if it waits.
bool Arbiter::DecideLock(RequestId id, LockWait& wait) {
  File& file = files_.at(wait.file);
  LockTable& table = TableOf(file, wait.wish.kind);
  const Lock* conflict = nullptr;
  if (const Handle& handle = handles_.at(wait.wish.handle); !handle.guid) {
    Session& session = sessions_.at(handle.session);
    const auto use = session.uses.find(Guid());
    if (use == session.uses.end() || !use->second.durable) {
      CommitUseOf(session, Guid(), Epoch{});
      return false;
    }
  }
  if (WaitsForAbsent(handles_.at(wait.wish.handle)) && table.Conflict(wait.lock) == nullptr) return false;
  std::vector<Lock> weakened;  // what it held for writing, and holds for reading if this is granted: a release of the rest
  if (wait.wish.type == LockType::kRead) {
    weakened = table.HeldBy(wait.lock.owner, wait.lock.range);
    std::erase_if(weakened, [](const Lock& lock) { return lock.type == LockType::kRead; });
  }
  if (const Limit* limit = LimitOfLocks(wait.wish, wait.lock, file); limit != nullptr && table.Conflict(wait.lock) == nullptr) {
    RefuseAtLimit(id, wait.wish, *limit);
    return true;
  }
  const std::size_t before = table.size();
  if (wait.wish.kind == LockKind::kFlock) {
    const FlockAnswer answer = table.SetFlock(wait.lock);
    conflict = answer.conflict;
    // A grant may be in the way of whoever waits: of a silent session (S2).
    if (answer.released || conflict == nullptr) touched_.insert(wait.file);
  } else {
    conflict = table.Conflict(wait.lock);
    if (conflict == nullptr) {
      table.Apply(wait.lock);
      touched_.insert(wait.file);  // a downgrade may let others in
    }
  }
  CountLocks(wait.lock.owner.session(), before, table.size());
  if (Planted("lock conflicts ignored")) conflict = nullptr;
  if (conflict == nullptr) {
    EndReservedLocks(file, handles_.at(wait.wish.handle), table, weakened, wait.lock.range);
    Push(LockGranted{id, wait.file});
    return true;
  }
  if (!conflict->owner.IsReservation()) {
    Session& holder = sessions_.at(conflict->owner.session());
    if (holder.state == SessionState::kSilent && holder.id != handles_.at(wait.wish.handle).session) {
      BeginEnding(holder, Ending::kFenced, "it was silent and its lock on " + file.path + " was needed by another");
    }
    if (holder.state == SessionState::kEnding) return false;
    if (conflict->instance) {
      const Life* life = LifeOf(instances_.at(*conflict->instance), handles_.at(conflict->handle).epoch);
      if (life != nullptr && life->fencing) return false;
    }
  }
  int error = wait.wish.wait ? 0 : EAGAIN;
  // Asked anew at every try: somebody's grant may have closed the circle (rule L2).
  if (error == 0 && wait.wish.kind == LockKind::kRecord && wait_graph_.WouldDeadlock(table, wait.lock)) {
    error = EDEADLK;
  }
  if (error == EAGAIN && !conflict->owner.IsReservation()) {
    const Instant closing_until = ClosingUntil(handles_.at(conflict->handle));
    if (now_ < closing_until) {
      lock_deadlines_.emplace(closing_until, id);
      error = 0;
    }
  }
  if (error == 0) return false;
  std::optional<Holder> holder;
  if (conflict->owner.IsReservation()) {
    holder = Holder{"", conflict->owner.instance(), 0, ""};
  } else {
    holder = Holder{NodeOf(conflict->owner.session()), conflict->instance, conflict->pid, ""};
  }
  Push(Refused{id, error, std::move(holder)});
  return true;
}

// It is on record, or not, that the session may hold locks without an instance.
void Arbiter::On(const UseCommitted& event, Session& session) {
  std::vector<RequestId> waiting;
  for (const auto& [id, wait] : lock_waits_) {
    const Handle& handle = handles_.at(wait.wish.handle);
    if (handle.session == session.id && !handle.guid) waiting.push_back(id);
  }
  for (RequestId id : waiting) {
    if (event.durable) {
      touched_.insert(lock_waits_.at(id).file);
    } else {
      RefuseWait(id, EIO);
    }
  }
  if (!event.durable) session.uses.erase(Guid());
}

void Arbiter::ServeWaiters(const FileKey& key) {
  const auto at = files_.find(key);
  if (at == files_.end()) return;
  const std::vector<RequestId> waiting(at->second.waiters.begin(), at->second.waiters.end());
  for (RequestId id : waiting) {
    const auto wait = lock_waits_.find(id);
    if (wait != lock_waits_.end() && DecideLock(id, wait->second)) ForgetWait(id);
  }
  EraseFileIfUnused(at->second);
}

void Arbiter::ForgetWait(RequestId id) {
  const auto at = lock_waits_.find(id);
  if (at == lock_waits_.end()) return;
  wait_graph_.Remove(id);
  if (const auto session = sessions_.find(at->second.lock.owner.session()); session != sessions_.end()) --session->second.waiting;
  if (const auto file = files_.find(at->second.file); file != files_.end()) file->second.waiters.remove(id);
  lock_waits_.erase(at);
}

void Arbiter::RefuseWaitsOf(const Handle& handle, int error) {
  if (handle.file->waiters.empty()) return;
  const std::list<RequestId> waiting = handle.file->waiters;
  for (RequestId id : waiting) {
    if (lock_waits_.at(id).wish.handle == handle.id) RefuseWait(id, error);
  }
}

void Arbiter::RefuseWait(RequestId id, int error) {
  ForgetWait(id);
  Push(Refused{id, error, std::nullopt});
}

void Arbiter::On(const Unlock& event) {
  const auto at = handles_.find(event.handle);
  if (at == handles_.end() || IsFenced(at->second)) {
    if (event.request != RequestId{}) Push(LockGranted{event.request, FileKey{}});
    return;
  }
  const Handle& handle = at->second;
  File& file = *handle.file;
  if (const Limit* limit = LimitOfUnlock(event, handle)) {
    LockWish wish;
    wish.handle = event.handle;
    wish.pid = handle.pid;
    RefuseAtLimit(event.request, wish, *limit);
    return;
  }
  const LockOwner owner = event.kind == LockKind::kFlock ? LockOwner::Flock(handle.session, event.handle)
                                                         : LockOwner(handle.session, event.owner);
  LockTable& table = TableOf(file, event.kind);
  EndReservedLocks(file, handle, table, table.HeldBy(owner, event.range), event.range);
  if (event.kind == LockKind::kFlock) {
    CountLocks(handle.session, file.flocks.DropOwner(owner), 0);
  } else {
    const std::size_t before = file.records.size();
    file.records.Unlock(owner, event.range);
    CountLocks(handle.session, before, file.records.size());
  }
  touched_.insert(file.key);
  if (event.request != RequestId{}) Push(LockGranted{event.request, file.key});
}

// close(2) by one process: its POSIX locks on the file go, whichever handle they were set through.
void Arbiter::On(const FlushHandle& event) {
  const auto at = handles_.find(event.handle);
  if (at == handles_.end()) return;
  if (IsFenced(at->second)) return;
  at->second.flushed = now_;
  File& file = *at->second.file;
  if (file.records.empty()) return;
  const LockOwner owner(at->second.session, event.lock_owner);
  EndReservedLocks(file, at->second, file.records, file.records.HeldBy(owner, ByteRange()));
  const std::size_t dropped = file.records.DropOwner(owner);
  CountLocks(at->second.session, dropped, 0);
  if (dropped > 0) touched_.insert(file.key);
}

// What the instance took again and now releases is not kept for it any longer (rule T9).
void Arbiter::EndReservedLocks(File& file, const Handle& handle, LockTable& table, const std::vector<Lock>& released,
                               const ByteRange& within) {
  if (!handle.guid || released.empty()) return;
  const auto reservation = file.reservations.find(*handle.guid);
  if (reservation == file.reservations.end() || !reservation->second.locks) return;
  for (const Lock& lock : released) {
    if (lock.instance != handle.guid) continue;
    const ByteRange range{std::max(lock.range.start, within.start), std::min(lock.range.last, within.last)};
    if (table.DropReservations(*handle.guid, range) > 0) touched_.insert(file.key);
  }
  reservation->second.locks = file.records.HasReservations(*handle.guid) || file.flocks.HasReservations(*handle.guid);
  DropReservationIfEmpty(file, *handle.guid);
}

std::optional<Lock> Arbiter::GetLock(const LockWish& wish) const {
  const auto at = handles_.find(wish.handle);
  if (at == handles_.end()) return std::nullopt;
  const Handle& handle = at->second;
  const File& file = *handle.file;
  const Lock* conflict = file.records.Conflict(LockOf(wish, handle));
  if (conflict == nullptr) return std::nullopt;
  Lock answer = *conflict;
  if (answer.owner.IsReservation() || NodeOf(answer.owner.session()) != NodeOf(handle.session)) answer.pid = 0;
  return answer;
}

std::optional<Lock> Arbiter::GetOwnLock(const LockWish& wish) const {
  const auto at = handles_.find(wish.handle);
  if (at == handles_.end()) return std::nullopt;
  const Lock* held = at->second.file->records.FirstHeld(LockOf(wish, at->second).owner, wish.range);
  return held == nullptr ? std::nullopt : std::optional(*held);
}

}  // namespace baton
