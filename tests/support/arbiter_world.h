// ArbiterWorld: an arbiter among events that some source of choices picks: three nodes with two mounts each,
// five instances and callers without one, few files; commits and drains that end late and out of order;
// silent, ended and replaced sessions. After each step CheckInvariants, and a model of safety that looks at
// effects only (see Judge). A broken promise is a BATON_CHECK. What it is not: a check of answers; scenarios
// do that. One thread.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"
#include "server/arbiter/arbiter.h"
#include "server/state/sqlite_state_store.h"
#include "support/arbiter_text.h"

namespace baton::test {

class ArbiterWorld {
 public:
  // `pick(n)`: a number below n.
  using Pick = std::function<std::uint32_t(std::uint32_t)>;

  ArbiterWorld(ArbiterOptions options, Pick pick)
      : options_(options), pick_(std::move(pick)), arbiter_(std::make_unique<Arbiter>(options)) {}

  void RandomStep() {
    switch (pick_(20)) {
      case 0:
        return Begin();
      case 1:
        return Speak();
      case 2:
      case 3:
        return CommitOne(pick_(8) != 0);
      case 4:
      case 5:
      case 6:
        return DrainOne();
      case 7:
        return Pass(std::chrono::milliseconds(pick_(3000)));
      case 8:
      case 9:
        return Close();
      case 10:
      case 11:
      case 12:
        return LockSome();
      case 13:
        return UnlockSome();
      case 14:
        return ChangeSome();
      case 15:
        return pick_(12) == 0 ? Restart() : Operate();
      default:
        return Open();
    }
  }

  // Everything that was asked for is done and time passes: only locks behind live holders may be waited for;
  // then all close.
  void Heal() {
    for (int i = 0;
         i < 100 && (!commits_.empty() || !drains_.empty() || arbiter_->NextDeadline() != Instant::max());
         ++i) {
      while (!commits_.empty()) CommitOne(true);
      while (!drains_.empty()) DrainOne();
      Pass(std::chrono::seconds(20));
    }
    BATON_CHECK(commits_.empty() && drains_.empty());
    for (const auto& [id, kind] : waiting_) BATON_CHECK(kind == Kind::kLock);
    while (!handles_.empty()) {
      Do(CloseHandle{handles_.begin()->first});
      while (!drains_.empty()) DrainOne();
    }
    BATON_CHECK(waiting_.empty() && arbiter_->waiting() == 0);
  }

  const std::vector<std::string>& trace() const { return trace_; }
  std::size_t granted() const { return granted_; }

 private:
  enum class Kind { kOpen, kChange, kLock, kFence };
  struct GateState {
    std::optional<Guid> guid;
    Epoch epoch{};
    bool closed = false;
    bool drained = false;
  };
  struct HandleState {
    OpenWish wish;
    GateId gate{};
    Epoch epoch{};
    bool closed = false;  // its own gate
    bool drained = false;
  };
  struct Cell {
    HandleId handle{};
    bool write = false;
    friend bool operator==(const Cell&, const Cell&) = default;
  };
  using Owner = std::pair<SessionId, std::uint64_t>;
  static constexpr std::uint64_t kCells = 12;

  RequestId NewRequest(Kind kind) {
    waiting_[RequestId{++last_request_}] = kind;
    return RequestId{last_request_};
  }

  template <class Map>
  auto Any(Map& map) {
    return std::next(map.begin(), pick_(static_cast<std::uint32_t>(map.size())));
  }

  void Note(const std::string& line) {
    if (trace_.size() > 400) trace_.erase(trace_.begin(), trace_.begin() + 200);
    trace_.push_back(line);
  }

