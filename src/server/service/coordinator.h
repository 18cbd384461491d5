// Coordinator: the arbiter's one owner. It serializes its steps, carries out its effects (gates, handles, commits, notices,
// events) and gives every question its answer, once: on the asking thread if the step decided it, later on the executor if
// it had to wait. Rules T4, T7, O5. Any thread; what blocks on the disk is the commit thread, and an
// Open that finds something to commit, its own or another's.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/log_limiter.h"
#include "server/arbiter/arbiter.h"
#include "server/service/executor.h"
#include "server/service/event_log.h"
#include "server/service/gate.h"
#include "server/service/late_handles.h"
#include "server/service/open_file.h"
#include "server/service/session.h"
#include "server/state/state_store.h"

namespace baton::server {

class Coordinator {
 public:
  // An answer of the arbiter: error 0 is yes.
  struct Answer {
    int error = 0;
    Epoch epoch{};
    std::optional<Holder> holder;
    GateEntry entry;  // of a granted change: inside until it is gone
    bool check_first = false;  // a change: neither granted nor refused yet, see CheckFirst
  };
  using Done = std::function<void(Answer&)>;

  // `check_invariants`: after each step; linear in the state.
  // `recovered`: what the state store knows of the server's earlier life.
  Coordinator(const ArbiterOptions& options, const Recovered& recovered, StateStore& state, EventLog& events,
              Executor& executor, Timers& timers, const Clock& clock, bool check_invariants);
  ~Coordinator();
  // Nothing is committed and no timer set any more. Before the executor and the timers go.
  void Stop();

  RequestId NewRequest();

  // wish.request and lock.request come from NewRequest.
  void Open(OpenWish wish, std::shared_ptr<OpenFile> file, Done done);
  // The answer if the step decided it; otherwise none, and `later` gets it on the executor.
  std::optional<Answer> Change(ChangeWish wish, Done later);
  void Lock(LockWish wish, Done done);
  void FenceByHand(const Guid& guid, Done done);
  void Tell(const Event& event) { Tell(event, RequestId{}); }  // an event that has no answer
  int Unlock(baton::Unlock unlock);  // 0, or ENOLCK at a limit
  void Withdraw(RequestId request) { Tell(baton::Withdraw{request}); }

  // Rule T12: forgets the instances that nobody used for `after`. Done later, on the commit thread.
  void ForgetUnused(WallTime now, Duration after);
  // By hand; 0 or an errno of Arbiter::Forget, then the state store's. Both wait for the disk.
  struct Changed {
    int error = 0;
    Result<void> saved;
  };
  Changed Forget(const Guid& guid);
  Changed ResetVersion(const Guid& guid);
  // On the commit thread, behind all that was to be committed before; returns when it is done.
  void WithStateStore(const std::function<void(StateStore&)>& work);

  bool WouldOutlive(const Requester& who, Epoch creator);

  // Its lease ended: tells the arbiter, unless it was heard meanwhile (rule S2).
  void FallSilent(const std::shared_ptr<Session>& session, Duration lease);
  // It was heard, and counts as silent.
  void Hear(const std::shared_ptr<Session>& session);

  // The session's beginning, when its record is durable: here or on the commit thread, one of the two is called. `welcome` in one
  // step with it, with what was fenced away from its node: no notice can come before. `refused` with EBUSY (rule S3), EUSERS (too
  // many sessions, none of them silent), or the state store's errno.
  using Welcome = std::function<void(std::vector<Arbiter::NodeFence>)>;
  void BeginSession(const std::shared_ptr<Session>& session, const SessionBegins& event, Welcome welcome,
                    std::function<void(int)> refused);
  // ESTALE if the session has ended; one of the server's earlier life ends with it.
  int ResumeSession(const std::shared_ptr<Session>& session, const Welcome& welcome);
  // What a session says it held (rule D4): 0, or ESTALE. `file` is as for Open.
  int ReturnHandle(HandleReturns returns, std::shared_ptr<OpenFile> file);
  int ReturnLock(LockWish lock);
  std::shared_ptr<Session> FindSession(SessionId id);
  std::vector<std::shared_ptr<Session>> Sessions();
  // Calls `ended` when the session has ended; at once if it has.
  void WhenEnded(SessionId session, std::function<void()> ended);

  // Listings and the operator's changes, under the arbiter's lock.
  template <class Ask>
  auto WithArbiter(Ask ask) {
    const std::lock_guard lock(mutex_);
    return ask(arbiter_);
  }

  // A request through a closed gate, or a handle that a fence took: one event a handle (rule T13).
  void ReportLate(OpenFile& file);
  void ReportLate(HandleId handle, SessionId session);

  HandleTable& handles() { return handles_; }
  SharedFiles& shared_files() { return shared_files_; }
  EventLog& events() { return events_; }

