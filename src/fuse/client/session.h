// Session: the mount's side of a session with batond (rules S1, S4, S5, T10, O6): typed asynchronous calls,
// exactly once over any number of broken connections; notices; the session's loss and the next one. It does
// not know what the operations mean, nor who calls (identity), nor the kernel. Of opens and locks it knows what batond
// granted, so that it can assert it to one that was started again (rules D2, D4; holdings.h): before it does
// anything else, what was outstanding goes out after that, and meanwhile it is as if there were no link.
//
// Threads: Call, Abandon, Cancel, AcknowledgeFence, InstanceGone, State, Generation from any thread, also
// from inside a completion; none of them blocks on the network. Start, End and the destructor from the thread
// that owns the session, never from a completion. All completions and all listener calls come from one
// thread, the transport's, one at a time, with no lock held (those that End or a failed Start cuts off: from
// that thread); they must not block. A completion never runs inside Call.
//
// Order: a notice that arrived before a reply is delivered before it. A call begun by a thread after another
// is sent after it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/guid.h"
#include "fuse/client/call.h"
#include "fuse/client/holdings.h"
#include "fuse/client/slot_table.h"
#include "fuse/net/transport.h"
#include "protocol/codec.h"
#include "protocol/messages.h"

namespace baton::client {

class SessionListener {
 public:
  virtual ~SessionListener() = default;
  // A session has begun: the first, or the next after a loss.
  virtual void OnNewSession(const protocol::HelloReply& reply, Generation generation) = 0;
  // With each connection, before any reply of it: everything that was fenced away from this node in this boot
  // (T7).
  virtual void OnFences(const std::vector<protocol::Fence>& fences) = 0;
  virtual void OnFenced(const protocol::FencedNotice& notice) = 0;
  // Also for what a batond that was started again did not take back.
  virtual void OnRevoked(const protocol::RevokedNotice& notice) = 0;
  virtual void OnChanged(const protocol::ChangedNotice& notice) = 0;
  // After a break, before any reply: notices may have been lost with the old connection.
  virtual void OnResumed() = 0;
  // Before OnResumed: the server's machine went down meanwhile. What was acknowledged and not synced may be lost (rule
  // D3).
  virtual void OnServerRebooted() = 0;
  // batond no longer knows the session: every handle and lock of it is gone. Generation() is the next one's
  // already. Afterwards every outstanding call completes with ESTALE; then a new session is sought.
  virtual void OnSessionLost() = 0;
};

// Who the mount is, as HELLO says it.
struct SessionIdentity {
  std::string node;
  std::string boot;
  std::string machine;
  std::string mount_point;
  std::string run;
  std::uint64_t features = 0;  // protocol::kFeature...
};

// Why the first connection failed, for people.
struct ConnectError {
  enum class Kind : std::uint8_t { kUnreachable, kNodeInUse, kNoCommonVersion, kRefused, kTimeout };
  Kind kind = Kind::kUnreachable;
  int error = 0;  // errno
  std::string text;
};

enum class LinkState : std::uint8_t {
  kConnecting,  // no session yet
  kLive,
  kBroken,  // requests wait for batond; the session will be resumed
  kLost,    // the session is gone; a new one is sought
  kEnded,
};

class Session final : private Transport::Handler {
 public:
  // `transport`, `clock` and `listener` must outlive the session. The transport must not have been started.
  Session(Transport& transport, const Clock& clock, SessionIdentity identity, SessionListener& listener);
  // As End with no time left.
  ~Session() override;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Connects and waits for the first session. On failure the session is over: only End and the destructor may
  // follow.
  tl::expected<void, ConnectError> Start(Duration timeout);

  // Connects, and goes on trying for as long as it takes, whatever the first attempts come to; calls stand in
  // line meanwhile. Returns with the first session or failure, or after `wait`.
  void StartInBackground(Duration wait);

  // Says BYE (rule S4) and waits at most `timeout` for the answer, then closes. What is outstanding then
  // completes with ENOTCONN, as does every later call.
  void End(Duration timeout);

  // Sends a request; `done` gets an Answer<kOp>&& exactly once. Waits for nothing: while batond cannot be
  // reached, or when all slots are in use, the call stands in line.
  template <Operation kOp, class Done>
  void Call(const typename MessagesOf<kOp>::Request& request, Done&& done, CallOptions<kOp> options = {}) {
    PendingCall& call = Take();
    protocol::Encoder(call.body).Put(request);
    call.operation = kOp;
    call.data = std::move(options.data);
    call.done = MakeRawCompletion<kOp>(std::forward<Done>(done));
    if (options.late) call.late = MakeRawCompletion<kOp>(std::move(options.late));
    call.op_timeout = options.op_timeout;
    call.token = options.token;
    Submit(call, options.generation);
  }

  CallToken NewToken() { return CallToken{tokens_.fetch_add(1, std::memory_order_relaxed) + 1}; }

  // Gives the call up: it completes with `error` soon, whatever batond does. Not yet sent: it is withdrawn
  // without effect. Sent: it says Fate::kUnknown, is never sent again, and `late` follows (rules S5, O6).
  // False: no such call is outstanding; it has completed or is just completing.
  bool Abandon(CallToken token, int error = EINTR);

  // Asks batond to stop waiting on behalf of the call (a lock, a claim), which then completes with EINTR, or
  // with success if it was too late. False: it does nothing, since batond cannot be reached or has not got the
  // call; asked once more, it may.
  bool Cancel(CallToken token);

  // Runs `done` as soon as there is a session to call, on the transport's thread as completions do. Until
  // then it is given up as a call is: by Abandon, after `op_timeout`, with the mount's end.
  void AwaitSession(CallToken token, Duration op_timeout, UniqueFunction<void(Result<>)> done);