  // --- Events
  // -------------------------------------------------------------------------------------------------------
  void Begin() {
    const std::string node = "n" + std::to_string(pick_(3));
    if (pick_(6) == 0) ++boots_[node];
    SessionBegins begins{SessionId{++last_session_}, node, "b" + std::to_string(boots_[node]), "m",
                         pick_(2) != 0 ? "/a" : "/b"};
    sessions_[begins.session] = node;
    BATON_CHECK(state_->SaveSession({begins, {}, false}, ReservedUntil()).has_value());
    Note("session " + Numbered('s', begins.session) + " " + node + " " + begins.boot + begins.mount_point);
    Do(begins);
  }
  void Speak() {
    if (sessions_.empty()) return;
    const SessionId id = Any(sessions_)->first;
    Note("session event " + Numbered('s', id));
    switch (pick_(6)) {
      case 0:
        return Do(SessionUnmounts{id});
      case 3:
        return Return(id);
      case 1:
      case 2:
        return Do(SessionSilent{id});
      default:
        return Do(SessionHeard{id});
    }
  }
  void CommitOne(bool durable) {
    if (commits_.empty()) return;
    const auto front = commits_.front();
    commits_.pop_front();
    Note(std::string(durable ? "done: " : "failed: ") +
         std::visit([](const auto& any) { return Text(any); }, front));
    if (durable) std::visit([this](const auto& any) { Save(any); }, front);
    if (const auto* commit = std::get_if<Commit>(&front)) {
      Do(Committed{commit->record.guid, durable});
    } else if (const auto* use = std::get_if<CommitUse>(&front)) {
      Do(UseCommitted{use->use.session, use->use.guid, use->use.epoch, durable});
    } else if (durable) {
      Do(EndCommitted{std::get<CommitEnd>(front).session, true});
    } else {
      commits_.push_back(front);
      Do(EndCommitted{std::get<CommitEnd>(front).session, false});
    }
  }
  WallTime Wall() const { return WallTime(std::chrono::floor<std::chrono::microseconds>(now_)); }
  Instant ReservedUntil() const { return now_ + options_.reservation; }
  void Save(const Commit& e) { BATON_CHECK(state_->SaveAll(std::span(&e, 1), Wall(), now_).has_value()); }
  void Save(const CommitUse& e) { BATON_CHECK(state_->SaveUse(e.use).has_value()); }
  void Save(const CommitEnd& e) { BATON_CHECK(state_->EndSession(e, ReservedUntil()).has_value()); }