 private:
  struct Pending {
    Done done;
    std::shared_ptr<OpenFile> file;  // of an open
  };
  struct Ready {
    RequestId request{};
    Done done;
    Answer answer;
  };

  enum class Commits : std::uint8_t { kHere, kOnTheCommitThread };
  std::optional<Answer> Ask(RequestId request, const Done& later, std::shared_ptr<OpenFile> file, const Event& event,
                            Commits commits = Commits::kOnTheCommitThread);
  // The answer to `mine`, if it came of this event.
  std::optional<Answer> Tell(const Event& event, RequestId mine);
  // Both with mutex_ held.
  void StepLocked(const Event& event, std::vector<Ready>& ready);
  void Carry(const OpenGranted& effect, std::vector<Ready>& ready);
  void Carry(const ChangeGranted& effect, std::vector<Ready>& ready);
  void Carry(const CheckFirst& effect, std::vector<Ready>& ready);
  void Carry(const LockGranted& effect, std::vector<Ready>& ready);
  void Carry(const FenceDone& effect, std::vector<Ready>& ready);
  void Carry(const Refused& effect, std::vector<Ready>& ready);
  void Carry(const Commit& effect, std::vector<Ready>&);
  void Carry(const CommitUse& effect, std::vector<Ready>&);
  void Carry(const CommitEnd& effect, std::vector<Ready>&);
  void Carry(const KeepFence& effect, std::vector<Ready>&);
  void Carry(const CloseGates& effect, std::vector<Ready>&);
  void Carry(const RefuseCachedWrites& effect, std::vector<Ready>&);
  void Carry(const HandlesDropped& effect, std::vector<Ready>&);
  void Carry(const GateDropped& effect, std::vector<Ready>&);
  void Carry(const NotifyFenced& effect, std::vector<Ready>&);
  void Carry(const NotifyRevoked& effect, std::vector<Ready>&);
  void Carry(const SessionEnded& effect, std::vector<Ready>&);
  void Carry(const Emit& effect, std::vector<Ready>&);
  void RememberFenced(OpenFile& file);
  void MakeReady(RequestId request, Answer answer, std::vector<Ready>& ready);
  std::shared_ptr<Gate>& GateFor(GateId id);
  void ArmTimer();
  // Posts what is ready, but the answer to `mine`, which it returns; closes what was dropped; sees to the commits.
  std::optional<Answer> Finish(std::vector<Ready> ready, RequestId mine, Commits commits = Commits::kOnTheCommitThread);
  using StoreWork = std::function<void(StateStore&)>;
  void Enqueue(StoreWork work);
  void EndDurably(const CommitEnd& end);
  Instant ReservedUntil() const;
  bool MakeRoomLocked(std::vector<Ready>& ready);
  void ReportTooManySessions(const std::string& node);
  void ForgetOne(const Guid& guid, StateStore& state);
  void CommitLoop();
  std::optional<Answer> CommitFor(RequestId mine);
  std::optional<Answer> CommitFront(std::unique_lock<std::mutex>& lock, RequestId mine);

  StateStore& state_;
  EventLog& events_;
  Executor& executor_;
  Timers& timers_;
  const Clock& clock_;
  const bool check_invariants_;
  const std::size_t max_sessions_;
  const std::size_t restored_;  // sessions of the server's earlier life: the bound may have been higher then
  LogLimiter session_limits_{std::chrono::seconds(10)};  // events of nodes for which there was no room
  const Duration reservation_;
  HandleTable handles_;
  SharedFiles shared_files_;
  std::atomic<std::uint64_t> last_request_{0};

  // Lock order: mutex_ before a session's and a gate's own; never the other way round.
  std::mutex mutex_;
  Arbiter arbiter_;
  std::unordered_map<std::uint64_t, Pending> pending_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Gate>> gates_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Session>> sessions_;
  std::size_t begins_ = 0;  // sessions that wait for their record
  std::unordered_map<std::uint64_t, std::vector<std::function<void()>>> when_ended_;
  std::vector<std::shared_ptr<OpenFile>> dropped_;  // their descriptors are closed outside the lock
  std::vector<DrainId> drained_;  // by the step in hand
  bool has_commits_ = false;      // that nobody was told of
  LateHandles late_handles_;
  Instant armed_{Instant::max()};
  TimerId timer_{};
  bool stopped_ = false;

  std::mutex commit_mutex_;
  std::condition_variable commit_wanted_;
  std::deque<std::variant<baton::Commit, StoreWork>> to_commit_;  // in the order of the arbiter's steps
  bool is_committing_ = false;  // some thread has taken from the front, and is at it
  bool ending_ = false;
  std::thread committer_;
};

}  // namespace baton::server
