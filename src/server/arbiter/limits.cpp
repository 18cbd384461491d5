// At a limit (rule A4): who is refused, with which errno, and who is told. What a limit never stops is what
// ends something (a close, an unlock that leaves no more locks than before), what somebody has been fenced
// for (T2), and what was held before the server's restart.
#include "server/arbiter/limits.h"

#include <algorithm>

#include "base/check.h"
#include "server/arbiter/arbiter.h"

namespace baton {
namespace {

const Limit& LimitFor(std::uint64_t Limits::*field) {
  const auto* at = std::find_if(std::begin(kLimits), std::end(kLimits),
                                [&](const Limit& limit) { return limit.field == field; });
  BATON_CHECK(at != std::end(kLimits));
  return *at;
}

}  // namespace

SessionId Arbiter::SessionOf(const Parked& parked) {
  return std::visit([](const auto& wish) { return wish.who.session; }, parked.wish);
}

// --- Handles
// ----------------------------------------------------------------------------------------------------------

// A full server is no reason not to take over: what the old incarnation had goes first.
std::size_t Arbiter::HandlesThatGo(const Requester& who, const Verdict& verdict) const {
  if (verdict.kind == Verdict::kEndSession) return sessions_.at(verdict.session).handles.size();
  if (verdict.kind == Verdict::kRevoke) return verdict.handles.size();
  const Instance* instance = verdict.kind == Verdict::kTakeOver ? FindInstance(who.instance->guid) : nullptr;
  std::size_t handles = 0;
  if (instance == nullptr) return handles;
  for (const Life& life : instance->lives) handles += life.handles.size();
  return handles;
}

const Limit* Arbiter::LimitOfHandles(const Parked& parked, const Verdict& verdict) const {
  const auto* open = std::get_if<OpenWish>(&parked.wish);
  const auto* change = std::get_if<ChangeWish>(&parked.wish);
  const bool brings_handle = open != nullptr ? !open->made : change->opens;  // what was made is to be opened
  const bool gets_it = verdict.kind == Verdict::kGrant || HarmsOthers(verdict);
  if (!brings_handle || !gets_it || parked.admitted) return nullptr;
  const Requester& who = open != nullptr ? open->who : change->who;
  if (sessions_.at(who.session).handles.size() >= options_.limits.handles_per_session) {
    return &LimitFor(&Limits::handles_per_session);
  }
  if (handles_.size() < options_.limits.handles) return nullptr;
  return handles_.size() - HandlesThatGo(who, verdict) < options_.limits.handles
             ? nullptr
             : &LimitFor(&Limits::handles);
}

// --- Waiting
// ----------------------------------------------------------------------------------------------------------

const Limit* Arbiter::LimitOfWaiting(SessionId id) const {
  const auto session = sessions_.find(id);
  if (session == sessions_.end()) return nullptr;
  if (session->second.waiting >= options_.limits.waiting_per_session)
    return &LimitFor(&Limits::waiting_per_session);
  return waiting() >= options_.limits.waiting ? &LimitFor(&Limits::waiting) : nullptr;
}

// A wait for a drain or the disk ends by itself, and is let in.
bool Arbiter::WouldWaitForOthers(const Parked& parked) const {
  const Verdict verdict = std::visit([this](const auto& wish) { return Judge(wish); }, parked.wish);
  if (verdict.kind != Verdict::kWait || verdict.error == 0 || NeedsCheck(parked, verdict)) return false;
  const Instant wait_until = std::visit([](const auto& wish) { return wish.wait_until; }, parked.wish);
  return now_ < std::max({wait_until, verdict.absent_until, verdict.closing_until});
}

bool Arbiter::WouldWaitForOthers(const LockWish& wish, const Lock& lock, const File& file) const {
  const Lock* conflict = TableOf(const_cast<File&>(file), wish.kind).Conflict(lock);
  if (conflict == nullptr) return WaitsForAbsent(handles_.at(wish.handle));
  if (!wish.wait) return false;
  return conflict->owner.IsReservation() ||
         sessions_.at(conflict->owner.session()).state == SessionState::kActive;
}

void Arbiter::Unpark(RequestId id) {
  const auto at = parked_.find(id);
  if (const auto session = sessions_.find(SessionOf(at->second)); session != sessions_.end())
    --session->second.waiting;
  parked_.erase(at);
}

// --- Locks
// ------------------------------------------------------------------------------------------------------------

const Limit* Arbiter::LimitOfLocksNow(const Session& session) const {
  if (session.locks >= options_.limits.locks_per_session) return &LimitFor(&Limits::locks_per_session);
  return locks_ >= options_.limits.locks ? &LimitFor(&Limits::locks) : nullptr;
}

// One that replaces what its owner holds there makes them no more.
const Limit* Arbiter::LimitOfLocks(const LockWish& wish, const Lock& lock, const File& file) const {
  const Limit* limit = LimitOfLocksNow(sessions_.at(handles_.at(wish.handle).session));
  if (limit == nullptr) return nullptr;
  const std::vector<Lock> held = TableOf(const_cast<File&>(file), wish.kind).HeldBy(lock.owner, lock.range);
  const bool replaces = std::any_of(held.begin(), held.end(), [&](const Lock& old) {
    const bool covers = old.range.start <= lock.range.start && lock.range.last <= old.range.last;
    return old.range == lock.range || (covers && old.type == lock.type);
  });
  return replaces ? nullptr : limit;
}

// An unlock in the middle of a lock leaves two.
const Limit* Arbiter::LimitOfUnlock(const Unlock& unlock, const Handle& handle) const {
  const Limit* limit = LimitOfLocksNow(sessions_.at(handle.session));
  if (unlock.kind == LockKind::kFlock || limit == nullptr) return nullptr;
  const auto held = handle.file->records.HeldBy(LockOwner(handle.session, unlock.owner), unlock.range);
  const bool splits =
      held.size() == 1 && held[0].range.start < unlock.range.start && unlock.range.last < held[0].range.last;
  return splits ? limit : nullptr;
}

void Arbiter::CountLocks(SessionId id, std::size_t before, std::size_t after) {
  std::uint64_t& locks = sessions_.at(id).locks;
  locks += after;
  locks_ += after;
  BATON_CHECK(locks >= before && locks_ >= before);
  locks -= before;
  locks_ -= before;
}

// --- The answer
// -------------------------------------------------------------------------------------------------------

// One event in 10 s for each session and limit.
void Arbiter::RefuseAtLimit(RequestId id, int error, SessionId asks, const Limit& limit, EventRecord event) {
  constexpr Duration kAgain = std::chrono::seconds(10);
  Push(Refused{id, error, std::nullopt});
  const auto session = sessions_.find(asks);
  if (session == sessions_.end()) return;
  const auto [told, is_first] = session->second.limits_told.try_emplace(limit.name, now_);
  if (!is_first && now_ - told->second < kAgain) return;
  told->second = now_;
  event.kind = EventKind::kLimit;
  event.to_node = session->second.node;
  event.detail = "--" + std::string(limit.name) + " is " + std::to_string(options_.limits.*limit.field) +
                 ": " + limit.what;
  Push(Emit{std::move(event)});
}

void Arbiter::RefuseAtLimit(RequestId id, int error, const Parked& parked, const Limit& limit) {
  const auto& [who, path] = std::visit(
      [](const auto& wish) { return std::pair<const Requester&, const std::string&>(wish.who, wish.path); },
      parked.wish);
  EventRecord event;
  if (who.instance) event.guid = who.instance->guid;
  event.uid = who.uid;
  event.pid = who.pid;
  event.program = who.program;
  event.file = path;
  RefuseAtLimit(id, error, who.session, limit, std::move(event));
}

void Arbiter::RefuseAtLimit(RequestId id, const LockWish& wish, const Limit& limit) {
  const Handle& handle = handles_.at(wish.handle);
  EventRecord event;
  event.guid = handle.guid;
  event.uid = handle.uid;
  event.pid = wish.pid;
  event.program = handle.program;
  event.file = handle.file->path;
  RefuseAtLimit(id, ENOLCK, handle.session, limit, std::move(event));
}

// What is counted is what there is.
void Arbiter::CheckCounts() const {
  std::map<SessionId, std::pair<std::uint64_t, std::uint64_t>> counted;  // locks, waiting
  std::uint64_t locks = 0;
  for (const auto& [key, file] : files_) {
    for (const LockTable* table : {&file.records, &file.flocks}) {
      for (const Lock& lock : table->List()) {
        if (lock.owner.IsReservation()) continue;
        ++counted[lock.owner.session()].first;
        ++locks;
      }
    }
  }
  for (const auto& [id, parked] : parked_) ++counted[SessionOf(parked)].second;
  for (const auto& [id, wait] : lock_waits_) ++counted[wait.lock.owner.session()].second;
  BATON_CHECK(locks == locks_);
  for (const auto& [id, session] : sessions_) {
    BATON_CHECK(session.locks == counted[id].first && session.waiting == counted[id].second);
  }
}

}  // namespace baton
