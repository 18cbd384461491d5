// The arbiter: who may have what. Sessions, instances with their incarnations, handles, claims, locks,
// reservations and everyone who waits for one of them. All rules I, O, T, L and S that are decisions live
// here.
//
// What it is not: it does no I/O, reads no clock, has no thread, no mutex and no randomness. Step(event, now)
// changes the state and returns effects; the same events at the same times give the same effects. Whoever
// becomes grantable is among the effects of the step that made it so. The caller serializes Step and carries
// out the effects in order before the next.
//
// How a takeover runs (rule T4):
//   OpenWish of X from another node -> Commit(record with the new epoch); the wish is parked
//   Committed                       -> CloseGates(all gates of the old incarnation), NotifyFenced to its node
//   Drained                         -> HandlesDropped, locks and claims become reservations of X, OpenGranted
// Until Committed the old incarnation works on. From CloseGates on it gets ESTALE, whatever happens next.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "locks/lock_table.h"
#include "server/arbiter/types.h"
#include "server/arbiter/wait_graph.h"

namespace baton {

class Arbiter {
 public:
  explicit Arbiter(ArbiterOptions options, const Survivors& survivors = {});

  Effects Step(const Event& event, Instant now);

  // When a Tick is due at the latest; Instant::max() if never.
  Instant NextDeadline() const;

  // True if the requester is, or by a granted change would become, a later incarnation of its instance than `creator`, and that
  // one has ended or would end thereby (rule X1). While it cannot be told yet, true.
  bool WouldOutlive(const Requester& who, Epoch creator) const;
  // The session is on its way out, or gone: it is not to be resumed.
  bool IsEnding(SessionId id) const { return FindSession(id) == nullptr; }
  // Somebody may still come back from before the server's restart.
  bool IsAnybodyAbsent() const;
  // It is to say what it held before anything else (rule D4).
  bool IsAbsent(SessionId id) const;
  // Somebody has not come back, who may have a lock in the way of this handle's.
  bool MayMeetAbsent(HandleId handle) const;
  // What was fenced away from a node in this boot (rule T7), for a new or resumed session of it.
  struct NodeFence {
    Guid guid{};
    Epoch epoch{};
    std::optional<InstanceVersion> version;
    std::optional<Instant> acknowledged;    // by the first of the node's mounts, by the node's clock
    std::set<SessionId> unacknowledged;     // mounts that may still ask as before: through them `new` does not count
  };
  std::vector<NodeFence> FencesOf(const std::string& node) const;
  // The session of that node name that another machine may not take (rule S3): 0, or EBUSY.
  int MayBegin(const std::string& node, const std::string& machine, const std::string& boot) const;

  // The first lock in the way, as F_GETLK reports it; its pid is 0 if the holder is on another node (rule L1).
  std::optional<Lock> GetLock(const LockWish& wish) const;
  // The owner's own first lock in the range: what F_OFD_GETLK with F_UNLCK asks for.
  std::optional<Lock> GetOwnLock(const LockWish& wish) const;

  // A close of the handle is on its way, and to be waited for until then (rule O5); the past if none is.
  Instant ClosingUntil(HandleId handle) const;

  // By hand (rules T8, T12): 0, ENOENT, or EBUSY while the incarnation is bound (rule T3).
  int Forget(const Guid& guid);
  std::optional<InstanceRecord> RecordOf(const Guid& guid) const;  // none if it is not known
  // The record without its version, to be committed; none if the instance is not known.
  std::optional<InstanceRecord> ResetVersion(const Guid& guid);

  std::vector<SessionInfo> ListSessions() const;
  std::vector<InstanceInfo> ListInstances() const;
  std::vector<OpenInfo> ListOpens(std::optional<FileKey> only = {}) const;
  std::vector<LockInfo> ListLocks(std::optional<FileKey> only = {}) const;
  std::size_t waiting() const { return parked_.size() + lock_waits_.size(); }

  // BATON_CHECKs what must always hold. Linear; after each step in debug builds, tests and fuzzing.
  void CheckInvariants() const;

