#include "base/status_xattr.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/mount_status.h"
#include "fuse/ops/operations.h"
#include "fuse/ops/registration.h"
#include "fuse/ops/xattr_names.h"
#include "fuse/ops/xattr_reply.h"

namespace baton::ops {

void Getxattr(fuse_req_t request, fuse_ino_t number, const char* name, std::size_t size) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  if (std::string_view(name) == kStatusXattr) return TellStatus(mount, std::move(reply), size);
  if (number == FUSE_ROOT_ID && name == kRegisterXattr) return TellIdentity(mount, std::move(reply), size);
  if (name == kCapabilityXattr && !mount.options.suid) return reply.Error(ENODATA);
  auto inode = mount.inodes.Get(number);
  // The kernel asks for its ACL before a path goes on in it.
  if (std::string_view(name).starts_with("system.posix_acl_") && inode->Removed())
    return reply.Error(ENODATA);
  mount.WithCaller(std::move(reply), Purpose::kLook,
                   [&mount, inode, name = std::string(name), size](KernelReply to, protocol::Caller caller) {
                     mount.Call<Operation::kGetxattr>(
                         std::move(to), WaitKind::kPlain, {inode->File(), name, std::move(caller)},
                         [size](KernelReply last, client::Answer<Operation::kGetxattr>&& answer) {
                           if (answer.reply) {
                             ReplyXattr(std::move(last), answer.reply->value, size);
                           } else {
                             last.Error(answer.reply.error().value);
                           }
                         });
                   });
}

}  // namespace baton::ops
