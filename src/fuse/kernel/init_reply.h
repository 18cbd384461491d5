// What libfuse 3.14 does not know how to ask the kernel for when the mount begins, added to its INIT reply on
// its way:
//   FUSE_HANDLE_KILLPRIV_V2    no question for security.capability before each write; batond takes the set-id
//   bits away FUSE_DIRECT_IO_ALLOW_MMAP  MAP_SHARED of files opened with O_APPEND or O_DIRECT, which do not
//   use the page cache
// A kernel that does not know a flag takes no notice of it. Not for anything else that passes.
#pragma once

#include "fuse/kernel/fuse_api.h"

namespace baton {

// Between fuse_session_mount and the first request. False: libfuse would not have it; all works without.
bool AskKernelForMore(fuse_session* session);

}  // namespace baton