 private:
  // --- State
  // --------------------------------------------------------------------------------------------------------
  // A handle is in the lists of its session, its life and its file, always in order of id: ids rise, and each
  // is appended when it is granted. Nothing is allocated for them, and to leave them costs nothing: ten
  // thousand go in one step.
  struct InSession;
  struct InLife;
  struct InFile;
  template <class List>
  using HandleHook =
      boost::intrusive::list_base_hook<boost::intrusive::tag<List>,
                                       boost::intrusive::link_mode<boost::intrusive::normal_link>>;
  struct File;
  struct Handle : HandleHook<InSession>, HandleHook<InLife>, HandleHook<InFile> {
    HandleId id{};
    SessionId session{};
    File* file = nullptr;
    std::optional<Guid> guid;
    Epoch epoch{};
    std::uint32_t uid = 0;
    std::int32_t pid = 0;
    bool reads = false;
    bool writes = false;
    bool claims = false;
    bool demoted = false;
    bool revoked = false;   // --reclaim-scope file
    bool draining = false;  // its own gate is closed, but somebody may be inside still
    Instant flushed{};      // its last FLUSH, which a close(2) begins with
    std::string program;
  };
  template <class List>
  using Handles = boost::intrusive::list<Handle, boost::intrusive::base_hook<HandleHook<List>>>;
  // kAbsent: of the server's earlier life, and has not come back yet.
  enum class SessionState : std::uint8_t { kActive, kSilent, kAbsent, kEnding };
  struct Use {
    Epoch epoch{};
    bool durable = false;
  };
  struct Session {
    SessionId id{};
    std::string node, boot, machine, mount_point;
    SessionState state = SessionState::kActive;
    bool returning = false;    // while absent: it is saying what it held
    std::set<Guid> may_hold;   // while absent: instances that it used, the nil one if it had locks without any
    GateId anonymous_gate{};
    Handles<InSession> handles;
    std::set<Guid> instances;  // of which it has a gate
    std::map<Guid, Use> uses;  // what is durable of them, or about to be (rule D4)
    bool clean = false;        // while ending: a clean unmount (S4)
    bool drained = false, committed = false;  // while ending: what is there of the two
    std::vector<std::pair<Guid, Epoch>> fenced;  // while ending: incarnations that end with it (S2)
    std::string reason;
    std::uint64_t locks = 0;   // that it holds; not what is reserved (rule A4)
    std::uint64_t waiting = 0; // of its requests
    std::map<std::string, Instant> limits_told;  // by option, when the last event was
    struct {
      std::int32_t pid = 0;
      std::string path;
      int error = 0;
      EventKind kind{};
      Instant at{};
    } last_refusal;  // the kernel repeats an open after ESTALE: counted once (rule T10)
  };
  struct Node {
    std::string boot, machine;
    std::set<SessionId> sessions;
    std::map<Guid, NodeFence> fences;
  };
  // One incarnation. With ReclaimScope::kFile an instance may have one on each of several nodes.
  struct Life {
    std::string node;
    Epoch epoch{};
    std::optional<InstanceVersion> version;
    std::map<SessionId, GateId> gates;
    Handles<InLife> handles;
    std::set<SessionId> living;  // whose node says that processes of it live
    bool fencing = false;        // its gates are closed, not yet drained
  };
  struct Takeover {
    InstanceRecord successor;
    bool has_successor = true;     // false: fenced by hand
    bool draining = false;
    std::vector<Epoch> old_lives;  // to be fenced
    Requester by;
    std::string path;
    bool raises_version = false;   // rule T11
    Instant began{};
    std::vector<RequestId> by_hand;  // FenceByHand requests to answer
  };
  struct Instance {
    InstanceRecord record;
    std::vector<Life> lives;
    std::optional<Takeover> takeover;
    std::deque<Instant> recent;   // takeovers, for rule T11
    Instant refused_until{};      // rule T11
    std::size_t reservations = 0; // files with reserved claims or locks
  };
  struct Claim {
    Guid guid{};
    Epoch epoch{};
    ClaimMode mode = ClaimMode::kWrite;
    std::size_t handles = 0;
  };
  // What is kept for an instance that lost it (rule T9).
  struct Reservation {
    std::optional<ClaimMode> claim;
    Instant claim_until{};
    bool locks = false;  // the lock tables know until when
  };
  struct File {
    FileKey key{};
    std::string path;  // as last opened
    Handles<InFile> handles;
    std::optional<Claim> claim;
    std::map<Guid, Reservation> reservations;
    LockTable records;
    LockTable flocks;
    std::list<RequestId> waiters;  // lock waits in order of arrival
  };
  // An open or a change that cannot be answered yet.
  struct Parked {
    std::variant<OpenWish, ChangeWish> wish;
    bool draining = false;   // waits only for the drain of handles that it demoted or revoked
    bool withdrawn = false;  // by a signal: waits for no claim any longer, and harms nobody
    bool admitted = false;   // somebody has been harmed for it: no limit stops it any more (rule T2)
  };
  struct LockWait {
    LockWish wish;
    Lock lock;
    FileKey file{};
  };
  enum class DrainPurpose : std::uint8_t { kTakeover, kSession, kOpen };
  struct Drain {
    DrainPurpose purpose{};
    Guid guid{};
    SessionId session{};
    RequestId request{};
    std::vector<HandleId> handles;  // kOpen: revoked, to be dropped afterwards (rule T5), or demoted (rule O3)
  };