  // The server is killed and started again: what is durable is all it knows (rule D4).
  void Restart() {
    Note("restart");
    for (auto saved = pick_(static_cast<std::uint32_t>(commits_.size() + 1)); saved > 0; --saved) {
      std::visit([this](const auto& any) { Save(any); }, commits_.front());
      commits_.pop_front();
    }
    commits_.clear(), drains_.clear(), waiting_.clear();
    old_handles_.clear();
    old_cells_ = std::exchange(cells_, {});
    for (auto& [id, handle] : std::exchange(handles_, {})) {
      if (!gates_.at(handle.gate).closed) old_handles_.emplace(id, std::move(handle));
    }
    gates_.clear();  // their numbers begin anew
    restarted_claims_.clear();
    absent_until_ = now_ + std::chrono::seconds(10);
    const auto recovered = Recover(*state_, {"boot", now_, options_.reservation, absent_until_});
    last_epoch_ = recovered->survivors.last_epoch;
    sessions_.clear();
    for (const SessionBegins& known : recovered->survivors.sessions) sessions_[known.session] = known.node;
    arbiter_ = std::make_unique<Arbiter>(options_, recovered->survivors);
    arbiter_->CheckInvariants();
  }
  // A mount says what it held: all of it, or it breaks off in the middle, to begin again some time.
  void Return(SessionId id) {
    if (!arbiter_->IsAbsent(id)) return;
    Do(SessionReturns{id});
    const auto held = old_handles_;
    for (const auto& [handle, old] : held) {
      if (old.wish.who.session != id || handles_.contains(handle)) continue;
      if (pick_(20) == 0) return;
      ReturnHandle(handle, old);
      if (sessions_.contains(id)) ReturnLocks(handle, old);
    }
    Note("returned");
    Do(SessionReturned{id});
    std::erase_if(old_handles_, [&](const auto& old) { return old.second.wish.who.session == id; });
  }
  void ReturnHandle(HandleId id, const HandleState& old) {
    OpenWish wish = old.wish;
    if (wish.who.instance) wish.who.instance->epoch = old.epoch;
    wish.request = NewRequest(Kind::kOpen);
    asked_[wish.request] = wish;
    Note(Numbered('r', wish.request) + " return " + Numbered('h', id) + " " + wish.path + Of(wish.who));
    returning_ = true;
    Do(HandleReturns{id, wish});
    returning_ = false;
    for (const auto& [one, handle] : handles_) JudgeDemoted(handle);
  }
  // Whoever writes without an instance in a claimed file opened for the family of who claimed it (O3, I7).
  void JudgeDemoted(const HandleState& handle) {
    if (handle.wish.who.instance || !handle.wish.writes || handle.closed) return;
    bool is_claimed = false, of_family = false;
    for (const auto& [id, other] : handles_) {
      if (other.wish.file != handle.wish.file || !Claims(other.wish)) continue;
      is_claimed = true;
      const auto& ancestors = other.wish.who.ancestors;
      of_family |= std::find(ancestors.begin(), ancestors.end(), handle.wish.who.pid) != ancestors.end();
    }
    BATON_CHECK(!is_claimed || of_family || !restarted_claims_.contains(handle.wish.file));
  }
  void ReturnLocks(HandleId id, const HandleState& old) {
    for (const auto& [where, cell] : old_cells_) {
      for (const auto& [owner, held] : cell) {
        if (held.handle != id || !handles_.contains(id) || where.first != old.wish.file) continue;
        LockWish wish;
        wish.handle = id;
        wish.kind = where.second == kCells ? LockKind::kFlock : LockKind::kRecord;
        wish.type = held.write ? LockType::kWrite : LockType::kRead;
        wish.owner = owner.second;
        if (wish.kind == LockKind::kRecord) wish.range = {where.second, where.second};
        wish.request = NewRequest(Kind::kLock);
        locks_asked_[wish.request] = wish;
        Do(LockReturns{wish});
      }
    }
  }
  void DrainOne() {
    if (drains_.empty()) return;
    const auto at = Any(drains_);
    const CloseGates closed = at->second;
    drains_.erase(at);
    Note("drained " + Numbered('d', closed.drain));
    for (const GateId gate : closed.gates) gates_[gate].drained = true;
    for (const HandleId id : closed.handles) {
      if (const auto handle = handles_.find(id); handle != handles_.end()) handle->second.drained = true;
    }
    Do(Drained{closed.drain});
  }
  void Pass(Duration by) {
    now_ += by;
    Note("pass");
    if (arbiter_->NextDeadline() <= now_) Do(Tick{});
  }
  void Close() {
    if (handles_.empty()) return;
    const HandleId id = Any(handles_)->first;
    Note("close " + Numbered('h', id));
    if (pick_(2) != 0) {
      const std::uint64_t owner = 1 + pick_(2);
      Release(id, LockKind::kRecord, owner, {0, kCells - 1});
      Do(FlushHandle{id, owner});
    }
    if (handles_.contains(id)) Do(CloseHandle{id});
  }

  Requester Who() {
    Requester who;
    who.session = sessions_.empty() ? SessionId{1} : Any(sessions_)->first;
    who.pid = static_cast<std::int32_t>(1 + pick_(4));
    if (pick_(3) == 0) return who;
    InstanceClaim claim;
    claim.guid = InstanceNamed(static_cast<char>('A' + pick_(5)));
    if (const auto seen = granted_epoch_.find(claim.guid); seen != granted_epoch_.end() && pick_(3) == 0) {
      claim.epoch = Epoch{Raw(seen->second) - pick_(2)};
    }
    if (claim.guid == InstanceNamed('E')) claim.version = InstanceVersion{pick_(6), 0};
    claim.owner = pick_(12) == 0 ? pick_(2) : 1000;
    claim.may_take_over = pick_(10) != 0;
    claim.by_policy = claim.guid == InstanceNamed('D');
    claim.takes_over_alive = pick_(2) != 0;
    who.instance = claim;
    if (pick_(4) == 0) who.ancestors.push_back(static_cast<std::int32_t>(1 + pick_(4)));
    return who;
  }
  FileKey File() { return {1 + pick_(4), 1}; }

