#include <algorithm>

#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

struct Attempt {
  KernelReply reply;
  std::shared_ptr<baton::Open> open;
  protocol::ReadRequest request;
};

void Send(Mount& mount, Attempt attempt, client::CallToken token) {
  client::CallOptions<Operation::kRead> call;
  call.token = token;
  call.generation = attempt.open->generation;
  mount.Call<Operation::kRead>(
      std::move(attempt.reply), WaitKind::kPlain, attempt.request,
      [](KernelReply to, client::Answer<Operation::kRead>&& answer) {
        if (!answer.reply) return to.Error(answer.reply.error().value);
        to.Data(answer.data);
      },
      std::move(call));
}

}  // namespace

void Read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  auto open = OpenTable::Get(info->fh);
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  const protocol::ReadRequest read{open->handle, static_cast<std::uint64_t>(offset),
                                   static_cast<std::uint32_t>(size)};
  // Past the page cache (then the kernel names the lock owner): nothing of it is kept.
  if (info->lock_owner != 0) return Send(mount, {std::move(reply), std::move(open), read}, client::kNoToken);
  const client::CallToken token = mount.session.NewToken();
  mount.Register(reply, {token, WaitKind::kPlain, reply.Context().pid, "Read"});
  const auto inode = open->inode;
  const WriteOrder::Request wish{{read.offset, read.offset + std::max<std::size_t>(size, 1) - 1},
                                 CurrentRequestBuffer::Number()};
  WriteOrder::Waiter go =
      [&mount, token, attempt = Attempt{std::move(reply), std::move(open), read}](Result<> done) mutable {
        if (done) return Send(mount, std::move(attempt), token);
        mount.pending.Remove(token);
        attempt.reply.Error(done.error().value);
      };
  if (mount.write_order.Pass(*inode, wish, mount.clock.Now(), token, go)) go({});
}

}  // namespace baton::ops
