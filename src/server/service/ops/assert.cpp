// ASSERT: what a session held when the server went down (rules D2, D4). What is not as it was granted is refused, handle by
// handle; the arbiter has the last word.
#include <mutex>
#include <utility>

#include "server/service/ops/operations.h"
#include "server/service/ops/return.h"
#include "server/service/service.h"

namespace baton::server::ops {

// One at a time, and only of the connection that the session has now: what came on an earlier one is said again on this, and
// may not hold any more.
void Assert(Service& service, Call call, const protocol::AssertRequest& wish, std::span<const std::byte>) {
  const std::shared_ptr<Session> session = call.session();
  const std::lock_guard one_at_a_time(session->assertion);
  // Said already, on a connection that broke before the answer arrived.
  if (!session->must_assert.load()) return call.Answer(protocol::AssertReply());
  protocol::AssertReply reply;
  for (const protocol::HeldHandle& held : wish.handles) {
    if (!call.IsOfPresentConnection()) return call.Drop();
    session->Heard(service.clock().Now());  // its PINGs stand behind this
    if (!ReturnHandle(service, *session, held)) reply.refused.push_back(held.handle);
  }
  if (!call.IsOfPresentConnection()) return call.Drop();
  session->NotifyRevoked(reply.refused);  // the answer may be lost with the connection
  if (wish.is_last) service.coordinator().Tell(SessionReturned{session->id()});
  const bool has_ended =
      service.coordinator().WithArbiter([&](const Arbiter& arbiter) { return arbiter.IsEnding(session->id()); });
  if (has_ended) return call.Fail(ESTALE);
  if (wish.is_last) session->must_assert.store(false);
  call.Answer(reply);
}

}  // namespace baton::server::ops
