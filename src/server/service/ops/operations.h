// The operations of the service: one function for each row of the protocol's table that a mount sends within a session.
// Each answers its call exactly once, now or later. `data` is valid until the function returns.
#pragma once

#include <cstddef>
#include <span>

#include "protocol/operations.h"
#include "server/service/call.h"

namespace baton::server {

class Service;

namespace ops {

#define BATON_DECLARE(number, name, request, reply, ...) \
  void name(Service& service, Call call, const protocol::request& wish, std::span<const std::byte> data);
BATON_SESSION_OPERATIONS(BATON_DECLARE)
#undef BATON_DECLARE

}  // namespace ops
}  // namespace baton::server
