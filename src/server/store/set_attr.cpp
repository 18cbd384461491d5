#include "server/store/set_attr.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <string>

#include "server/store/export.h"

namespace baton::store {

Result<void> SetOwnerAndMode(int fd, int proc_fd, const AttrChange& change) {
  constexpr std::uint32_t kKeep = 0xffffffff;
  // chown(2) that names neither sets the change time and takes set-id bits. A kernel about to write for somebody asks for
  // the same, and the WRITE does without: no error.
  if (change.mask == 0) {
    if (::fchownat(fd, "", kKeep, kKeep, AT_EMPTY_PATH) != 0 && errno != EPERM) return FailErrno();
    return {};
  }
  if (change.Has(attr_mask::kUid | attr_mask::kGid)) {
    const std::uint32_t uid = change.Has(attr_mask::kUid) ? change.uid : kKeep;
    const std::uint32_t gid = change.Has(attr_mask::kGid) ? change.gid : kKeep;
    if (::fchownat(fd, "", uid, gid, AT_EMPTY_PATH) != 0) return FailErrno();
  }
  if (change.Has(attr_mask::kMode)) {
    if (::fchmodat(proc_fd, std::to_string(fd).c_str(), change.mode & 07777, 0) != 0) return FailErrno();
  }
  return {};
}

Result<void> SetSize(int fd, std::uint64_t size) {
  if (size > std::uint64_t{std::numeric_limits<off_t>::max()}) return Fail(EINVAL);
  if (::truncate(Export::ProcPath(fd).c_str(), static_cast<off_t>(size)) != 0) return FailErrno();
  return {};
}

Result<void> SetTimes(int fd, const AttrChange& change) {
  const auto time = [&](std::uint32_t now_bit, std::uint32_t bit, const Timestamp& at) {
    if (change.Has(now_bit)) return timespec{0, UTIME_NOW};
    if (!change.Has(bit)) return timespec{0, UTIME_OMIT};
    return timespec{at.sec, static_cast<long>(at.nsec)};
  };
  constexpr std::uint32_t kSecond = 1'000'000'000;
  if (change.Has(attr_mask::kAtime) && change.atime.nsec >= kSecond) return Fail(EINVAL);
  if (change.Has(attr_mask::kMtime) && change.mtime.nsec >= kSecond) return Fail(EINVAL);
  const timespec times[2] = {time(attr_mask::kAtimeNow, attr_mask::kAtime, change.atime),
                             time(attr_mask::kMtimeNow, attr_mask::kMtime, change.mtime)};
  if (::utimensat(fd, "", times, AT_EMPTY_PATH) != 0) return FailErrno();
  return {};
}

}  // namespace baton::store