  template <class List, class Belongs>
  static void CheckList(const Handles<List>& handles, const Belongs& belongs);

  // --- Decisions ----------------------------------------------------------------------------------------------------
  struct Verdict {
    enum Kind { kGrant, kRefuse, kWait, kCommitUse, kEndSession, kTakeOver, kRevoke, kDemote } kind = kGrant;
    int error = 0;                  // kRefuse; kWait: when the wait is over, 0 if it has an end of its own
    Instant closing_until{};        // kWait: the one in the way seems to be closing (rule O5)
    Instant absent_until{};         // kWait: who may be in the way has not come back yet (rule D4)
    SessionId session{};            // kEndSession
    std::vector<HandleId> handles;  // kRevoke, kDemote
    std::optional<Holder> holder;
    EventKind event = EventKind::kRefused;
    std::string why;                // for the person who reads the log
  };
  static Verdict RefuseWith(int error, std::string why, EventKind event = EventKind::kRefused) {
    return {.kind = Verdict::kRefuse, .error = error, .event = event, .why = std::move(why)};
  }

  // sessions.cpp
  void On(const SessionBegins& event);
  void On(const SessionSilent& event);
  void On(const SessionHeard& event);
  void On(const SessionUnmounts& event);
  void On(const SessionEvicted& event);
  void On(const EndCommitted& event);
  void Describe(Session& session, const SessionBegins& as);
  void On(const FenceAcknowledged& event);
  void ForgetEmptyNodes();
  enum class Ending : std::uint8_t { kClean, kReplaced, kFenced };
  void BeginEnding(Session& session, Ending how, const std::string& reason);
  void FinishEnding(SessionId id);  // when it is drained and committed
  Session* FindSession(SessionId id);  // null if unknown or ending
  const Session* FindSession(SessionId id) const;
  void EmitSession(EventKind kind, const Session& session, std::size_t handles, const std::string& detail);

  // absent.cpp
  void Restore(const Survivors& survivors);
  void RestoreUse(const SessionUse& use);
  void On(const SessionReturns& event);
  void On(const SessionReturned& event);
  void On(const HandleReturns& event);
  void On(const LockReturns& event);
  void On(const WaitForAbsentUntil& event);
  bool MayReturn(const HandleReturns& event) const;
  std::vector<HandleId> DemotedByReturn(const Handle& handle, const OpenWish& open);
  Verdict JudgeAbsent(const Requester& who, ClaimMode mode, Act act) const;
  Verdict WaitForAbsent(const Guid& guid) const;
  bool WaitsForAbsent(const Handle& handle) const;
  // Who is waited for has changed.
  void CountAbsent();
  Instant ReservedUntil() const;  // when the first of `reserved_` ends
  void EndAbsence();

  // instances.cpp
  bool UseIsDurable(const Requester& who) const;
  void CommitUseOf(const Requester& who);
  void CommitUseOf(Session& session, const Guid& guid, Epoch epoch);
  void On(const UseCommitted& event);
  // Whether it acts as its instance at all, with kCommitUse that its session does so the first time.
  Verdict JudgeWho(const Requester& who) const;
  Verdict JudgeMembership(const Requester& who) const;
  Verdict JudgeOnSameNode(const Requester& who, const Instance& instance, const Life& life) const;
  Verdict JudgeFromOtherNode(const Requester& who, const Instance& instance) const;
  bool IsFlapping(const Instance& instance, const Life& holder, const InstanceClaim& claim) const;
  bool OwnerMayUse(const InstanceClaim& claim, const InstanceRecord& record) const;
  bool IsBound(const Instance& instance, const Life& life) const;
  bool IsSilent(const Life& life) const;
  bool IsAbsent(const Life& life) const;
  const Instance* FindInstance(const Guid& guid) const;
  static const Life* LifeOn(const Instance& instance, const std::string& node);
  static const Life* LifeOf(const Instance& instance, Epoch epoch);
  // The gate and epoch that a granted requester's work is counted to.
  std::pair<GateId, Epoch> Enlist(const Requester& who);
  void On(const InstanceGone& event);

