#include <fcntl.h>

#include "fuse/ops/handles.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using OpenAnswer = client::Answer<Operation::kOpen>;
constexpr Duration kCloseLimit = std::chrono::seconds(1);   // rule O5: closes already begun
constexpr Duration kRepeatLimit = std::chrono::seconds(1);  // for the kernel to open once more after ESTALE

struct Attempt {
  KernelReply reply;
  fuse_file_info info{};
  std::shared_ptr<Inode> about;
  Who caller;
  bool last = false;  // no further attempt follows
};

void Send(Mount& mount, Attempt attempt);

// Rule O5: once more when the closes that are on their way have ended, or after a while.
void TryAgainAfterCloses(Mount& mount, Attempt attempt) {
  struct Second {
    Attempt attempt;
    std::atomic<bool> begun = false;
  };
  auto inode = attempt.about;
  attempt.last = true;
  auto second = std::make_shared<Second>(std::move(attempt));
  const auto run_once = [&mount, second] {
    if (!second->begun.exchange(true)) Send(mount, std::move(second->attempt));
  };
  UniqueFunction<void()> when_closed(run_once);
  if (inode->WhenClosed(when_closed)) {
    mount.housekeeping.After(kCloseLimit, run_once);
  } else {
    run_once();
  }
}

void Close(Mount& mount, const std::vector<RepeatedOpens::Held>& held) {
  for (const auto& each : held) CloseHandle(mount, each.handle, each.generation);
}

void HoldForRepeat(Mount& mount, const baton::Open& open) {
  mount.repeated_opens.Hold(
      {.file = open.inode->FateKey(), .pid = open.pid, .handle = open.handle, .generation = open.generation});
  mount.housekeeping.After(
      kRepeatLimit, [&mount, handle = open.handle] { Close(mount, mount.repeated_opens.Take(handle)); });
}

void Grant(Mount& mount, Attempt attempt, const OpenAnswer& answer) {
  mount.PinCaller(attempt.caller, answer.epoch);
  auto open = MakeOpen(answer, attempt.caller, attempt.info.flags, attempt.about);
  attempt.info.fh = mount.opens.Add(open);
  // Retired meanwhile: the kernel repeats the open and finds the file's new inode (rule C3). Its claim stays
  // until then, or a waiting stranger would slip in between (rule T9).
  if (open->dead || attempt.about->Retired()) {
    mount.opens.Remove(attempt.info.fh);
    HoldForRepeat(mount, *open);
    attempt.reply.Error(ESTALE);
    return;
  }
  Close(mount, mount.repeated_opens.Take(attempt.about->FateKey(), open->pid));
  mount.coherence.BeforeGrant(attempt.about);
  FillOpenFlags(*open, attempt.info);
  if (!attempt.reply.Open(attempt.info)) {
    mount.opens.Remove(attempt.info.fh);
    CloseHandle(mount, open->handle, open->generation);
  }
}

void Answered(Mount& mount, Attempt attempt, const OpenAnswer& answer) {
  if (answer.reply) return Grant(mount, std::move(attempt), answer);
  const int error = answer.reply.error().value;
  const bool may_try_again = error == EBUSY && !attempt.last && mount.options.claim_wait == Duration(0);
  if (may_try_again) return TryAgainAfterCloses(mount, std::move(attempt));
  if (error == EBUSY) {
    LogRefusal(mount, attempt.about->File(), fmt::format("open of inode {}", attempt.about->Number()),
               attempt.about->FateKey(), attempt.caller);
  }
  attempt.reply.Error(error);
}

protocol::OpenRequest RequestFor(const Mount& mount, const Attempt& attempt) {
  return {attempt.about->File(), static_cast<std::uint32_t>(attempt.info.flags), mount.options.claim_wait,
          attempt.caller};
}

void Send(Mount& mount, Attempt attempt) {
  SendAttempt<Operation::kOpen>(mount, std::move(attempt), &RequestFor, &Answered);
}

}  // namespace

void Open(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  auto inode = mount.inodes.Get(number);
  if (inode->Retired()) return reply.Error(ESTALE);
  const bool writes = (info->flags & O_ACCMODE) != O_RDONLY || (info->flags & O_TRUNC) != 0;
  mount.WithCaller(std::move(reply), writes ? Purpose::kOpenWrite : Purpose::kOpenRead,
                   [&mount, inode, info = *info](KernelReply to, Who caller) {
                     Send(mount, Attempt{std::move(to), info, inode, std::move(caller)});
                   });
}

}  // namespace baton::ops
