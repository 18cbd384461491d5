#include "oracle/lock_calls.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include <cerrno>

namespace baton::oracle {
namespace {

std::string ErrnoName(int error) {
  return strerrorname_np(error);
}

struct flock ToKernel(const Command& command) {
  struct flock lock {};
  lock.l_type = command.type == 'w' ? F_WRLCK : command.type == 'r' ? F_RDLCK : F_UNLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(command.range.start);
  lock.l_len =
      command.range.last == kRangeEnd ? 0 : static_cast<off_t>(command.range.last - command.range.start + 1);
  return lock;
}

std::string FromKernel(const struct flock& lock) {
  if (lock.l_type == F_UNLCK) return "free";
  ByteRange range{static_cast<std::uint64_t>(lock.l_start), kRangeEnd};
  if (lock.l_len != 0) range.last = static_cast<std::uint64_t>(lock.l_start + lock.l_len - 1);
  return ToString(lock.l_type == F_WRLCK ? 'w' : 'r', range);
}

int FcntlOf(const Command& command) {
  const bool ofd = command.owner[0] == 'o';
  if (command.verb == "test") return ofd ? F_OFD_GETLK : F_GETLK;
  if (command.verb == "wait") return ofd ? F_OFD_SETLKW : F_SETLKW;
  return ofd ? F_OFD_SETLK : F_SETLK;
}

std::string RunFlock(int fd, const Command& command) {
  const int type = command.type == 'w' ? LOCK_EX : command.type == 'r' ? LOCK_SH : LOCK_UN;
  return ::flock(fd, type | (command.verb == "wait" ? 0 : LOCK_NB)) == 0 ? "ok" : ErrnoName(errno);
}

}  // namespace

std::string LockCalls::Run(const Command& command) {
  if (command.verb == "close") return Close(command);
  const int fd = Open(command.file);
  if (fd < 0) return ErrnoName(errno);
  if (command.owner[0] == 'f') return RunFlock(fd, command);
  struct flock lock = ToKernel(command);
  if (::fcntl(fd, FcntlOf(command), &lock) != 0) return ErrnoName(errno);
  return command.verb == "test" ? FromKernel(lock) : "ok";
}

int LockCalls::Open(const std::string& file) {
  UniqueFd& fd = files_[file];
  if (!fd) fd = UniqueFd(::open((directory_ + "/" + file).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  return fd.Get();
}

std::string LockCalls::Close(const Command& command) {
  if (command.owner[0] != 'p') {
    files_.erase(command.file);
    return "ok";
  }
  // POSIX: closing *any* descriptor of the file gives up the process's locks on it.
  const UniqueFd other(
      ::open((directory_ + "/" + command.file).c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
  return other ? "ok" : ErrnoName(errno);
}

}  // namespace baton::oracle
