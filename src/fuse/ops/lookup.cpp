#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  mount.WithCaller(
      KernelReply(request), mount.stale_locks.Match(name) ? Purpose::kLookAs : Purpose::kLook,
      [&mount, directory, name = std::string(name)](KernelReply reply, protocol::Caller caller) {
        protocol::LookupRequest lookup{directory->File(), name, std::move(caller)};
        mount.Call<Operation::kLookup>(
            std::move(reply), WaitKind::kPlain, lookup,
            [&mount, directory, name](KernelReply to, client::Answer<Operation::kLookup>&& answer) {
              mount.ReplyEntry(std::move(to), answer.reply, directory, name);
            });
      });
}

}  // namespace baton::ops
