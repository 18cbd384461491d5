#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"
#include "fuse/ops/registration.h"
#include "fuse/ops/xattr_names.h"

namespace baton::ops {

void Setxattr(fuse_req_t request, fuse_ino_t number, const char* name, const char* value, std::size_t size,
              int flags) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  if (number == FUSE_ROOT_ID && name == kRegisterXattr) {
    const std::string_view text(value, size);
    if (const Result<Registration> registration = ParseRegistration(text)) {
      return RegisterCaller(mount, std::move(reply), *registration, AnsweredAs::kXattr);
    }
    log::Warn("pid {} registers '{}': not GUID [VERSION] [PID]; refused with EINVAL", reply.Context().pid,
              text);
    reply.Error(EINVAL);
    return;
  }
  if (name == kCapabilityXattr && !mount.options.suid) return reply.Error(EOPNOTSUPP);
  auto inode = mount.inodes.Get(number);
  protocol::SetxattrRequest set{
      inode->File(), name, std::string(value, size), static_cast<std::uint32_t>(flags), {}};
  ChangeAndAcknowledge<Operation::kSetxattr>(mount, std::move(reply), inode, std::move(set));
}

}  // namespace baton::ops
