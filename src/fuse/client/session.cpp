// The callers' half of Session: calls in, calls given up, the session's beginning and end. The transport's
// half is session_link.cpp.
#include "fuse/client/session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace baton::client {

using protocol::FrameHeader;
using protocol::FrameKind;

namespace {

bool IsOrdered(Operation operation) {
  const auto properties = protocol::PropertiesOf(operation);
  return properties && properties->order == protocol::Order::kOrdered;
}

}  // namespace

Session::Session(Transport& transport, const Clock& clock, SessionIdentity identity,
                 SessionListener& listener)
    : transport_(transport), clock_(clock), identity_(std::move(identity)), listener_(listener) {
  status_.since = clock_.Now();
}

Session::~Session() {
  End({});
}

void Session::BeginConnecting() {
  {
    const std::scoped_lock lock(mutex_);
    started_ = true;
    status_.since = clock_.Now();
  }
  transport_.Start(*this);
}

tl::expected<void, ConnectError> Session::Start(Duration timeout) {
  BeginConnecting();
  std::unique_lock lock(mutex_);
  const auto known = [this] { return start_result_.has_value(); };
  if (!changed_.wait_for(lock, timeout, known)) {
    ConnectError error{ConnectError::Kind::kTimeout, ETIMEDOUT, "no answer from batond"};
    if (!unreachable_.empty()) error.text += " (" + unreachable_ + ")";
    ReportStartLocked(tl::unexpected(std::move(error)));
  }
  auto result = *start_result_;
  lock.unlock();
  if (!result) End({});
  return result;
}

void Session::StartInBackground(Duration wait) {
  BeginConnecting();
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, wait, [this] { return start_result_.has_value(); });
  if (status_.state == LinkState::kLive) return;
  const bool failed = start_result_ && !*start_result_;
  const std::string why = failed ? start_result_->error().text : "no answer from batond yet";
  start_result_.emplace();  // refusals are logged from now on
  lock.unlock();
  log::Warn("{}; trying on, requests wait", why);
}

void Session::End(Duration timeout) {
  std::unique_lock lock(mutex_);
  if (ended_) return;
  const bool has_session = status_.state == LinkState::kLive || status_.state == LinkState::kBroken;
  ending_ = true;
  if (has_session && timeout > Duration::zero()) {
    lock.unlock();
    Call<Operation::kBye>({}, [this](Answer<Operation::kBye>&&) {
      const std::scoped_lock answered(mutex_);
      bye_answered_ = true;
      changed_.notify_all();
    });
    lock.lock();
    if (!changed_.wait_for(lock, timeout, [this] { return bye_answered_; })) {
      log::Warn("batond did not answer the end of the session; it ends there with its lease");
    }
  }
  ended_ = true;
  phase_ = Phase::kNoLink;
  SetStateLocked(LinkState::kEnded, clock_.Now());
  const bool stop = started_;
  lock.unlock();
  if (stop) transport_.Stop();
  FailAll(ENOTCONN);
}

Session::Status Session::State() const {
  const std::scoped_lock lock(mutex_);
  return status_;
}

Session::Report Session::Describe() const {
  const std::scoped_lock lock(mutex_);
  Report report = report_;
  report.status = status_;
  if (status_.state == LinkState::kLost) report.session = {};
  if (status_.state == LinkState::kLive) return report;
  report.trouble = refusal_ ? refusal_->text : unreachable_;
  if (refusal_) report.refusal = refusal_->kind;
  return report;
}

// --- Calls
// ------------------------------------------------------------------------------------------------------------

PendingCall& Session::Take() {
  const std::scoped_lock lock(mutex_);
  return slots_.Take();
}