  void Open() {
    OpenWish wish;
    wish.who = Who();
    wish.file = File();
    wish.writes = pick_(3) != 0;
    wish.reads = !wish.writes;
    wish.mode = wish.file.ino == 4 ? ClaimMode::kNone
                : pick_(6) == 0    ? ClaimMode::kExclusive
                                   : ClaimMode::kWrite;
    wish.wait_until = now_ + std::chrono::milliseconds(500 * pick_(3));
    wish.request = NewRequest(Kind::kOpen);
    wish.path = "f" + std::to_string(wish.file.ino);
    asked_[wish.request] = wish;
    Note(Numbered('r', wish.request) + " open " + Numbered('s', wish.who.session) + " " + wish.path +
         (wish.writes ? " write" : " read") + " mode " + std::to_string(static_cast<int>(wish.mode)) +
         Of(wish.who));
    Do(wish);
  }
  void ChangeSome() {
    ChangeWish wish;
    wish.who = Who();
    for (std::uint32_t i = pick_(3); i > 0; --i)
      wish.targets.push_back({File(), pick_(2) != 0 ? Act::kNames : Act::kContent});
    wish.wait_until = now_ + std::chrono::milliseconds(500 * pick_(3));
    wish.request = NewRequest(Kind::kChange);
    wish.checked = pick_(3) != 0;
    wish.opens = options_.limits.handles < Limits().handles && wish.targets.empty();
    Note(Numbered('r', wish.request) + " change " + Numbered('s', wish.who.session) + Of(wish.who));
    Do(wish);
  }
  static std::string Of(const Requester& who) {
    if (!who.instance) return "";
    return " " + Name(who.instance->guid) + " epoch " + std::to_string(Raw(who.instance->epoch));
  }
  LockWish SomeLock() {
    LockWish wish;
    wish.handle = handles_.empty() ? HandleId{1} : Any(handles_)->first;
    wish.kind = pick_(4) == 0 ? LockKind::kFlock : LockKind::kRecord;
    wish.type = pick_(2) != 0 ? LockType::kWrite : LockType::kRead;
    wish.owner = 1 + pick_(2);
    wish.wait = pick_(2) != 0;
    if (wish.kind == LockKind::kRecord) {
      wish.range.start = pick_(kCells);
      wish.range.last = wish.range.start + pick_(static_cast<std::uint32_t>(kCells - wish.range.start));
    }
    return wish;
  }
  void LockSome() {
    LockWish wish = SomeLock();
    // A second conversion by the same open: the first one's next try takes away what the second has got, as
    // in the kernel.
    const bool converts = std::any_of(waiting_.begin(), waiting_.end(), [&](const auto& one) {
      const auto asked = locks_asked_.find(one.first);
      return asked != locks_asked_.end() && asked->second.kind == LockKind::kFlock &&
             asked->second.handle == wish.handle;
    });
    if (wish.kind == LockKind::kFlock && converts) return;
    wish.request = NewRequest(Kind::kLock);
    locks_asked_[wish.request] = wish;
    if (wish.kind == LockKind::kFlock)
      Release(wish.handle, wish.kind, 0, {});  // a conversion loses what it had
    Note(Numbered('r', wish.request) + " lock " + Numbered('h', wish.handle) + " " + RangeText(wish.range) +
         (wish.type == LockType::kWrite ? " write" : " read") +
         (wish.kind == LockKind::kFlock ? " flock" : ""));
    Do(wish);
  }
  void UnlockSome() {
    const LockWish wish = SomeLock();
    Note("unlock " + Numbered('h', wish.handle) + " " + RangeText(wish.range));
    unlock_ = {wish.handle, wish.kind, wish.owner, wish.range, NewRequest(Kind::kLock)};
    Do(unlock_);
  }
  void Operate() {
    const Guid guid = InstanceNamed(static_cast<char>('A' + pick_(5)));
    const SessionId session = sessions_.empty() ? SessionId{1} : Any(sessions_)->first;
    Note("operate " + Name(guid));
    switch (pick_(8)) {
      case 0:
        return Do(FenceByHand{NewRequest(Kind::kFence), guid});
      case 1: {
        if (arbiter_->Forget(guid) != 0) return;
        BATON_CHECK(state_->Erase(guid).has_value());
        std::erase_if(old_handles_, [&](const auto& old) {
          return old.second.wish.who.instance && old.second.wish.who.instance->guid == guid;
        });
        granted_epoch_.erase(guid);
        std::erase_if(gates_, [&](const auto& gate) { return gate.second.guid == guid; });
        return;
      }
      case 2:
        arbiter_->ResetVersion(guid);
        return;
      case 3:
        return waiting_.empty() ? void() : Do(Withdraw{Any(waiting_)->first});
      case 4: {
        const auto seen = granted_epoch_.find(guid);
        return seen == granted_epoch_.end() ? void() : Do(InstanceGone{session, guid, seen->second});
      }
      default:
        for (const auto& fence : arbiter_->FencesOf(sessions_.empty() ? "" : sessions_.at(session))) {
          Do(FenceAcknowledged{session, fence.guid, fence.epoch, now_});
        }
    }
  }

