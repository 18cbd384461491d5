#include "fuse/ops/lock.h"

#include "fuse/ops/handles.h"

namespace baton::ops {
namespace {

using LockAnswer = client::Answer<Operation::kLock>;

// A lock whose program did not hear of it, because it was interrupted.
void Undo(Mount& mount, protocol::LockRequest lock, client::Generation generation) {
  lock.mode = protocol::LockMode::kUnlock;
  lock.wait = false;
  client::CallOptions<Operation::kLock> call;
  call.generation = generation;
  mount.session.Call<Operation::kLock>(
      lock, [](LockAnswer&&) {}, std::move(call));
}

void GrantToKernel(Mount& mount, KernelReply reply, const baton::Open& open,
                   const protocol::LockRequest& lock) {
  const bool heard = reply.Ok();
  if (!heard && lock.mode != protocol::LockMode::kUnlock) Undo(mount, lock, open.generation);
}

bool PagesAreOf(const baton::Open& open, std::uint64_t change) {
  const auto pages = open.inode->Pages();
  return pages && pages->generation == open.generation && pages->change == change;
}

// Once for all who are granted shared locks together: another invalidation would spoil what the first of them
// asks for already.
void DropOlderPages(Mount& mount, const baton::Open& open, std::uint64_t change) {
  const std::scoped_lock one_at_a_time(open.inode->DropMutex());
  if (PagesAreOf(open, change)) return;
  mount.InvalidatePages(*open.inode);
  KnownPages now = open.inode->Pages().value_or(open.pages);
  now.generation = open.generation;
  now.change = change;
  open.inode->SetPages(now);
}

// Rule C1: what others wrote before is seen by whoever has the lock.
void Granted(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open,
             const protocol::LockRequest& lock, std::uint64_t change) {
  mount.coherence.BeforeGrant(open->inode);
  if (lock.mode == protocol::LockMode::kUnlock || PagesAreOf(*open, change)) {
    GrantToKernel(mount, std::move(reply), *open, lock);
    return;
  }
  mount.notifier.Post([&mount, reply = std::move(reply), open, lock, change]() mutable {
    DropOlderPages(mount, *open, change);
    GrantToKernel(mount, std::move(reply), *open, lock);
  });
}

// Of one owner's locks on a file.
std::uint64_t FateKeyOf(const baton::Open& open, const protocol::LockRequest& lock) {
  return open.inode->FateKey() ^ (lock.owner * 0x9e3779b97f4a7c15);
}

void Send(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open,
          const protocol::LockRequest& lock, client::CallToken token) {
  client::CallOptions<Operation::kLock> call;
  call.token = token;
  call.generation = open->generation;
  call.late = [&mount, open, lock](LockAnswer&& answer) {
    if (answer.reply && lock.mode != protocol::LockMode::kUnlock) Undo(mount, lock, open->generation);
    mount.fates.Known(FateKeyOf(*open, lock));
  };
  mount.Call<Operation::kLock>(
      std::move(reply), lock.wait ? WaitKind::kLock : WaitKind::kPlain, lock,
      [&mount, open, lock](KernelReply to, LockAnswer&& answer) {
        mount.NoteFate(answer, FateKeyOf(*open, lock));
        if (answer.reply) {
          Granted(mount, std::move(to), open, lock, answer.reply->change);
        } else {
          to.Error(answer.reply.error().value);
        }
      },
      std::move(call));
}

}  // namespace

void Lock(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open,
          const protocol::LockRequest& lock) {
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  open->NotePages();
  if (open->inode->SetLocked())
    open->inode->SetUntold(true);  // what was believed until now ends with the grant
  const client::CallToken token = mount.session.NewToken();
  const std::uint64_t key = FateKeyOf(*open, lock);
  const bool may_be_undone = lock.mode != protocol::LockMode::kUnlock && mount.fates.IsUnknown(key);
  if (!may_be_undone) return Send(mount, std::move(reply), open, lock, token);
  // An earlier try was given up: its undoing must not take what this one is granted. F_SETLK, too, has EINTR
  // for such a wait (fcntl(2)).
  mount.Register(reply, {token, WaitKind::kLock, reply.Context().pid,
                         protocol::PropertiesOf(Operation::kLock)->name});
  client::FateTable::Waiter go = [&mount, open, lock, token, reply = std::move(reply)](Result<> fate) mutable {
    if (fate) return Send(mount, std::move(reply), open, lock, token);
    mount.pending.Remove(token);
    reply.Error(fate.error().value);
  };
  if (mount.fates.Pass(key, token, go)) return go({});
  LimitFateWait(mount, token);
}

}  // namespace baton::ops