void Session::Submit(PendingCall& call, Generation generation) {
  std::unique_lock in_order(order_mutex_, std::defer_lock);
  if (IsOrdered(call.operation)) in_order.lock();
  std::unique_lock lock(mutex_);
  if (ended_) {
    lock.unlock();
    if (in_order) in_order.unlock();
    FinishUnsent(call, ENOTCONN);
    return;
  }
  const bool too_long =
      call.body.size() > protocol::kMaxBodySize || call.data.bytes.size() > protocol::kMaxDataSize;
  if (too_long || (generation != kAnyGeneration && generation != CurrentGeneration())) {
    queue_.push_back(&call);
    WithdrawLocked(std::prev(queue_.end()), too_long ? EMSGSIZE : ESTALE);
    return;
  }
  call.issued = clock_.Now();
  if (phase_ != Phase::kLive || draining_ || !queue_.empty() || !slots_.HasFree()) {
    call.state = CallState::kQueued;
    queue_.push_back(&call);
    return;
  }
  slots_.Occupy(call);
  call.sending.store(true, std::memory_order_relaxed);
  const LinkId link = link_;
  lock.unlock();
  SendCall(link, call, 0);
  SendingDone(call);
}

void Session::AwaitSession(CallToken token, Duration op_timeout, UniqueFunction<void(Result<>)> done) {
  RawCompletion completion = [done = std::move(done)](const RawAnswer& answer) mutable {
    done(answer.error == 0 ? Result<>() : Result<>(Fail(answer.error)));
    return true;
  };
  std::unique_lock lock(mutex_);
  if (ended_) {
    lock.unlock();
    completion(OwnAnswer(ENOTCONN, Fate::kKnown));
    return;
  }
  if (phase_ == Phase::kLive) {
    deferred_.push_back({std::move(completion), OwnAnswer(0, Fate::kKnown), {}});
    transport_.Wake();
    return;
  }
  PendingCall& call = slots_.Take();
  call.state = CallState::kQueued;
  call.only_waits = true;
  call.done = std::move(completion);
  call.token = token;
  call.op_timeout = op_timeout;
  call.issued = clock_.Now();
  queue_.push_back(&call);
}

void Session::SendingDone(PendingCall& call) {
  call.sending.store(false, std::memory_order_release);
  call.sending.notify_all();
}

// A link that is gone takes nothing; the call is on its slot, so the next link will carry it.
void Session::SendCall(LinkId link, const PendingCall& call, std::uint8_t flags) {
  const FrameHeader header{.operation = static_cast<std::uint16_t>(call.operation),
                           .kind = FrameKind::kRequest,
                           .flags = flags,
                           .slot = call.slot,
                           .sequence = call.sequence};
  transport_.Send(link, header, call.body, call.data.bytes);
}

bool Session::Abandon(CallToken token, int error) {
  const std::scoped_lock lock(mutex_);
  if (token == kNoToken) return false;
  const auto queued = std::ranges::find(queue_, token, &PendingCall::token);
  if (queued != queue_.end()) {
    WithdrawLocked(queued, error);
    return true;
  }
  PendingCall* call = slots_.Find(token);
  if (call == nullptr || call->state != CallState::kSent) return false;
  AbandonLocked(*call, error);
  return true;
}

bool Session::Cancel(CallToken token) {
  std::unique_lock lock(mutex_);
  const PendingCall* call = slots_.Find(token);
  if (phase_ != Phase::kLive || call == nullptr || call->state != CallState::kSent) return false;
  const protocol::CancelRequest request{.slot = call->slot, .sequence = call->sequence};
  const LinkId link = link_;
  lock.unlock();
  call->sending.wait(true);  // batond would not know what is cancelled
  SendCancel(link, request);
  return true;
}

void Session::SendCancel(LinkId link, const protocol::CancelRequest& request) {
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(request);
  transport_.Send(link,
                  {.operation = static_cast<std::uint16_t>(Operation::kCancel), .kind = FrameKind::kRequest},
                  body, {});
}

