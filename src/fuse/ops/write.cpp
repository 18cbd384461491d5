#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "fuse/ops/durability.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using WriteAnswer = client::Answer<Operation::kWrite>;

// Appended elsewhere than the kernel thinks: other opens here may have the page that was the last one (rule
// O7).
void DropPagesThenReply(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open,
                        const protocol::WriteReply& written) {
  mount.notifier.Post([&mount, reply = std::move(reply), open, written]() mutable {
    // Through the page cache, in append mode since fcntl(2) only: the write may hold its page until it is
    // answered.
    const bool through_cache = !open->Uncached();
    if (through_cache) reply.Written(written.written);
    mount.InvalidatePages(*open->inode);
    if (!through_cache) reply.Written(written.written);
  });
}

// The kernel's pages may be older than what was written. Of those in its range the last may be the write's
// own, as large as the kernel likes, and locked until that is answered.
void DropRangeThenReply(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open,
                        const protocol::WriteReply& written, WriteOrder::Earlier earlier) {
  mount.notifier.Post([&mount, reply = std::move(reply), open, written, earlier]() mutable {
    const ByteRange range{written.offset, written.offset + std::max<std::uint32_t>(written.written, 1) - 1};
    const bool may_be_locked = !open->Uncached() && earlier != WriteOrder::Earlier::kOvertaken;
    if (may_be_locked) reply.Written(written.written);
    mount.InvalidatePages(*open->inode, range);
    if (!may_be_locked) reply.Written(written.written);
  });
}

void Answered(Mount& mount, KernelReply reply, const std::shared_ptr<baton::Open>& open, std::uint64_t offset,
              WriteOrder::Earlier earlier, const WriteAnswer& answer) {
  mount.NoteFate(answer, open->inode->FateKey());
  if (answer.reply) NoteWritten(*open);
  if (!answer.reply) {
    reply.Error(answer.reply.error().value);
  } else if (answer.reply->offset != offset) {
    DropPagesThenReply(mount, std::move(reply), open, *answer.reply);
  } else if (earlier != WriteOrder::Earlier::kNone && !open->inode->WasLocked()) {
    // Who locks is told by his locks: what crosses an invalidation, the kernel would throw away (see
    // Coherence::Told).
    DropRangeThenReply(mount, std::move(reply), open, *answer.reply, earlier);
  } else {
    reply.Written(answer.reply->written);
  }
}

}  // namespace

void Write(fuse_req_t request, fuse_ino_t number, const char* data, std::size_t size, off_t offset,
           fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  const auto open = OpenTable::Get(info->fh);
  const bool cached = info->writepage;
  if (open->dead) return mount.ReplyLate(std::move(reply), *open);
  // Whose page it is nobody knows: of a retired inode none may land, whichever handle it names (rule C3).
  if (cached && mount.inodes.Get(number)->Retired()) return reply.Error(ESTALE);
  const protocol::WriteRequest write{.handle = open->handle,
                                     .offset = static_cast<std::uint64_t>(offset),
                                     .cached = cached,
                                     .append = !cached && (info->flags & O_APPEND) != 0};
  // A page that is written back stays until it is.
  std::optional<WriteOrder::Write> order;
  if (!cached) {
    const ByteRange range{write.offset, write.offset + std::max<std::size_t>(size, 1) - 1};
    order = mount.write_order.Begin(*open->inode, {range, CurrentRequestBuffer::Number()}, mount.clock.Now());
  }
  client::CallOptions<Operation::kWrite> call;
  call.generation = open->generation;
  call.data = {std::as_bytes(std::span(data, size)), CurrentRequestBuffer::TakeOver()};
  call.late = [&mount, open](WriteAnswer&&) { mount.fates.Known(open->inode->FateKey()); };
  const WaitKind kind = cached ? WaitKind::kCachedWrite : WaitKind::kPlain;
  mount.Call<Operation::kWrite>(
      std::move(reply), kind, write,
      [&mount, open, order, offset = write.offset](KernelReply to, WriteAnswer&& answer) {
        if (order) mount.write_order.End(*open->inode, *order);
        Answered(mount, std::move(to), open, offset, order ? order->earlier : WriteOrder::Earlier::kNone,
                 answer);
      },
      std::move(call), cached ? open->inode : nullptr);
}

}  // namespace baton::ops
