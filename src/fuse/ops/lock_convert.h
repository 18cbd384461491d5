// Between struct flock, as libfuse gives it (absolute, l_len 0 for "to the end"), and the protocol's locks.
// Values.
#pragma once

#include <fcntl.h>

#include "base/range.h"
#include "protocol/messages.h"

namespace baton {

ByteRange RangeOf(const struct flock& lock);
protocol::LockMode ModeOf(int lock_type);
struct flock ToFlock(const protocol::GetlkReply& found);

}  // namespace baton