  void Do(const Event& event) {
    const Effects effects = arbiter_->Step(event, now_);
    for (const Effect& effect : effects) {
      Note("    " + Text(effect));
      std::visit([this](const auto& any) { Judge(any); }, effect);
    }
    arbiter_->CheckInvariants();
    const std::size_t lock_waits = static_cast<std::size_t>(std::count_if(
        waiting_.begin(), waiting_.end(), [](const auto& one) { return one.second != Kind::kFence; }));
    BATON_CHECK(arbiter_->waiting() == lock_waits);  // nobody is forgotten
  }

  // --- Safety
  // -------------------------------------------------------------------------------------------------------
  void Answer(RequestId request, Kind kind) {  // exactly once
    const auto at = waiting_.find(request);
    BATON_CHECK(at != waiting_.end() && at->second == kind);
    waiting_.erase(at);
  }
  // No grant while an earlier incarnation can act, nor of an earlier one ever after; and only through an open
  // gate (T4, T7).
  void JudgeGate(GateId gate, const std::optional<Guid>& guid, Epoch epoch) {
    GateState& state = gates_[gate];
    BATON_CHECK(!state.closed);
    state.guid = guid;
    state.epoch = epoch;
    ++granted_;
    if (!guid || options_.scope == ReclaimScope::kFile) return;
    BATON_CHECK(epoch >= granted_epoch_[*guid]);
    granted_epoch_[*guid] = epoch;
    for (const auto& [id, other] : gates_) {
      if (other.guid == guid && other.epoch < epoch) BATON_CHECK(other.closed && other.drained);
    }
  }
  void Judge(const OpenGranted& e) {
    Answer(e.request, Kind::kOpen);
    const OpenWish wish = asked_.at(e.request);
    const auto guid = wish.who.instance ? std::optional(wish.who.instance->guid) : std::nullopt;
    JudgeGate(e.gate, guid, e.epoch);
    for (const auto& [id, other] : handles_) {
      if (other.wish.file == wish.file && !(returning_ && (!guid || !other.wish.who.instance))) JudgePair(wish, guid, other);
    }
    for (const auto& [id, old] : old_handles_) {  // D4: no stranger comes before who held it
      const bool ends_with_it = options_.reservation == Duration::zero() && !arbiter_->IsAbsent(old.wish.who.session);
      if (!Claims(old.wish) || returning_ || ends_with_it) continue;
      const bool is_stranger = guid != old.wish.who.instance->guid;
      BATON_CHECK(old.wish.file != wish.file || !is_stranger || !wish.writes || now_ >= absent_until_);
    }
    if (returning_ && Claims(wish)) restarted_claims_.insert(wish.file);
    handles_[e.handle] = {wish, e.gate, e.epoch};
  }
  static bool Claims(const OpenWish& open) {
    return open.who.instance && open.writes && open.mode != ClaimMode::kNone;
  }
  // Two writers of one file, of which one claims it, are of one instance; or the other was demoted and
  // drained (O2, O3).
  void JudgePair(const OpenWish& wish, const std::optional<Guid>& guid, const HandleState& other) {
    const auto other_guid =
        other.wish.who.instance ? std::optional(other.wish.who.instance->guid) : std::nullopt;
    const bool same_node = sessions_.at(wish.who.session) == sessions_.at(other.wish.who.session);
    if (guid && guid == other_guid) {
      if (options_.scope == ReclaimScope::kFile) BATON_CHECK(same_node);
      return;
    }
    if (!wish.writes || !other.wish.writes) return;
    if (Claims(other.wish)) BATON_CHECK(false);
    if (!Claims(wish)) return;
    BATON_CHECK(!other_guid);
    const bool of_family = same_node && std::find(wish.who.ancestors.begin(), wish.who.ancestors.end(),
                                                  other.wish.who.pid) != wish.who.ancestors.end();
    const bool had_it = std::any_of(handles_.begin(), handles_.end(), [&](const auto& any) {
      return any.second.wish.file == wish.file && Claims(any.second.wish) &&
             any.second.wish.who.instance->guid == *guid;
    });
    BATON_CHECK(of_family || had_it || (other.closed && other.drained));
  }
  void Judge(const ChangeGranted& e) {
    Answer(e.request, Kind::kChange);
    const auto gate = gates_.find(e.gate);
    if (e.epoch == Epoch{}) return JudgeGate(e.gate, std::nullopt, e.epoch);
    if (gate != gates_.end() && gate->second.guid) JudgeGate(e.gate, gate->second.guid, e.epoch);
  }
  void Judge(const CheckFirst& e) { Answer(e.request, Kind::kChange); }
  // One cell of a file: who holds it. A model of its own, byte by byte.
  std::map<Owner, Cell>& CellAt(const FileKey& file, LockKind kind, std::uint64_t at) {
    return cells_[{file, kind == LockKind::kFlock ? kCells : at}];
  }
  void Judge(const LockGranted& e) {
    Answer(e.request, Kind::kLock);
    if (e.request == unlock_.request) return Release(unlock_.handle, unlock_.kind, unlock_.owner, unlock_.range);
    const LockWish wish = locks_asked_.at(e.request);
    const HandleState& handle = handles_.at(wish.handle);
    BATON_CHECK(!gates_.at(handle.gate).closed);  // T6
    const bool flock = wish.kind == LockKind::kFlock;
    const Owner owner{handle.wish.who.session, flock ? Raw(wish.handle) : wish.owner};
    const bool write = wish.type == LockType::kWrite;
    for (std::uint64_t at = flock ? 0 : wish.range.start; at <= (flock ? 0 : wish.range.last); ++at) {
      auto& cell = CellAt(handle.wish.file, wish.kind, at);
      for (const auto& [other, held] : cell) BATON_CHECK(other == owner || (!held.write && !write));
      cell[owner] = {wish.handle, write};
    }
    if (!flock)
      Merge(handle.wish.file, owner, wish.range, cells_[{handle.wish.file, wish.range.start}][owner]);
  }
  // Neighbours of the same owner, type and instance become one lock, of the handle that came last.
  void Merge(const FileKey& file, const Owner& owner, const ByteRange& range, const Cell cell) {
    const auto joins = [&](std::uint64_t at) {
      const auto found = cells_.find({file, at});
      if (found == cells_.end() || !found->second.contains(owner)) return false;
      Cell& held = found->second.at(owner);
      if (held.write != cell.write || InstanceOf(held.handle) != InstanceOf(cell.handle)) return false;
      held.handle = cell.handle;
      return true;
    };
    for (std::uint64_t at = range.start; at > 0 && joins(at - 1);) --at;
    for (std::uint64_t at = range.last + 1; at < kCells && joins(at);) ++at;
  }
  std::optional<Guid> InstanceOf(HandleId id) const {
    const auto& who = handles_.at(id).wish.who;
    return who.instance ? std::optional(who.instance->guid) : std::nullopt;
  }
  void Release(HandleId id, LockKind kind, std::uint64_t owner, const ByteRange& range) {
    const auto handle = handles_.find(id);
    if (handle == handles_.end()) return;
    const bool flock = kind == LockKind::kFlock;
    const Owner who{handle->second.wish.who.session, flock ? Raw(id) : owner};
    for (std::uint64_t at = flock ? 0 : range.start; at <= (flock ? 0 : range.last); ++at) {
      CellAt(handle->second.wish.file, kind, at).erase(who);
    }
  }
  void Judge(const Refused& e) {
    const auto at = waiting_.find(e.request);
    BATON_CHECK(at != waiting_.end() && e.error != 0);
    waiting_.erase(at);
  }
  void Judge(const FenceDone& e) { Answer(e.request, Kind::kFence); }
  void Judge(const Commit& e) {  // numbers rise, over all instances
    BATON_CHECK(e.record.epoch > last_epoch_);
    last_epoch_ = e.record.epoch;
    commits_.emplace_back(e);
  }
  void Judge(const CommitUse& e) { commits_.emplace_back(e); }
  void Judge(const CommitEnd& e) { commits_.emplace_back(e); }
  void Judge(const KeepFence& e) { BATON_CHECK(state_->AcknowledgeFence(e.fence).has_value()); }
  void Judge(const CloseGates& e) {
    BATON_CHECK(drains_.emplace(e.drain, e).second && e.error != 0);
    for (const GateId gate : e.gates) gates_[gate].closed = true;
    for (const HandleId id : e.handles) handles_.at(id).closed = true;
  }
  void Judge(const HandlesDropped& e) {
    BATON_CHECK(!e.handles.empty());
    for (const HandleId id : e.handles) {
      for (auto& [where, cell] : cells_)
        std::erase_if(cell, [&](const auto& held) { return held.second.handle == id; });
      BATON_CHECK(handles_.erase(id) == 1);
    }
  }
  void Judge(const NotifyFenced& e) { BATON_CHECK(sessions_.contains(e.session)); }
  void Judge(const NotifyRevoked& e) { BATON_CHECK(!e.handles.empty()); }
  void Judge(const SessionEnded& e) {
    for (const auto& [id, handle] : handles_) BATON_CHECK(handle.wish.who.session != e.session);
    BATON_CHECK(sessions_.erase(e.session) == 1);
    std::erase_if(old_handles_, [&](const auto& old) { return old.second.wish.who.session == e.session; });
    BATON_CHECK(state_->EraseSession(e.session).has_value());
  }
  void Judge(const RefuseCachedWrites& e) { BATON_CHECK(!e.handles.empty()); }
  void Judge(const GateDropped&) {}
  void Judge(const Emit&) {}

