// The transport's half of Session: HELLO, resume, replies, notices, loss. Everything here runs on the
// transport's thread.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "fuse/client/session.h"

namespace baton::client {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::kNoSlot;

namespace {

constexpr Duration kViolationLogInterval = std::chrono::seconds(10);

std::int64_t Millis(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

ConnectError RefusalOf(int error, std::string_view peer, const std::string& node) {
  const std::string who = "batond at " + std::string(peer);
  switch (error) {
    case EBUSY:
      return {ConnectError::Kind::kNodeInUse, error,
              who + ": the node name \"" + node +
                  "\" is in use by another machine; choose another with -o node="};
    case EPROTO:
      return {ConnectError::Kind::kNoCommonVersion, error,
              who + " speaks no protocol version that this mount knows"};
    default:
      return {ConnectError::Kind::kRefused, error, who + " refuses the session: " + std::strerror(error)};
  }
}

bool MayWait(const PendingCall& call) {
  if (call.operation != Operation::kLock) return false;
  const auto lock = protocol::Decode<protocol::LockRequest>(call.body);
  return lock && lock->wait;
}

}  // namespace

// --- The link
// ---------------------------------------------------------------------------------------------------------

void Session::OnUp(LinkId link, std::string_view peer) {
  peer_ = peer;
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    link_ = link;
    phase_ = Phase::kHello;
  }
  const protocol::HelloRequest hello{.magic = protocol::kMagic,
                                     .oldest_version = protocol::kProtocolVersion,
                                     .newest_version = protocol::kProtocolVersion,
                                     .features = identity_.features,
                                     .session = session_,
                                     .secret = secret_,
                                     .node = identity_.node,
                                     .boot = identity_.boot,
                                     .machine = identity_.machine,
                                     .mount_point = identity_.mount_point,
                                     .run = identity_.run};
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(hello);
  transport_.Send(link,
                  {.operation = static_cast<std::uint16_t>(Operation::kHello), .kind = FrameKind::kRequest},
                  body, {});
}

void Session::OnDown(std::string_view reason, Instant last_heard) {
  bool was_live = false;
  bool ending = false;
  {
    const std::scoped_lock lock(mutex_);
    phase_ = Phase::kNoLink;
    link_ = kNoLink;
    was_live = status_.state == LinkState::kLive;
    unreachable_ = peer_ + ": " + std::string(reason);
    ending = ending_;
    if (was_live) SetStateLocked(LinkState::kBroken, last_heard);
  }
  if (was_live && !ending) log::Warn("lost batond at {}: {}; requests wait", peer_, reason);
  RunDeferred();
}

void Session::OnUnreachable(int error, std::string_view reason) {
  const std::scoped_lock lock(mutex_);
  unreachable_ = reason;
  if (!std::exchange(refused_in_round_, false)) refusal_.reset();
  // At the start a silent address may yet answer: Start's own limit ends that.
  if (error == ETIMEDOUT && !refusal_) return;
  ReportStartLocked(tl::unexpected(refusal_.value_or(ConnectError{
      ConnectError::Kind::kUnreachable, error, "cannot reach batond at " + std::string(reason)})));
}

void Session::OnTick() {
  TimeOut(clock_.Now());
  RunDeferred();
}

void Session::TimeOut(Instant now) {
  const std::scoped_lock lock(mutex_);
  if (status_.state == LinkState::kLive) return;
  const auto is_due = [&](const PendingCall& call) {
    return call.op_timeout > Duration::zero() &&
           now - std::max(call.issued, status_.since) >= call.op_timeout;
  };
  for (std::size_t i = 0; i < queue_.size();) {
    const auto queued = queue_.begin() + static_cast<std::ptrdiff_t>(i);
    if (is_due(**queued)) {
      WithdrawLocked(queued, ETIMEDOUT);
    } else {
      ++i;
    }
  }
  for (PendingCall* call : slots_.Outstanding()) {
    if (call->state == CallState::kSent && is_due(*call)) AbandonLocked(*call, ETIMEDOUT);
  }
}

void Session::OnFrame(const FrameHeader& header, std::span<const std::byte> body,
                      std::span<const std::byte> data) {
  Phase phase;
  bool deferred = false;
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    phase = phase_;
    deferred = !deferred_.empty();
  }
  if (deferred) RunDeferred();
  if (header.kind == FrameKind::kNotice) return OnNotice(header, body);
  if (header.kind != FrameKind::kReply) return Violation("a request");
  const bool hello =
      header.operation == static_cast<std::uint16_t>(Operation::kHello) && header.slot == kNoSlot;
  const bool asserted =
      header.operation == static_cast<std::uint16_t>(Operation::kAssert) && header.slot == kNoSlot;
  if (hello != (phase == Phase::kHello) || asserted != (phase == Phase::kAsserting))
    return Violation("a reply out of turn");
  if (hello) return OnHello(header, body);
  if (asserted) return OnAsserted(header, body);
  if (header.slot != kNoSlot) return OnReply(header, body, data);
  if (header.operation != static_cast<std::uint16_t>(Operation::kCancel)) Violation("a reply without a slot");
}