  // Kept until batond has answered, over broken connections and lost sessions.
  void AcknowledgeFence(const Guid& guid, Epoch epoch, Instant at);
  void InstanceGone(const Guid& guid, Epoch epoch);
  // For batond's events only: lost with the session.
  void ReportLate(HandleId handle, Generation generation);

  Generation CurrentGeneration() const { return Generation{generation_.load()}; }

  struct Status {
    LinkState state = LinkState::kConnecting;
    Instant since{};
  };
  Status State() const;

  // For people.
  struct Report {
    Status status;
    std::string server;  // of the session, or of the last one; empty: none yet
    SessionId session{};
    Duration lease{};
    std::string trouble;  // why there is no connection; empty while all is well
    // batond answers, and refuses: it is asked again and again, but may never answer otherwise.
    std::optional<ConnectError::Kind> refusal;
  };
  Report Describe() const;

 private:
  enum class Phase : std::uint8_t { kNoLink, kHello, kAsserting, kResuming, kLive };
  // A completion that waits for the transport's thread.
  struct Deferred {
    RawCompletion done;
    RawAnswer answer;
    OwnedBytes data;
    enum class Run : std::uint8_t { kYes, kOnlyDestroy } run = Run::kYes;
  };

  void OnUp(LinkId link, std::string_view peer) override;
  void OnFrame(const protocol::FrameHeader& header, std::span<const std::byte> body,
               std::span<const std::byte> data) override;
  void OnDown(std::string_view reason, Instant last_heard) override;
  void OnUnreachable(int error, std::string_view reason) override;
  void OnTick() override;

  PendingCall& Take();
  void Submit(PendingCall& call, Generation generation);
  void SendCall(LinkId link, const PendingCall& call, std::uint8_t flags);
  void SendCancel(LinkId link, const protocol::CancelRequest& request);
  static void SendingDone(PendingCall& call);
  void DrainQueue();
  void TimeOut(Instant now);

  void OnHello(const protocol::FrameHeader& header, std::span<const std::byte> body);
  void Welcome(const protocol::HelloReply& reply);
  void HelloRefused(int error);
  void LoseByAnswer();
  void Resume(std::uint64_t server_boot);
  void GoLive(bool resumed);
  void ResendOutstanding();
  void OnReply(const protocol::FrameHeader& header, std::span<const std::byte> body,
               std::span<const std::byte> data);
  void Complete(PendingCall& call, const protocol::FrameHeader& header, std::span<const std::byte> body,
                std::span<const std::byte> data, CallState was);
  void OnNotice(const protocol::FrameHeader& header, std::span<const std::byte> body);
  void Lose();

  // session_assert.cpp
  void BeginAssertion(std::uint64_t server_boot);
  void AssertNext();
  void OnAsserted(const protocol::FrameHeader& header, std::span<const std::byte> body);
  // What the answer changes in the holdings. False: it is no answer of this operation.
  bool NoteHeld(const PendingCall& call, const RawAnswer& answer);
  void NoteLock(const PendingCall& call, const protocol::LockRequest& lock);
  void Violation(std::string_view what);
  LinkId Link() const;

  void RunDeferred();
  void FailAll(int error);
  void FinishUnsent(PendingCall& call, int error);
  void GiveBack(PendingCall& call);
  template <Operation kOp>
  static bool IsLoss(const Answer<kOp>& answer) {
    return !answer.reply && answer.reply.error() == Errno{ESTALE} && answer.origin == Origin::kMount;
  }
  RawAnswer OwnAnswer(int error, Fate fate) const;

  // With mutex_ held:
  void AbandonLocked(PendingCall& call, int error);
  void WithdrawLocked(std::deque<PendingCall*>::iterator queued, int error);
  void SetStateLocked(LinkState state, Instant since);
  void BeginConnecting();
  void ReportStartLocked(tl::expected<void, ConnectError> result);

  Transport& transport_;
  const Clock& clock_;
  const SessionIdentity identity_;
  SessionListener& listener_;

  std::atomic<std::uint64_t> tokens_{0};
  std::atomic<std::uint64_t> generation_{1};

  // From the taking of a slot to the end of the sending, for what batond carries out in the order in which it comes:
  // the slots' order is that one (holdings.h). Before mutex_.
  std::mutex order_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Status status_;
  Phase phase_ = Phase::kNoLink;
  LinkId link_ = kNoLink;
  SlotTable slots_;
  std::deque<PendingCall*> queue_;  // waiting for a link or a slot, in order
  bool draining_ = false;           // the transport's thread is sending what was queued: stand in line
  std::vector<Deferred> deferred_;
  bool ending_ = false;  // its own end is no news
  bool ended_ = false;
  bool started_ = false;
  bool bye_answered_ = false;
  std::optional<tl::expected<void, ConnectError>> start_result_;
  std::string unreachable_;              // the last reason
  std::optional<ConnectError> refusal_;  // HELLO's, until a HELLO succeeds or a round of attempts meets none
  bool refused_in_round_ = false;
  Report report_;  // of the last session

  struct Asserting {
    Holdings::Assertion where;
    std::size_t refused = 0;
    bool is_last_sent = false;
    Instant begun{};
    std::uint64_t server_boot = 0;
  };

  // Of the transport's thread.
  std::string peer_;
  SessionId session_{};
  std::uint64_t server_boot_ = 0;
  Holdings holdings_;
  Asserting asserting_;
  protocol::SessionSecret secret_;
  Duration lease_{};
  std::vector<Deferred> running_;  // keeps its room between runs
  std::optional<Instant> last_violation_;
};

}  // namespace baton::client