  // takeover.cpp
  void BeginTakeover(const Requester& who, const std::string& path);
  void On(const FenceByHand& event);
  void CommitTakeover(Instance& instance, Takeover takeover, SessionId used_by);
  void On(const Committed& event);
  void StartDraining(Instance& instance);
  void FinishTakeover(const Guid& guid);
  // The state store failed: with EIO all parked wishes of these requesters whose verdict is `wanted`.
  void RefuseUncommitted(const std::function<bool(const Requester&)>& whose, Verdict::Kind wanted);
  // Whether a fence is kept for the life's node, for the successor there or elsewhere.
  bool IsToldOfFence(const Instance& instance, const Life& life, const std::string& to_node) const;
  FenceRecord FenceOf(const Guid& guid, const Life& life) const;
  // Closes a life to everyone (the gates are added to `gates`) and tells its node.
  void FenceLife(Instance& instance, Life& life, const std::string& to_node, std::vector<GateId>& gates);
  void DropLife(const Guid& guid, Epoch epoch, EventRecord& counted);

  // opens.cpp
  void On(const OpenWish& event);
  void On(const ChangeWish& event);
  void On(const CloseHandle& event);
  void On(const Withdraw& event);
  void Arrive(RequestId id, Parked parked);
  Verdict Judge(const OpenWish& wish) const;
  Verdict Judge(const ChangeWish& wish) const;
  // True if the wish was answered; false if it goes on waiting.
  bool Decide(RequestId id, Parked& parked);
  static bool HarmsOthers(const Verdict& verdict);
  static bool NeedsCheck(const Parked& parked, const Verdict& verdict);
  bool Await(RequestId id, const Parked& parked, const Verdict& verdict);
  void Grant(const OpenWish& wish) { Grant(wish, HandleId{++last_handle_}); }
  Handle& Grant(const OpenWish& wish, HandleId id);
  void Grant(const ChangeWish& wish);
  void Refuse(RequestId id, const Requester& who, const std::string& path, const Verdict& verdict);
  void RevokeFor(RequestId id, const std::vector<HandleId>& handles);
  void DemoteFor(RequestId id, const std::vector<HandleId>& handles);
  void FinishDrainOf(const Drain& drain);
  void Retry();

  // limits.cpp
  // The limit that stands against a wish that would otherwise be granted now, or harm somebody; null: none does.
  const Limit* LimitOfHandles(const Parked& parked, const Verdict& verdict) const;
  std::size_t HandlesThatGo(const Requester& who, const Verdict& verdict) const;
  const Limit* LimitOfWaiting(SessionId id) const;
  bool WouldWaitForOthers(const Parked& parked) const;
  bool WouldWaitForOthers(const LockWish& wish, const Lock& lock, const File& file) const;
  const Limit* LimitOfLocks(const LockWish& wish, const Lock& lock, const File& file) const;
  const Limit* LimitOfUnlock(const Unlock& unlock, const Handle& handle) const;
  const Limit* LimitOfLocksNow(const Session& session) const;
  void RefuseAtLimit(RequestId id, int error, SessionId session, const Limit& limit, EventRecord who);
  void RefuseAtLimit(RequestId id, int error, const Parked& parked, const Limit& limit);
  void RefuseAtLimit(RequestId id, const LockWish& wish, const Limit& limit);
  // What a change of locks has made of the number that the session holds.
  void CountLocks(SessionId id, std::size_t before, std::size_t after);
  void Unpark(RequestId id);
  static SessionId SessionOf(const Parked& parked);
  void CheckCounts() const;

