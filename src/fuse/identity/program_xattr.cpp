#include "fuse/identity/program_xattr.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/unique_fd.h"

namespace baton {
namespace {

constexpr std::size_t kMaxCached = 4096;

ProgramXattr ReadThrough(int fd) {
  // An O_PATH descriptor takes no fgetxattr; its link in /proc does.
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  char value[256];
  ssize_t size = ::getxattr(link.c_str(), "user.app_instance_id", value, sizeof value);
  if (size >= 0) return {std::string(value, static_cast<std::size_t>(size))};
  // Longer than any GUID: it is there, and malformed (rule I4).
  if (errno == ERANGE) return {std::string("(more than 256 bytes)")};
  return {};
}

}  // namespace

ProgramXattrReader::ProgramXattrReader(IsOwnDevice is_own_device, AskMount ask_mount)
    : is_own_device_(std::move(is_own_device)), ask_mount_(std::move(ask_mount)) {}

ProgramXattr ProgramXattrReader::Read(pid_t pid) {
  std::string path = "/proc/" + std::to_string(pid) + "/exe";
  UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd) return {};
  struct statx about;
  int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (::statx(fd.Get(), "", flags, STATX_INO | STATX_CTIME, &about) != 0) return {};
  ProgramFile file{makedev(about.stx_dev_major, about.stx_dev_minor), about.stx_ino};
  // What the mount serves may change on another node: it keeps its own cache.
  if (is_own_device_ && is_own_device_(file.device)) return ask_mount_ ? ask_mount_(file) : ProgramXattr{};
  CacheKey key{file.device, file.inode, about.stx_ctime.tv_sec * 1'000'000'000 + about.stx_ctime.tv_nsec};
  {
    std::lock_guard lock(mutex_);
    auto found = cache_.find(key);
    if (found != cache_.end()) return found->second;
  }
  ProgramXattr answer = ReadThrough(fd.Get());
  std::lock_guard lock(mutex_);
  if (cache_.size() >= kMaxCached) cache_.clear();
  cache_.emplace(key, answer);
  return answer;
}

}  // namespace baton
