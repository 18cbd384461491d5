#include <fcntl.h>

#include "fuse/ops/durability.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using FlushAnswer = client::Answer<Operation::kFlush>;

// The program that closed is gone, killed while it waited: its record locks must go all the same (rule L1).
void FlushForNobody(Mount& mount, const protocol::FlushRequest& flush, client::Generation generation) {
  client::CallOptions<Operation::kFlush> call;
  call.generation = generation;
  mount.session.Call<Operation::kFlush>(
      flush, [](FlushAnswer&&) {}, std::move(call));
}

}  // namespace

// close(2)'s answer.
void Flush(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  if (open->dead) return reply.Error(ESTALE);
  open->NotePages();
  if (!open->closing.exchange(true)) open->inode->BeginClose();
  // Nothing was written and nothing locked: batond has nothing to say about it.
  const bool changed = open->Writable() || (open->flags & O_TRUNC) != 0;
  if (!changed && !open->inode->WasLocked()) return ReplyDurable(std::move(reply), *open);
  const protocol::FlushRequest flush{open->handle, info->lock_owner};
  client::CallOptions<Operation::kFlush> call;
  call.generation = open->generation;
  call.late = [&mount, flush, open](FlushAnswer&& answer) {
    const bool never_happened = !answer.reply && answer.reply.error() == Errno{ECANCELED};
    if (never_happened) FlushForNobody(mount, flush, open->generation);
  };
  mount.Call<Operation::kFlush>(
      std::move(reply), WaitKind::kFlush, flush,
      [&mount, flush, open](KernelReply to, FlushAnswer&& answer) {
        const bool withdrawn = !answer.reply && answer.origin == client::Origin::kMount &&
                               answer.fate == client::Fate::kKnown && answer.reply.error() == Errno{EINTR};
        if (withdrawn) FlushForNobody(mount, flush, open->generation);
        if (!answer.reply) return to.Error(answer.reply.error().value);
        ReplyDurable(std::move(to), *open);
      },
      std::move(call));
}

}  // namespace baton::ops