  // files.cpp
  // The file's claim, reservations and handles against an act; `mode`: of claims that nobody knows yet (rule D4).
  Verdict JudgeFile(const Requester& who, const FileKey& key, Act act, ClaimMode mode) const;
  Verdict JudgeKnown(const Requester& who, const FileKey& key, Act act) const;
  Verdict JudgeOtherHandles(const OpenWish& wish, const File& file) const;
  // --reclaim-scope file: the requester's own instance has it open on another node.
  Verdict JudgeOwnElsewhere(const Requester& who, const File& file) const;
  Verdict InTheWay(const Handle& handle, const Requester& who) const;
  Instant ClosingUntil(const Handle& handle) const;
  template <class List>
  static void InsertInOrder(Handles<List>& handles, Handle& handle);
  // Returns how many locks went with it; `reserve_for`: they and the claim stay reserved (rule T9).
  std::size_t DropHandle(Handle& handle, const std::optional<Guid>& reserve_for);
  // Its incarnation is fenced, it was revoked, or its session died: nothing it asks for counts any more (rule T6).
  bool IsFenced(const Handle& handle) const;
  Reservation& ReservationOf(File& file, const Guid& guid);
  void ReserveClaim(File& file, const Guid& guid, ClaimMode mode);
  std::size_t ReserveLocks(File& file, const Handle& handle, const Guid& guid);
  void EndReservationAt(Instant until, const FileKey& key, const Guid& guid);
  // Forgets the instance's reservation in the file if nothing is reserved any more.
  void DropReservationIfEmpty(File& file, const Guid& guid);
  void EndReservation(const FileKey& key, const Guid& guid);
  void EndReservedClaim(File& file, const Guid& guid);
  void EraseFileIfUnused(const File& file);
  Holder HolderOf(const Handle& handle) const;
  std::string NodeOf(SessionId id) const;

  // locks.cpp
  void On(const FlushHandle& event);
  void On(const LockWish& event);
  void On(const Unlock& event);
  bool DecideLock(RequestId id, LockWait& wait);
  void On(const UseCommitted& event, Session& session);  // of locks without an instance
  void ServeWaiters(const FileKey& key);
  void RefuseWaitsOf(const Handle& handle, int error);
  void RefuseWait(RequestId id, int error);
  void ForgetWait(RequestId id);
  // `released`: locks of the handle's instance in that table, or the parts of them in `within`.
  void EndReservedLocks(File& file, const Handle& handle, LockTable& table, const std::vector<Lock>& released,
                        const ByteRange& within = {});
  Lock LockOf(const LockWish& wish, const Handle& handle) const;
  static LockTable& TableOf(File& file, LockKind kind) {
    return kind == LockKind::kFlock ? file.flocks : file.records;
  }

  // arbiter.cpp
  void On(const Drained& event);
  void On(const Tick& event);
  void Push(Effect effect) { effects_.push_back(std::move(effect)); }
  DrainId NewDrain(Drain drain);

  const ArbiterOptions options_;
  Instant now_{};
  Effects effects_;
  bool retry_ = false;            // something was released in this step
  std::set<FileKey> touched_;     // files whose lock waiters are to be served
  std::uint64_t locks_ = 0;       // that sessions hold

  std::map<SessionId, Session> sessions_;
  std::map<std::string, Node> nodes_;
  std::map<Guid, Instance> instances_;
  std::map<HandleId, Handle> handles_;
  std::map<FileKey, File> files_;
  std::map<RequestId, Parked> parked_;      // ids rise: order of arrival
  std::map<RequestId, LockWait> lock_waits_;
  std::map<DrainId, Drain> drains_;
  std::map<Instant, std::deque<std::pair<FileKey, Guid>>> reservation_ends_;
  // Since the server's restart (rule D4): instances that may hold anything, the nil one for locks without any, and until when;
  // never, if a session is about to end or to come back.
  std::map<Guid, Instant> absent_;
  Instant absent_until_{};           // who has not begun to return by then is waited for no longer; none: that is over
  bool only_returning_ = false;      // who has not returned by then: the others are waited for no longer already
  std::map<Guid, Instant> reserved_; // something is reserved for them, nobody knows what
  std::set<SessionId> absent_ends_;  // that ended with it, until a restart would not bring them back: so long nobody is let in
  // Opens that claimed again: who opened for their ancestors (rule I7).
  std::map<FileKey, std::vector<std::pair<std::string, std::vector<std::int32_t>>>> returned_families_;
  std::set<std::pair<Instant, RequestId>> wish_deadlines_;
  std::set<std::pair<Instant, RequestId>> lock_deadlines_;
  WaitGraph wait_graph_;
  std::uint64_t last_epoch_;  // of all instances: a forgotten instance's numbers do not come again
  std::uint64_t first_handle_;  // of this life of the server
  std::uint64_t last_handle_;
  std::uint64_t last_gate_ = 0;
  std::uint64_t last_drain_ = 0;
};

}  // namespace baton