  Unlock unlock_;  // the last one
  const ArbiterOptions options_;
  Pick pick_;
  std::unique_ptr<StateStore> state_ = SqliteStateStore::OpenInMemory();
  std::unique_ptr<Arbiter> arbiter_;
  Instant now_ = std::chrono::seconds(100);
  std::uint64_t last_request_ = 0;
  std::uint64_t last_session_ = 0;
  std::size_t granted_ = 0;
  Epoch last_epoch_{};
  std::map<std::string, int> boots_;
  std::map<SessionId, std::string> sessions_;
  std::map<RequestId, Kind> waiting_;
  std::map<RequestId, OpenWish> asked_;
  std::map<RequestId, LockWish> locks_asked_;
  std::deque<std::variant<Commit, CommitUse, CommitEnd>> commits_;
  std::map<HandleId, HandleState> old_handles_;  // when the server was killed last, of who has not come back
  std::map<std::pair<FileKey, std::uint64_t>, std::map<Owner, Cell>> old_cells_;
  std::set<FileKey> restarted_claims_;  // that came back
  bool returning_ = false;
  Instant absent_until_{};
  std::map<DrainId, CloseGates> drains_;
  std::map<GateId, GateState> gates_;
  std::map<HandleId, HandleState> handles_;
  std::map<std::pair<FileKey, std::uint64_t>, std::map<Owner, Cell>> cells_;
  std::map<Guid, Epoch> granted_epoch_;
  std::vector<std::string> trace_;
};

}  // namespace baton::test
