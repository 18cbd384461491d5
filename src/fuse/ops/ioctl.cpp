#include <cstring>

#include "base/register_ioctl.h"
#include "fuse/ops/operations.h"
#include "fuse/ops/registration.h"

namespace baton::ops {

// `baton register`, on the root; there is no other ioctl.
void Ioctl(fuse_req_t request, fuse_ino_t number, unsigned int command, void*, fuse_file_info*, unsigned,
           const void* in, std::size_t in_size, std::size_t) {
  Mount& mount = Mount::Of(request);
  KernelReply reply(request);
  if (number != FUSE_ROOT_ID || command != kRegisterIoctl || in_size != sizeof(RegisterIoctl)) {
    reply.Error(ENOTTY);
    return;
  }
  RegisterIoctl wanted;
  std::memcpy(&wanted, in, sizeof wanted);
  if (wanted.guid[0] == '\0') return UnregisterCaller(mount, std::move(reply), wanted.pid, AnsweredAs::kIoctl);
  const auto registration = ParseRegistration(wanted);
  if (!registration) return reply.Error(EINVAL);
  RegisterCaller(mount, std::move(reply), *registration, AnsweredAs::kIoctl);
}

}  // namespace baton::ops
