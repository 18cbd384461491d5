#include "fuse/ops/xattr_reply.h"

#include <cerrno>

namespace baton::ops {

void ReplyXattr(KernelReply reply, const std::string& value, std::size_t room) {
  if (room == 0) {
    reply.XattrSize(value.size());
  } else if (value.size() > room) {
    reply.Error(ERANGE);
  } else {
    reply.Data(std::as_bytes(std::span(value)));
  }
}

}  // namespace baton::ops
