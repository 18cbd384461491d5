// What OPEN and CREATE share: a handle that batond granted becomes an open of the kernel, or is closed again
// at once because nobody will use it (rules O6, C3). The transport's thread.
#pragma once

#include <memory>

#include "fuse/ops/mount.h"

namespace baton::ops {

// Closes a handle at batond; nobody waits for it.
void CloseHandle(Mount& mount, HandleId handle, client::Generation generation);

// The open for a granted handle, not in the table yet.
template <Operation kOp>
std::shared_ptr<baton::Open> MakeOpen(const client::Answer<kOp>& answer, const protocol::Caller& caller,
                                      int flags, std::shared_ptr<Inode> inode) {
  auto open = std::make_shared<baton::Open>();
  open->handle = answer.reply->handle;
  open->generation = answer.generation;
  open->inode = std::move(inode);
  open->pid = caller.pid;
  open->flags = flags;
  open->pages = {answer.generation, answer.reply->change, answer.reply->attr.size, answer.reply->attr.mtime};
  if (answer.epoch != kNewEpoch) {
    open->incarnation = Incarnation{caller.member ? caller.member->guid : Guid{}, answer.epoch};
  }
  return open;
}

// How the kernel is to use the open.
void FillOpenFlags(const baton::Open& open, fuse_file_info& info);

// One line per file and caller that was refused; asks batond who holds the file. `file` may be empty if it is
// not known.
void LogRefusal(Mount& mount, const FileRef& file, std::string_view what, std::uint64_t key,
                const protocol::Caller& caller);

}  // namespace baton::ops
