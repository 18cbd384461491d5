// The two ways in which getxattr(2) and listxattr(2) ask: for the size (room 0), or for the value.
#pragma once

#include <string>

#include "fuse/kernel/kernel_reply.h"

namespace baton::ops {

void ReplyXattr(KernelReply reply, const std::string& value, std::size_t room);

}  // namespace baton::ops
