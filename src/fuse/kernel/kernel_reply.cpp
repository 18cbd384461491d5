#include "fuse/kernel/kernel_reply.h"

#include "base/log.h"

namespace baton {

void KernelReply::DropUnanswered() {
  if (request_ == nullptr) return;
  log::Error(
      "internal error: a request of the kernel was dropped unanswered; it gets EIO. Please report this");
  fuse_reply_err(Take(), EIO);
}

}  // namespace baton
