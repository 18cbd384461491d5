// ASSERT: what a session held when the server went down (rules D2, D4).
#include "server/service/ops/operations.h"

namespace baton::server::ops {

void Assert(Service&, Call call, const protocol::AssertRequest&, std::span<const std::byte>) { call.Fail(ESTALE); }

}  // namespace baton::server::ops