void Session::AcknowledgeFence(const Guid& guid, Epoch epoch, Instant at) {
  Call<Operation::kFenceAcknowledged>({.guid = guid, .epoch = epoch, .at = at},
                                      [=, this](Answer<Operation::kFenceAcknowledged>&& answer) {
                                        // What batond must know about the node counts in its next session,
                                        // too.
                                        if (IsLoss(answer)) AcknowledgeFence(guid, epoch, at);
                                      });
}

void Session::ReportLate(HandleId handle, Generation generation) {
  CallOptions<Operation::kLate> call;
  call.generation = generation;
  Call<Operation::kLate>(
      {handle}, [](Answer<Operation::kLate>&&) {}, std::move(call));
}

void Session::InstanceGone(const Guid& guid, Epoch epoch) {
  Call<Operation::kInstanceGone>({.guid = guid, .epoch = epoch},
                                 [=, this](Answer<Operation::kInstanceGone>&& answer) {
                                   if (IsLoss(answer)) InstanceGone(guid, epoch);
                                 });
}

// --- Completions that the session makes itself
// ------------------------------------------------------------------------

RawAnswer Session::OwnAnswer(int error, Fate fate) const {
  return {.error = error, .generation = CurrentGeneration(), .origin = Origin::kMount, .fate = fate};
}

void Session::AbandonLocked(PendingCall& call, int error) {
  call.state = CallState::kAbandoned;
  deferred_.push_back({std::move(call.done), OwnAnswer(error, Fate::kUnknown), {}});
  transport_.Wake();
}

void Session::WithdrawLocked(std::deque<PendingCall*>::iterator queued, int error) {
  PendingCall& call = **queued;
  queue_.erase(queued);
  deferred_.push_back({std::move(call.done), OwnAnswer(error, Fate::kKnown), std::move(call.data)});
  // Never sent: nothing can come late. What `late` holds goes with the completion, without the mutex.
  if (call.late) deferred_.push_back({std::move(call.late), {}, {}, Deferred::Run::kOnlyDestroy});
  slots_.GiveBack(call);
  transport_.Wake();
}

void Session::FinishUnsent(PendingCall& call, int error) {
  call.done(OwnAnswer(error, Fate::kKnown));
  GiveBack(call);
}

void Session::GiveBack(PendingCall& call) {
  call.done.Reset();
  call.late.Reset();
  call.data = {};
  const std::scoped_lock lock(mutex_);
  slots_.GiveBack(call);
}

void Session::RunDeferred() {
  std::vector<Deferred> running = std::move(running_);
  {
    const std::scoped_lock lock(mutex_);
    running.swap(deferred_);
  }
  for (Deferred& deferred : running) {
    if (deferred.run == Deferred::Run::kYes) deferred.done(deferred.answer);
  }
  running.clear();
  running_ = std::move(running);
}

void Session::FailAll(int error) {
  RunDeferred();
  std::vector<PendingCall*> failed;
  std::vector<CallState> was;
  {
    const std::scoped_lock lock(mutex_);
    failed = slots_.Outstanding();
    failed.insert(failed.end(), queue_.begin(), queue_.end());
    queue_.clear();
    for (PendingCall* call : failed) was.push_back(std::exchange(call->state, CallState::kAnswering));
  }
  RunDeferred();  // who was given up a moment ago hears that before its late word
  for (std::size_t i = 0; i < failed.size(); ++i) {
    PendingCall& call = *failed[i];
    call.sending.wait(true);
    RawCompletion& completion = was[i] == CallState::kAbandoned ? call.late : call.done;
    if (completion) completion(OwnAnswer(error, Fate::kKnown));
    if (was[i] != CallState::kQueued) {
      const std::scoped_lock lock(mutex_);
      slots_.Vacate(call);
    }
    GiveBack(call);
  }
}

void Session::SetStateLocked(LinkState state, Instant since) {
  if (status_.state == state) return;
  status_ = {state, since};
}

void Session::ReportStartLocked(tl::expected<void, ConnectError> result) {
  if (start_result_) return;
  start_result_ = std::move(result);
  changed_.notify_all();
}

}  // namespace baton::client
