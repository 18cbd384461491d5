#include "fuse/ops/durability.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <map>
#include <set>

namespace baton::ops {

void NoteWritten(baton::Open& open) {
  if ((open.flags & O_DSYNC) == 0) open.NoteUnsynced();  // O_SYNC contains it
}

// The size is not what O_SYNC is about.
void NoteResized(baton::Open& open) {
  open.NoteUnsynced();
}

void ReplyDurable(KernelReply reply, baton::Open& open) {
  if (!open.TakeLoss()) return reply.Error(0);
  if (!reply.ErrorTaken(EIO)) open.GiveBackLoss();
}

void LoseUnsynced(Mount& mount) {
  std::map<Inode*, std::set<int>> writers;
  const auto losers = mount.opens.LoseUnsynced();
  for (const auto& open : losers) writers[open->inode.get()].insert(open->pid);
  for (const auto& [inode, pids] : writers) {
    const std::string path = mount.inodes.PathOf(*inode);
    log::Error(
        "the server's machine went down: what pids {} wrote to {} (inode {}) since the last fsync may be "
        "lost; their next "
        "fsync or close fails with EIO. Let them write it again, or check the file",
        fmt::join(pids, ", "), path.empty() ? "a file without a name" : path, inode->Number());
  }
}

}  // namespace baton::ops
