#include <fcntl.h>

#include "fuse/ops/handles.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using CreateAnswer = client::Answer<Operation::kCreate>;

struct Attempt {
  KernelReply reply;
  fuse_file_info info{};
  std::shared_ptr<Inode> directory;
  std::string name;
  mode_t mode = 0;
  Who caller;
};

void Grant(Mount& mount, Attempt attempt, const CreateAnswer& answer) {
  mount.PinCaller(attempt.caller, answer.epoch);
  fuse_entry_param entry;
  auto inode =
      mount.FillEntry({answer.reply->file, answer.reply->attr, true}, attempt.directory, attempt.name,
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
  mount.NoteFate(answer, attempt.directory->FateKey());
  if (answer.reply) return Grant(mount, std::move(attempt), answer);
  const int error = answer.reply.error().value;
  if (error == EBUSY) {
    LogRefusal(mount, FileRef(),
               fmt::format("create of '{}' in directory inode {}", attempt.name, attempt.directory->Number()),
               attempt.directory->FateKey(), attempt.caller);
  }
  attempt.reply.Error(error);
}

client::CallOptions<Operation::kCreate> OptionsFor(Mount& mount, const std::shared_ptr<Inode>& directory,
                                                   const Who& caller, client::CallToken token) {
  client::CallOptions<Operation::kCreate> call;
  call.token = token;
  call.generation = caller.generation;
  call.late = [&mount, directory, ticket = caller.ticket](CreateAnswer&& answer) {
    if (answer.reply) CloseHandle(mount, answer.reply->handle, answer.generation);
    mount.fates.Known(directory->FateKey());
  };
  return call;
}

void Send(Mount& mount, Attempt attempt) {
  const client::CallToken token = mount.session.NewToken();
  auto directory = attempt.directory;
  mount.Register(attempt.reply, WaitKind::kClaim, token);
  client::FateTable::Waiter go = [&mount, token, attempt = std::move(attempt)](Result<> fate) mutable {
    if (!fate) {
      mount.pending.Remove(token);
      attempt.reply.Error(fate.error().value);
      return;
    }
    const protocol::CreateRequest create{attempt.directory->File(),
                                         attempt.name,
                                         static_cast<std::uint32_t>(attempt.info.flags),
                                         attempt.mode,
                                         mount.options.claim_wait,
                                         attempt.caller};
    KernelReply reply = std::move(attempt.reply);
    auto call = OptionsFor(mount, attempt.directory, attempt.caller, token);
    mount.Call<Operation::kCreate>(
        std::move(reply), WaitKind::kClaim, create,
        [&mount, attempt = std::move(attempt)](KernelReply to, CreateAnswer&& answer) mutable {
          attempt.reply = std::move(to);
          Answered(mount, std::move(attempt), answer);
        },
        std::move(call));
  };
  if (mount.fates.Pass(directory->FateKey(), token, go)) go({});
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
