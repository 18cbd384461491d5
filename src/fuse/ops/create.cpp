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

void Grant(Mount& mount, Attempt attempt, const CreateAnswer& answer) {
  mount.PinCaller(attempt.caller, answer.epoch);
  fuse_entry_param entry;
  auto inode =
      mount.FillEntry({answer.reply->file, answer.reply->attr, true}, attempt.about, attempt.name,
                      attempt.reply.Since(), entry);
  auto open = MakeOpen(answer, attempt.caller, attempt.info.flags, inode);
  attempt.info.fh = mount.opens.Add(open);
  bool taken = false;
  if (open->dead) {
    attempt.reply.Error(ESTALE);
  } else {
    FillOpenFlags(*open, attempt.info);
    taken = attempt.reply.Create(entry, attempt.info);
  }
  if (taken) return;
  mount.opens.Remove(attempt.info.fh);
  mount.inodes.Forget(*inode, 1);
  CloseHandle(mount, open->handle, open->generation);
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
