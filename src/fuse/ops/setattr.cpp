#include "fuse/ops/convert.h"
#include "fuse/ops/durability.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using SetattrAnswer = client::Answer<Operation::kSetattr>;

void Send(Mount& mount, KernelReply reply, protocol::SetattrRequest setattr, Who caller,
          client::Generation generation, const std::shared_ptr<Inode>& inode,
          const std::shared_ptr<baton::Open>& open = nullptr) {
  setattr.caller = caller;
  client::CallOptions<Operation::kSetattr> call;
  call.generation = generation;
  call.late = [&mount, inode, ticket = caller.ticket](SetattrAnswer&&) {
    mount.fates.Known(inode->FateKey());
  };
  mount.Call<Operation::kSetattr>(
      std::move(reply), WaitKind::kPlain, setattr,
      [&mount, inode, resized = setattr.change.Has(attr_mask::kSize) ? open : nullptr,
       caller = std::move(caller)](KernelReply to, SetattrAnswer&& answer) {
        mount.NoteFate(answer, inode->FateKey());
        if (answer.reply && resized) NoteResized(*resized);
        mount.PinCaller(caller, answer.epoch);
        mount.ReplyAttributes(std::move(to), answer.reply);
      },
      std::move(call));
}

}  // namespace

void Setattr(fuse_req_t request, fuse_ino_t number, struct stat* attributes, int to_set,
             fuse_file_info* info) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  auto inode = mount.inodes.Get(number);
  protocol::SetattrRequest setattr{.file = inode->File(), .change = ToAttrChange(*attributes, to_set)};
  if (info != nullptr) {
    const auto open = OpenTable::Get(info->fh);
    if (open->dead) return mount.ReplyLate(std::move(reply), *open);
    setattr.handle = open->handle;
    Who caller = mount.Looker(reply);
    Send(mount, std::move(reply), std::move(setattr), std::move(caller), open->generation, inode, open);
    return;
  }
  mount.WithCaller(std::move(reply), Purpose::kChange,
                   [&mount, inode, setattr = std::move(setattr)](KernelReply to, Who caller) mutable {
                     const client::Generation generation = caller.generation;
                     Send(mount, std::move(to), std::move(setattr), std::move(caller), generation, inode);
                   });
}

}  // namespace baton::ops