void Session::Violation(std::string_view what) {
  const Instant now = clock_.Now();
  if (!last_violation_ || now - *last_violation_ >= kViolationLogInterval) {
    log::Error("batond at {} sent {}, which the protocol does not allow; closing the connection", peer_,
               what);
    last_violation_ = now;
  }
  transport_.Drop(Link(), "protocol violation: " + std::string(what));
}

LinkId Session::Link() const {
  const std::scoped_lock lock(mutex_);
  return link_;
}

// --- HELLO
// ------------------------------------------------------------------------------------------------------------

void Session::OnHello(const FrameHeader& header, std::span<const std::byte> body) {
  if (header.error == ESTALE && session_ != SessionId{}) return LoseByAnswer();
  if (header.error != 0) return HelloRefused(header.error);
  const auto reply = protocol::Decode<protocol::HelloReply>(body);
  if (!reply || reply->slots == 0 || reply->session == SessionId{} ||
      (reply->resumed && session_ != SessionId{} && reply->session != session_)) {
    return Violation("a malformed reply to HELLO");
  }
  if (reply->version != protocol::kProtocolVersion) return HelloRefused(EPROTO);
  Welcome(*reply);
}

void Session::LoseByAnswer() {
  Lose();
  transport_.Establish(Link(), lease_);  // the next session comes from there
  transport_.Drop(Link(), "the session has ended");
}

void Session::HelloRefused(int error) {
  ConnectError refusal = RefusalOf(error, peer_, identity_.node);
  bool starting = false;
  {
    const std::scoped_lock lock(mutex_);
    starting = !start_result_.has_value();
    if (!starting && refusal_ && refusal_->text == refusal.text) starting = true;  // said already
    refusal_ = refusal;
    refused_in_round_ = true;
  }
  if (!starting) log::Error("{}; trying again", refusal.text);
  transport_.Drop(Link(), refusal.text);
}

void Session::Welcome(const protocol::HelloReply& reply) {
  const bool resumes = session_ != SessionId{} && reply.resumed;
  if (session_ != SessionId{} && !resumes) Lose();
  lease_ = reply.lease;
  session_ = reply.session;
  secret_ = reply.secret;
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    refusal_.reset();
    unreachable_.clear();
    report_ = {.server = peer_, .session = session_, .lease = lease_};
    phase_ = resumes && reply.must_assert ? Phase::kAsserting : Phase::kResuming;
    if (!resumes) slots_.Open(std::min(reply.slots, protocol::kMaxSlots));
  }
  transport_.Establish(Link(), lease_);
  if (!resumes) {
    log::Info("session {} with batond at {}", Raw(session_), peer_);
    listener_.OnNewSession(reply, CurrentGeneration());
  }
  holdings_.Fenced(reply.fences);
  listener_.OnFences(reply.fences);
  if (resumes && reply.must_assert) return BeginAssertion(reply.server_boot);
  if (resumes) return Resume(reply.server_boot);
  server_boot_ = reply.server_boot;
  GoLive(false);
}

void Session::Resume(std::uint64_t server_boot) {
  if (std::exchange(server_boot_, server_boot) != server_boot) listener_.OnServerRebooted();
  listener_.OnResumed();
  ResendOutstanding();
  GoLive(true);
}

void Session::GoLive(bool resumed) {
  const Instant now = clock_.Now();
  Duration pause{};
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    pause = now - status_.since;
    phase_ = Phase::kLive;
    SetStateLocked(LinkState::kLive, now);
    ReportStartLocked({});
  }
  if (resumed)
    log::Info("resumed session {} with batond at {} after {} ms", Raw(session_), peer_, Millis(pause));
  DrainQueue();
}

// Rule S1: in the original order, on the same slots. Who has been given up is not sent again, its fate is
// asked for (S5).
void Session::ResendOutstanding() {
  std::vector<PendingCall*> outstanding;
  {
    const std::scoped_lock lock(mutex_);
    outstanding = slots_.Outstanding();
  }
  const LinkId link = Link();
  for (PendingCall* call : outstanding) {
    CallState state;
    {
      const std::scoped_lock lock(mutex_);
      state = call->state;
    }
    if (state == CallState::kAbandoned) {
      transport_.Send(link,
                      {.operation = static_cast<std::uint16_t>(Operation::kSettle),
                       .kind = FrameKind::kRequest,
                       .slot = call->slot,
                       .sequence = call->sequence},
                      {}, {});
      // Or it would stand in line for ever.
      if (MayWait(*call)) SendCancel(link, {.slot = call->slot, .sequence = call->sequence});
    } else {
      SendCall(link, *call, protocol::kFrameResent);
    }
  }
}

