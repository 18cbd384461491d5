// What a session holds, and its assertion to a batond that was started again (rules D2, D4). Everything here
// runs on the transport's thread.
#include <algorithm>

#include "base/log.h"
#include "fuse/client/session.h"

namespace baton::client {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::LockMode;
using protocol::LockRequest;

namespace {

// Requests in line and on slots are this session's own, so they decode.
template <class Request>
Request RequestOf(const PendingCall& call) {
  return protocol::Decode<Request>(call.body).value_or(Request{});
}

// What both are about is in doubt; of two doubts the weaker counts, for as far as both reach.
void CastDoubt(const LockRequest& done, const LockRequest& on, std::optional<LockRequest>& doubt) {
  LockRequest cast = on;
  cast.mode = done.mode;
  cast.start = std::max(on.start, done.start);
  cast.last = std::min(on.last, done.last);
  if (doubt) {
    cast.mode = std::min(cast.mode, doubt->mode);
    cast.start = std::min(cast.start, doubt->start);
    cast.last = std::max(cast.last, doubt->last);
  }
  doubt = cast;
}

}  // namespace

// --- What batond's answers say
// -----------------------------------------------------------------------------------------

bool Session::NoteHeld(const PendingCall& call, const RawAnswer& answer) {
  switch (call.operation) {
    case Operation::kOpen:
    case Operation::kCreate: {
      if (answer.error != 0) return true;
      const auto granted = protocol::Decode<protocol::OpenReply>(answer.body);
      if (!granted || granted->handle == HandleId{} || granted->proof.size() > protocol::kMaxProofSize)
        return false;
      holdings_.Opened(*granted, answer.epoch);
      return true;
    }
    case Operation::kClose:
      holdings_.Closed(RequestOf<protocol::CloseRequest>(call).handle);
      return true;
    case Operation::kFlush:
      if (answer.error == 0) NoteLock(call, AsUnlock(RequestOf<protocol::FlushRequest>(call)));
      return true;
    case Operation::kLock:
      if (answer.error == 0) {
        NoteLock(call, RequestOf<LockRequest>(call));
      } else {
        holdings_.Refused(RequestOf<LockRequest>(call));
      }
      return true;
    default:
      return true;
  }
}

void Session::NoteLock(const PendingCall& call, const LockRequest& lock) {
  holdings_.Locked(lock);
  if (call.doubt) holdings_.MayHaveDone(*call.doubt);
  const std::scoped_lock guard(mutex_);
  for (PendingCall* other : slots_.OutstandingLocks()) {
    // What gives up never waits: a lock that was sent after it came after it.
    if (other == &call || (lock.mode == LockMode::kUnlock && other->order > call.order)) continue;
    const auto on = RequestOf<LockRequest>(*other);
    if (holdings_.Cross(lock, on)) CastDoubt(lock, on, other->doubt);
  }
}

// --- The assertion
// -----------------------------------------------------------------------------------------------------

// What was outstanding may have been carried out by the batond that is gone; it is sent again afterwards, or
// asked for.
void Session::BeginAssertion(std::uint64_t server_boot) {
  {
    const std::scoped_lock lock(mutex_);
    for (const PendingCall* call : slots_.Outstanding()) {
      if (call->operation == Operation::kLock) holdings_.MayHaveDone(RequestOf<LockRequest>(*call));
      if (call->operation == Operation::kFlush)
        holdings_.MayHaveDone(AsUnlock(RequestOf<protocol::FlushRequest>(*call)));
      if (call->operation == Operation::kClose)
        holdings_.Closed(RequestOf<protocol::CloseRequest>(*call).handle);
    }
  }
  asserting_ = {.where = holdings_.Begin(), .begun = clock_.Now(), .server_boot = server_boot};
  AssertNext();
}

void Session::AssertNext() {
  const protocol::AssertRequest request = holdings_.Next(asserting_.where, protocol::kMaxBodySize);
  asserting_.is_last_sent = request.is_last;
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(request);
  transport_.Send(Link(),
                  {.operation = static_cast<std::uint16_t>(Operation::kAssert), .kind = FrameKind::kRequest},
                  body, {});
}

void Session::OnAsserted(const FrameHeader& header, std::span<const std::byte> body) {
  if (header.error == ESTALE) return LoseByAnswer();
  const auto reply = protocol::Decode<protocol::AssertReply>(body);
  if (header.error != 0 || !reply) return Violation("a malformed reply to ASSERT");
  if (!reply->refused.empty()) {
    asserting_.refused += reply->refused.size();
    holdings_.Revoked(reply->refused);
    listener_.OnRevoked({reply->refused});
  }
  if (!asserting_.is_last_sent) return AssertNext();
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(clock_.Now() - asserting_.begun);
  log::Info("batond at {} was started again: {} opens and {} locks asserted, {} opens refused, in {} ms",
            peer_, asserting_.where.handles, asserting_.where.locks, asserting_.refused, took.count());
  const std::uint64_t server_boot = asserting_.server_boot;
  asserting_ = {};
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    phase_ = Phase::kResuming;
  }
  Resume(server_boot);
}

}  // namespace baton::client
