// What the mount says of itself, answered without batond (base/status_xattr.h): who it is, whether it reaches
// batond and if not why, what waits. Any thread; blocks on nothing.
#pragma once

#include <string>

#include "fuse/ops/mount.h"

namespace baton::ops {

// One line of JSON. Its keys are an interface for people's scripts: they are only ever added to.
std::string StatusText(const Mount& mount);

// Answers user and root of a private mount only: EACCES for others.
void TellStatus(const Mount& mount, KernelReply reply, std::size_t room);

}  // namespace baton::ops
