#include <fcntl.h>

#include "fuse/ops/handles.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using CreateAnswer = client::Answer<Operation::kCreate>;

struct Attempt {
  KernelReply reply;
  fuse_file_info info{};
  std::shared_ptr<Inode> about;  // the directory
  std::string name;
  mode_t mode = 0;
  Who caller;
};

// What the kernel is told of: the entry's lookup is counted, the open is in the table.
struct Granted {
  fuse_entry_param entry{};
  std::shared_ptr<Inode> inode;
  std::shared_ptr<baton::Open> open;
};

void Conclude(Mount& mount, Attempt attempt, const Granted& granted, Result<> fate) {
  bool taken = false;
  if (!fate || granted.open->dead) {
    attempt.reply.Error(fate ? ESTALE : fate.error().value);
  } else {
    FillOpenFlags(*granted.open, attempt.info);
    taken = attempt.reply.Create(granted.entry, attempt.info);
  }
  if (taken) return;
  mount.opens.Remove(attempt.info.fh);
  mount.inodes.Forget(*granted.inode, 1);
  CloseHandle(mount, granted.open->handle, granted.open->generation);
}

// It may have opened a file that had lost its name when the kernel looked: then that file's fates count (rule S5).
void Grant(Mount& mount, Attempt attempt, const CreateAnswer& answer) {
  mount.PinCaller(attempt.caller, answer.epoch);
  Granted granted;
  granted.inode = mount.FillEntry({answer.reply->file, answer.reply->attr, true}, attempt.about, attempt.name,
                                  attempt.reply.Since(), granted.entry);
  granted.open = MakeOpen(answer, attempt.caller, attempt.info.flags, granted.inode);
  attempt.info.fh = mount.opens.Add(granted.open);
  const std::uint64_t key = granted.inode->FateKey();
  if (!mount.fates.IsUnknown(key)) return Conclude(mount, std::move(attempt), granted, {});
  const client::CallToken token = mount.session.NewToken();
  mount.Register(attempt.reply, {token, WaitKind::kClaim, attempt.reply.Context().pid, "create"});
  client::FateTable::Waiter go = [&mount, token, granted, attempt = std::move(attempt)](Result<> fate) mutable {
    mount.pending.Remove(token);
    Conclude(mount, std::move(attempt), granted, fate);
  };
  if (mount.fates.Pass(key, token, go)) return go({});
  LimitFateWait(mount, token);
}

void Answered(Mount& mount, Attempt attempt, const CreateAnswer& answer) {
  if (answer.reply) return Grant(mount, std::move(attempt), answer);
  const int error = answer.reply.error().value;
  if (error == EBUSY) {
    LogRefusal(mount, FileRef(),
               fmt::format("create of '{}' in directory inode {}", attempt.name, attempt.about->Number()),
               attempt.about->FateKey(), attempt.caller);
  }
  attempt.reply.Error(error);
}

protocol::CreateRequest RequestFor(const Mount& mount, const Attempt& attempt) {
  return {attempt.about->File(),
          attempt.name,
          static_cast<std::uint32_t>(attempt.info.flags),
          attempt.mode,
          attempt.reply.Context().umask,
          mount.options.claim_wait,
          attempt.caller};
}

void Send(Mount& mount, Attempt attempt) {
  SendAttempt<Operation::kCreate>(mount, std::move(attempt), &RequestFor, &Answered);
}

}  // namespace

void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  mount.WithCaller(
      KernelReply(request), Purpose::kOpenWrite,
      [&mount, directory, name = std::string(name), mode, info = *info](KernelReply reply, Who caller) {
        Send(mount, Attempt{std::move(reply), info, directory, name, mode, std::move(caller)});
      });
}

}  // namespace baton::ops
