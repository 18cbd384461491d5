// What OPEN and CREATE share: a handle that batond granted becomes an open of the kernel, or is closed again
// at once because nobody will use it (rules O6, C3). The transport's thread.
#pragma once

#include <memory>

#include "fuse/ops/durability.h"
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
  if ((flags & O_TRUNC) != 0) NoteResized(*open);
  return open;
}

// Who waits for a fate waits no longer than op_timeout: it may be that of a request on a link that is broken
// (rule S5).
void LimitFateWait(Mount& mount, client::CallToken token);

// Sends an OPEN or CREATE when the fate of whatever was given up about the same inode is known (rule S5).
// Attempt has a `reply`, and `about`, the file or the directory.
template <Operation kOp, class Attempt>
void SendAttempt(Mount& mount, Attempt attempt,
                 typename protocol::MessagesOf<kOp>::Request (*request)(const Mount&, const Attempt&),
                 void (*answered)(Mount&, Attempt, const client::Answer<kOp>&)) {
  const client::CallToken token = mount.session.NewToken();
  auto about = attempt.about;
  mount.Register(attempt.reply,
                 {token, WaitKind::kClaim, attempt.reply.Context().pid, protocol::PropertiesOf(kOp)->name});
  client::FateTable::Waiter go = [&mount, token, request, answered,
                                  attempt = std::move(attempt)](Result<> fate) mutable {
    if (!fate) {
      mount.pending.Remove(token);
      attempt.reply.Error(fate.error().value);
      return;
    }
    client::CallOptions<kOp> call;
    call.token = token;
    call.generation = attempt.caller.generation;
    call.late = [&mount, about = attempt.about,
                 ticket = attempt.caller.ticket](client::Answer<kOp>&& answer) {
      if (answer.reply) CloseHandle(mount, answer.reply->handle, answer.generation);
      mount.fates.Known(about->FateKey());
    };
    const auto wish = request(mount, attempt);
    KernelReply reply = std::move(attempt.reply);
    mount.Call<kOp>(
        std::move(reply), WaitKind::kClaim, wish,
        [&mount, answered, attempt = std::move(attempt)](KernelReply to,
                                                         client::Answer<kOp>&& answer) mutable {
          attempt.reply = std::move(to);
          mount.NoteFate(answer, attempt.about->FateKey());
          answered(mount, std::move(attempt), answer);
        },
        std::move(call));
  };
  if (mount.fates.Pass(about->FateKey(), token, go)) return go({});
  LimitFateWait(mount, token);
}

// How the kernel is to use the open.
void FillOpenFlags(const baton::Open& open, fuse_file_info& info);

// One line per file and caller that was refused; asks batond who holds the file. `file` may be empty if it is
// not known.
void LogRefusal(Mount& mount, const FileRef& file, std::string_view what, std::uint64_t key,
                const protocol::Caller& caller);

}  // namespace baton::ops
