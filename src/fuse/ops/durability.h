// Rule D3 in the mount: what was acknowledged but not synced when the server's machine went down is told to
// who wrote it, by the next fsync or close of the open: once, never silently. Which writes those are Open and
// Inode count: each acknowledged change of the data is one, an fsync that began after it, through any open of
// the inode, settles it for all. O_SYNC and O_DSYNC writes are none. The transport's thread, save where said.
#pragma once

#include <memory>

#include "fuse/ops/mount.h"

namespace baton::ops {

// A write, an allocation, a copy or a truncation through this open was acknowledged.
void NoteWritten(baton::Open& open);
void NoteResized(baton::Open& open);

// Success of fsync or close: EIO instead if something that was acknowledged may be lost. Any thread.
void ReplyDurable(KernelReply reply, baton::Open& open);

// The server's machine was started again.
void LoseUnsynced(Mount& mount);

}  // namespace baton::ops
