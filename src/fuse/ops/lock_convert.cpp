#include "fuse/ops/lock_convert.h"

namespace baton {

ByteRange RangeOf(const struct flock& lock) {
  const auto start = static_cast<std::uint64_t>(lock.l_start);
  return {start, lock.l_len == 0 ? kRangeEnd : start + static_cast<std::uint64_t>(lock.l_len) - 1};
}

protocol::LockMode ModeOf(int lock_type) {
  switch (lock_type) {
    case F_RDLCK:
      return protocol::LockMode::kRead;
    case F_WRLCK:
      return protocol::LockMode::kWrite;
    default:
      return protocol::LockMode::kUnlock;
  }
}

struct flock ToFlock(const protocol::GetlkReply& found) {
  struct flock lock {};
  lock.l_whence = SEEK_SET;
  lock.l_type = F_UNLCK;
  if (found.mode == protocol::LockMode::kRead) lock.l_type = F_RDLCK;
  if (found.mode == protocol::LockMode::kWrite) lock.l_type = F_WRLCK;
  lock.l_start = static_cast<off_t>(found.start);
  lock.l_len = found.last >= kRangeEnd ? 0 : static_cast<off_t>(found.last - found.start + 1);
  lock.l_pid = found.pid;
  return lock;
}

}  // namespace baton
