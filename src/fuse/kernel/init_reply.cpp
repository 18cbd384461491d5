#include "fuse/kernel/init_reply.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace baton {
namespace {

constexpr std::uint64_t kDirectIoAllowMmap = std::uint64_t{1} << 36;  // newer than Debian 12's headers

// A process has one mount, and the kernel asks nothing before its INIT is answered.
std::atomic<bool> init_is_answered = false;

// The reply to INIT of all that the kernel's protocol 7.23 and later have: a header and fuse_init_out.
bool IsInitReply(const iovec* parts, int count) {
  if (count != 2 || parts[0].iov_len != sizeof(fuse_out_header) || parts[1].iov_len != sizeof(fuse_init_out))
    return false;
  fuse_out_header header;
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  return header.error == 0;
}

ssize_t Send(int fd, iovec* parts, int count, void*) {
  if (init_is_answered.exchange(true) || !IsInitReply(parts, count)) return ::writev(fd, parts, count);
  fuse_init_out reply;
  std::memcpy(&reply, parts[1].iov_base, sizeof reply);
  reply.flags |= FUSE_INIT_EXT | FUSE_HANDLE_KILLPRIV_V2;
  reply.flags2 |= static_cast<std::uint32_t>(kDirectIoAllowMmap >> 32);
  const iovec changed[] = {parts[0], {&reply, sizeof reply}};
  return ::writev(fd, changed, 2);
}

ssize_t Receive(int fd, void* buffer, std::size_t size, void*) {
  return ::read(fd, buffer, size);
}

}  // namespace

bool AskKernelForMore(fuse_session* session) {
  fuse_custom_io through{};
  through.writev = &Send;
  through.read = &Receive;
  return fuse_session_custom_io(session, &through, fuse_session_fd(session)) == 0;
}

}  // namespace baton
