// Opens and changes: judged, granted, parked, refused (rules O1-O6, T2, T4). See files.cpp for what a file's state allows.
#include <algorithm>

#include "base/check.h"
#include "server/arbiter/arbiter.h"

namespace baton {

void Arbiter::On(const OpenWish& event) { Arrive(event.request, {event}); }
void Arbiter::On(const ChangeWish& event) { Arrive(event.request, {event}); }

void Arbiter::Arrive(RequestId id, Parked parked) {
  const SessionId session = SessionOf(parked);
  if (const Limit* limit = LimitOfWaiting(session); limit != nullptr && WouldWaitForOthers(parked)) {
    RefuseAtLimit(id, ENOMEM, parked, *limit);
    return;
  }
  const auto at = parked_.emplace(id, std::move(parked)).first;
  if (const auto asks = sessions_.find(session); asks != sessions_.end()) ++asks->second.waiting;
  if (Decide(id, at->second)) Unpark(id);
}

// A signal ends a wait for others, and nobody is harmed for who got one. A wait for a commit or a drain goes on:
// a disk does not know EINTR (rule O5).
void Arbiter::On(const Withdraw& event) {
  if (const auto at = parked_.find(event.request); at != parked_.end()) {
    at->second.withdrawn = true;
    if (!at->second.draining && Decide(event.request, at->second)) Unpark(event.request);
  } else if (lock_waits_.contains(event.request)) {
    const FileKey key = lock_waits_.at(event.request).file;
    ForgetWait(event.request);
    Push(Refused{event.request, EINTR, std::nullopt});
    touched_.insert(key);
  }
}

void Arbiter::On(const CloseHandle& event) {
  const auto at = handles_.find(event.handle);
  if (at == handles_.end()) return;
  RefuseWaitsOf(at->second, EINTR);
  DropHandle(at->second,
             IsFenced(at->second) ? at->second.guid : std::nullopt);  // a fenced one cannot release (rule T9)
  retry_ = true;
}

// Everything is checked before anybody is fenced (rule T2): first who asks, then the file, and only then the takeover.
Arbiter::Verdict Arbiter::Judge(const OpenWish& wish) const {
  Verdict member = JudgeWho(wish.who);
  if (member.kind != Verdict::kGrant && member.kind != Verdict::kTakeOver) return member;
  const Act act = wish.writes ? Act::kWriteOpen : Act::kReadOpen;
  Verdict file = wish.made ? JudgeKnown(wish.who, wish.file, act) : JudgeFile(wish.who, wish.file, act, wish.mode);
  if (file.kind == Verdict::kGrant) {
    if (const auto at = files_.find(wish.file); at != files_.end()) file = JudgeOtherHandles(wish, at->second);
  }
  const bool harms_nobody_else =
      file.kind == Verdict::kGrant || file.kind == Verdict::kDemote || file.kind == Verdict::kRevoke;
  return member.kind == Verdict::kTakeOver && harms_nobody_else ? member : file;
}

Arbiter::Verdict Arbiter::Judge(const ChangeWish& wish) const {
  Verdict member = JudgeWho(wish.who);
  if (member.kind != Verdict::kGrant && member.kind != Verdict::kTakeOver) return member;
  for (const ChangeWish::Target& target : wish.targets) {
    Verdict file = JudgeFile(wish.who, target.file, target.act, wish.mode);
    if (file.kind != Verdict::kGrant) return file;
  }
  if (member.kind == Verdict::kTakeOver) return member;
  for (const ChangeWish::Target& target : wish.targets) {
    const auto at = files_.find(target.file);
    if (at == files_.end()) continue;
    Verdict own = JudgeOwnElsewhere(wish.who, at->second);
    if (own.kind != Verdict::kGrant) return own;
  }
  return member;
}

bool Arbiter::Decide(RequestId id, Parked& parked) {
  const auto [who, path, verdict] = std::visit(
      [this](const auto& wish) {
        return std::tuple<const Requester&, const std::string&, Verdict>(wish.who, wish.path, Judge(wish));
      },
      parked.wish);
  if (NeedsCheck(parked, verdict)) {
    Push(CheckFirst{id});
    return true;
  }
  if (parked.withdrawn && HarmsOthers(verdict)) {
    Push(Refused{id, EINTR, std::nullopt});
    return true;
  }
  if (const Limit* limit = LimitOfHandles(parked, verdict)) {
    RefuseAtLimit(id, ENFILE, parked, *limit);
    return true;
  }
  parked.admitted |= HarmsOthers(verdict);
  switch (verdict.kind) {
    case Verdict::kGrant:
      std::visit([this](const auto& wish) { Grant(wish); }, parked.wish);
      return true;
    case Verdict::kRefuse:
      Refuse(id, who, path, verdict);
      return true;
    case Verdict::kWait:
      if (verdict.error == 0) return false;  // what it waits for ends by itself: a drain, a commit
      return Await(id, parked, verdict);
    case Verdict::kCommitUse:
      CommitUseOf(who);
      return false;
    case Verdict::kEndSession:
      BeginEnding(sessions_.at(verdict.session), Ending::kFenced, "it was silent and " + path + " was needed by another");
      return false;
    case Verdict::kTakeOver:
      BeginTakeover(who, path);
      return false;
    case Verdict::kRevoke:
      RevokeFor(id, verdict.handles);
      parked.draining = true;
      return false;
    case Verdict::kDemote:
      DemoteFor(id, verdict.handles);
      parked.draining = true;
      return false;
  }
  return true;
}

bool Arbiter::HarmsOthers(const Verdict& verdict) {
  switch (verdict.kind) {
    case Verdict::kTakeOver:
    case Verdict::kEndSession:
    case Verdict::kRevoke:
    case Verdict::kDemote:
      return true;
    case Verdict::kGrant:
    case Verdict::kRefuse:
    case Verdict::kWait:
    case Verdict::kCommitUse:
      break;
  }
  return false;
}

// A change that would fail anyway harms nobody, and gets its own errno rather than EBUSY. Who is fenced has his
// answer (rule T6).
bool Arbiter::NeedsCheck(const Parked& parked, const Verdict& verdict) {
  const auto* change = std::get_if<ChangeWish>(&parked.wish);
  const bool is_answer = verdict.kind == Verdict::kGrant || verdict.error == ESTALE;
  const bool ends_by_itself =
      verdict.kind == Verdict::kCommitUse || (verdict.kind == Verdict::kWait && verdict.error == 0);
  return change != nullptr && !change->checked && !is_answer && !ends_by_itself;
}

// Somebody is in the way. True if that was answered.
bool Arbiter::Await(RequestId id, const Parked& parked, const Verdict& verdict) {
  const auto& [who, path, wait_until] = std::visit(
      [](const auto& wish) { return std::tie(wish.who, wish.path, wish.wait_until); }, parked.wish);
  const Instant patience = parked.withdrawn ? Instant{} : std::max(wait_until, verdict.absent_until);
  const Instant until = std::max(patience, verdict.closing_until);
  if (now_ < until) {
    wish_deadlines_.emplace(until, id);
    return false;
  }
  if (parked.withdrawn) {
    Push(Refused{id, EINTR, std::nullopt});
  } else {
    Refuse(id, who, path, verdict);
  }
  return true;
}

template <class List>
void Arbiter::InsertInOrder(Handles<List>& handles, Handle& handle) {
  auto at = handles.end();
  while (at != handles.begin() && std::prev(at)->id > handle.id) --at;
  handles.insert(at, handle);
}

Arbiter::Handle& Arbiter::Grant(const OpenWish& wish, HandleId id) {
  const auto [gate, epoch] = Enlist(wish.who);
  File& file = files_[wish.file];
  file.key = wish.file;
  file.path = wish.path;
  Handle& handle = handles_[id];
  handle.id = id;
  handle.session = wish.who.session;
  handle.file = &file;
  handle.uid = wish.who.uid;
  handle.pid = wish.who.pid;
  handle.program = wish.who.program;
  handle.reads = wish.reads;
  handle.writes = wish.writes;
  InsertInOrder(file.handles, handle);
  InsertInOrder(sessions_.at(wish.who.session).handles, handle);
  if (wish.who.instance) {
    const Guid& guid = wish.who.instance->guid;
    handle.guid = guid;
    handle.epoch = epoch;
    InsertInOrder(const_cast<Life&>(*LifeOf(instances_.at(guid), epoch)).handles, handle);
    if (wish.writes && wish.mode != ClaimMode::kNone) {
      handle.claims = true;
      if (!file.claim) file.claim = Claim{guid, epoch, wish.mode, 0};
      file.claim->mode = std::max(file.claim->mode, wish.mode);
      ++file.claim->handles;
      EndReservedClaim(file, guid);
    }
  }
  // What a silent session gets is in others' way as what it had: they may end it (rule S2).
  if (sessions_.at(wish.who.session).state == SessionState::kSilent) retry_ = true;
  Push(OpenGranted{wish.request, id, gate, epoch});
  return handle;
}

void Arbiter::Grant(const ChangeWish& wish) {
  const auto [gate, epoch] = Enlist(wish.who);
  Push(ChangeGranted{wish.request, gate, epoch});
}

void Arbiter::Refuse(RequestId id, const Requester& who, const std::string& path, const Verdict& verdict) {
  Push(Refused{id, verdict.error, verdict.holder});
  const auto session = sessions_.find(who.session);
  if (session == sessions_.end()) return;
  auto& last = session->second.last_refusal;
  const bool repeated = last.pid == who.pid && last.path == path && last.error == verdict.error &&
                        last.kind == verdict.event && now_ - last.at < std::chrono::seconds(1);
  last = {who.pid, path, verdict.error, verdict.event, now_};
  if (repeated) return;

  EventRecord event;
  event.kind = verdict.event;
  event.to_node = session->second.node;
  event.uid = who.uid;
  event.pid = who.pid;
  event.program = who.program;
  event.file = path;
  event.detail = verdict.why;
  if (verdict.holder) {
    const Holder& holder = *verdict.holder;
    event.from_node = holder.node;
    event.detail += holder.guid ? ": instance " + ToString(*holder.guid) : ": a program without an instance";
    if (!holder.node.empty()) event.detail += " on node " + holder.node;
    if (holder.pid != 0) event.detail += ", pid " + std::to_string(holder.pid) + " (" + holder.program + ")";
  }
  if (who.instance) {
    event.guid = who.instance->guid;
    event.old_epoch = who.instance->epoch;
    if (const auto at = instances_.find(*event.guid); at != instances_.end()) {
      event.new_epoch = at->second.record.epoch;
      if (verdict.event == EventKind::kFlapping && now_ >= at->second.refused_until) {
        at->second.refused_until = now_ + options_.flap_window;
      }
    }
  }
  Push(Emit{std::move(event)});
}

// The handles may be gone by now: closed, or with their session.
void Arbiter::FinishDrainOf(const Drain& drain) {
  for (HandleId id : drain.handles) {
    const auto at = handles_.find(id);
    if (at == handles_.end()) continue;
    at->second.draining = false;
    if (at->second.revoked) DropHandle(at->second, at->second.guid);
  }
  if (const auto parked = parked_.find(drain.request); parked != parked_.end()) parked->second.draining = false;
  retry_ = true;
}

// --reclaim-scope file: the same instance's handles on another node, on this file only (rule T5).
void Arbiter::RevokeFor(RequestId id, const std::vector<HandleId>& handles) {
  std::map<SessionId, std::vector<HandleId>> by_session;
  for (HandleId handle : handles) {
    Handle& revoked = handles_.at(handle);
    RefuseWaitsOf(revoked, ESTALE);
    revoked.revoked = revoked.draining = true;
    by_session[revoked.session].push_back(handle);
  }
  const DrainId drain = NewDrain({.purpose = DrainPurpose::kOpen, .request = id, .handles = handles});
  Push(CloseGates{drain, {}, handles, ESTALE});
  for (auto& [session, gone] : by_session) Push(NotifyRevoked{session, std::move(gone)});
  const Handle& first = handles_.at(handles.front());
  EventRecord event;
  event.kind = EventKind::kTakeover;
  event.guid = first.guid;
  event.old_epoch = first.epoch;
  event.from_node = NodeOf(first.session);
  event.file = first.file->path;
  event.handles = handles.size();
  event.detail = "this file only";
  Push(Emit{std::move(event)});
}

// A handle without an instance does not stop one that claims the file: its later writes are refused (rule O3).
void Arbiter::DemoteFor(RequestId id, const std::vector<HandleId>& handles) {
  for (HandleId handle : handles) handles_.at(handle).demoted = handles_.at(handle).draining = true;
  Push(CloseGates{NewDrain({.purpose = DrainPurpose::kOpen, .request = id, .handles = handles}), {}, handles, EBUSY});
}

}  // namespace baton