void Session::DrainQueue() {
  for (;;) {
    PendingCall* call = nullptr;
    LinkId link = kNoLink;
    const std::scoped_lock in_order(order_mutex_);
    {
      const std::scoped_lock lock(mutex_);
      while (phase_ == Phase::kLive && !queue_.empty() && queue_.front()->only_waits) {
        WithdrawLocked(queue_.begin(), 0);
      }
      draining_ = phase_ == Phase::kLive && !queue_.empty() && slots_.HasFree();
      if (!draining_) return;
      call = queue_.front();
      queue_.pop_front();
      slots_.Occupy(*call);
      call->sending.store(true, std::memory_order_relaxed);
      link = link_;
    }
    SendCall(link, *call, 0);
    SendingDone(*call);
  }
}

void Session::Lose() {
  bool ending = false;
  {
    const std::scoped_lock lock(mutex_);
    ending = ending_;
    generation_.fetch_add(1);
    phase_ = Phase::kHello;
    SetStateLocked(LinkState::kLost, clock_.Now());
  }
  if (!ending) {
    log::Error(
        "batond at {} no longer has session {}: all opens, claims and locks of this mount answer ESTALE",
        peer_, Raw(session_));
  }
  session_ = SessionId{};
  secret_ = {};
  holdings_.Clear();
  listener_.OnSessionLost();
  FailAll(ESTALE);
}

// --- Replies and notices
// ----------------------------------------------------------------------------------------------

void Session::OnReply(const FrameHeader& header, std::span<const std::byte> body,
                      std::span<const std::byte> data) {
  PendingCall* call = nullptr;
  CallState was = CallState::kFree;
  {
    const std::scoped_lock lock(mutex_);
    if (header.slot < slots_.Slots()) call = slots_.At(header.slot);
    if (call != nullptr && call->sequence == header.sequence) {
      was = call->state;
      const bool settles =
          was == CallState::kAbandoned && header.operation == static_cast<std::uint16_t>(Operation::kSettle);
      if (settles || header.operation == static_cast<std::uint16_t>(call->operation)) {
        call->state = CallState::kAnswering;
      } else {
        call = nullptr;
      }
    } else if (header.slot < slots_.Slots() && header.sequence <= slots_.SequenceOf(header.slot)) {
      return;  // a second answer to what has been answered
    } else {
      call = nullptr;
    }
  }
  if (call == nullptr) return Violation("a reply that answers no request");
  Complete(*call, header, body, data, was);
}

void Session::Complete(PendingCall& call, const FrameHeader& header, std::span<const std::byte> body,
                       std::span<const std::byte> data, CallState was) {
  const bool abandoned = was == CallState::kAbandoned;
  if (abandoned) RunDeferred();  // the caller hears that it was given up before the late word
  // With the answer to a frame that is still being sent: the sender is about to return.
  call.sending.wait(true);
  const bool settled = header.operation == static_cast<std::uint16_t>(Operation::kSettle);
  RawAnswer answer{.error = settled ? ECANCELED : header.error,
                   .epoch = Epoch{header.epoch},
                   .body = body,
                   .data = data,
                   .generation = CurrentGeneration()};
  RawCompletion& completion = abandoned ? call.late : call.done;
  const bool is_answer = settled || NoteHeld(call, answer);
  if (!is_answer || (completion && !completion(answer))) {
    if (!std::exchange(call.refused, true)) {
      {
        const std::scoped_lock lock(mutex_);
        call.state = was;
      }
      return Violation("a malformed reply");
    }
    answer.error = EIO;  // the same again after a resume: it will not get better
    if (completion) completion(answer);
  }
  call.done.Reset();
  call.late.Reset();
  call.data = {};
  bool drain = false;
  {
    const std::scoped_lock lock(mutex_);
    slots_.Vacate(call);
    slots_.GiveBack(call);
    drain = !queue_.empty();
  }
  if (drain) DrainQueue();
}

void Session::OnNotice(const FrameHeader& header, std::span<const std::byte> body) {
  switch (static_cast<Operation>(header.operation)) {
    case Operation::kFenced:
      if (const auto notice = protocol::Decode<protocol::FencedNotice>(body)) {
        holdings_.Fenced(std::span(&notice->fence, 1));
        return listener_.OnFenced(*notice);
      }
      break;
    case Operation::kRevoked:
      if (const auto notice = protocol::Decode<protocol::RevokedNotice>(body)) {
        holdings_.Revoked(notice->handles);
        return listener_.OnRevoked(*notice);
      }
      break;
    case Operation::kChanged:
      if (const auto notice = protocol::Decode<protocol::ChangedNotice>(body))
        return listener_.OnChanged(*notice);
      break;
    default:
      break;
  }
  Violation("a malformed notice");
}

}  // namespace baton::client
