// PING, BYE, CANCEL, SETTLE, FENCE_ACKNOWLEDGED, INSTANCE_GONE: the session's own affairs (rules S1-S5, T3, T7).
#include "server/service/ops/operations.h"
#include "server/service/service.h"

namespace baton::server::ops {

void Ping(Service&, Call call, const protocol::Nothing&, std::span<const std::byte>) { call.AnswerDone(); }

// Answered when everything is released (rule S4).
void Bye(Service& service, Call call, const protocol::Nothing&, std::span<const std::byte>) {
  const SessionId session = call.session()->id();
  const auto waiting = std::make_shared<Call>(std::move(call));
  service.coordinator().WhenEnded(session, [waiting] { waiting->AnswerDone(); });
  service.coordinator().Tell(SessionUnmounts{session});
}

void Cancel(Service& service, Call call, const protocol::CancelRequest& wish, std::span<const std::byte>) {
  const RequestId waits_as = call.session()->Cancel(wish.slot, wish.sequence);
  call.AnswerDone();
  if (waits_as != RequestId{}) service.coordinator().Withdraw(waits_as);
}

// Nothing to do: that it was not answered from its slot means that the request in its place never arrived.
void Settle(Service&, Call call, const protocol::Nothing&, std::span<const std::byte>) { call.AnswerDone(); }

void FenceAcknowledged(Service& service, Call call, const protocol::FenceAcknowledgedRequest& wish,
                       std::span<const std::byte>) {
  service.coordinator().Tell(baton::FenceAcknowledged{call.session()->id(), wish.guid, wish.epoch, wish.at});
  call.AnswerDone();
}

void InstanceGone(Service& service, Call call, const protocol::InstanceGoneRequest& wish, std::span<const std::byte>) {
  service.coordinator().Tell(baton::InstanceGone{call.session()->id(), wish.guid, wish.epoch});
  call.AnswerDone();
}

void Late(Service& service, Call call, const protocol::LateRequest& wish, std::span<const std::byte>) {
  service.coordinator().ReportLate(wish.handle, call.session()->id());
  call.AnswerDone();
}

}  // namespace baton::server::ops
