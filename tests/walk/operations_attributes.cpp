// Attributes by name: modes, owners, times, sizes, permissions.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "walk/operation.h"
#include "walk/times.h"

namespace baton::walk {
namespace {

Operation Chmod(Draw& draw) {
  const std::string path = draw.Path();
  const mode_t mode = draw.Mode();
  const int flags = draw.random.Chance(15) ? AT_SYMLINK_NOFOLLOW : 0;
  Operation made{.text = fmt::format("chmod {} {} flags {:#x}", Quoted(path), ModeText(mode), flags),
                 .paths = {path}};
  made.act = [=](Side& side) { return Did(::fchmodat(AT_FDCWD, side.Expand(path).c_str(), mode, flags)); };
  return made;
}

// One that names neither is an error for who is not the owner of a file with set-id bits; not on a mount,
// whose server cannot tell it from what precedes a write (docs/semantics.md).
bool IsForeignSetId(const char* path, int flags) {
  struct stat is;
  return ::fstatat(AT_FDCWD, path, &is, flags) == 0 && ::geteuid() != 0 && ::geteuid() != is.st_uid &&
         (is.st_mode & (S_ISUID | S_ISGID)) != 0;
}

Operation Chown(Draw& draw) {
  const std::string path = draw.Path();
  const uid_t uid = draw.random.In(draw.people.Users());
  const gid_t gid = draw.random.In(draw.people.Groups());
  const int flags = draw.random.Chance(30) ? AT_SYMLINK_NOFOLLOW : 0;
  Operation made{.text = fmt::format("chown {} {} {} flags {:#x}", Quoted(path), static_cast<int>(uid),
                                     static_cast<int>(gid), flags),
                 .paths = {path}};
  const bool neither = uid == static_cast<uid_t>(-1) && gid == static_cast<gid_t>(-1);
  made.act = [=](Side& side) {
    const std::string real = side.Expand(path);
    if (neither && IsForeignSetId(real.c_str(), flags)) return Result{};
    return Did(::fchownat(AT_FDCWD, real.c_str(), uid, gid, flags));
  };
  return made;
}

Operation Utimes(Draw& draw) {
  const std::string path = draw.Path();
  const Times times = DrawTimes(draw.random);
  const int flags = draw.random.Chance(25) ? AT_SYMLINK_NOFOLLOW : 0;
  Operation made{.text = fmt::format("utimensat {} {} flags {:#x}", Quoted(path), Text(times), flags),
                 .paths = {path}};
  made.act = [=](Side& side) {
    return Did(::utimensat(AT_FDCWD, side.Expand(path).c_str(), Argument(times), flags));
  };
  return made;
}

Operation Truncate(Draw& draw) {
  const std::string path = draw.Path();
  const off_t size = draw.random.OneOf<off_t>({0, 1, 100, 4096, 5000, -1, off_t{1} << 40, off_t{1} << 62});
  Operation made{.text = fmt::format("truncate {} {}", Quoted(path), size), .paths = {path}};
  made.act = [=](Side& side) { return Did(::truncate(side.Expand(path).c_str(), size)); };
  return made;
}

Operation Access(Draw& draw) {
  const std::string path = draw.Path();
  const int wish = static_cast<int>(draw.random.Below(9));
  const int flags =
      draw.random.OneOf({0, 0, AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_EACCESS | AT_SYMLINK_NOFOLLOW});
  Operation made{.text = fmt::format("faccessat {} {} flags {:#x}", Quoted(path), wish, flags),
                 .paths = {path}};
  made.act = [=](Side& side) {
    return Did(::syscall(SYS_faccessat2, AT_FDCWD, side.Expand(path).c_str(), wish, flags));
  };
  return made;
}

Operation Statx(Draw& draw) {
  const std::string path = draw.Path();
  const int flags = draw.random.OneOf({0, AT_SYMLINK_NOFOLLOW, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC,
                                       AT_NO_AUTOMOUNT, AT_EMPTY_PATH, 0x40000});
  Operation made{.text = fmt::format("statx {} flags {:#x}", Quoted(path), flags), .paths = {path}};
  made.act = [=](Side& side) {
    struct statx seen {};
    Result result = Did(::statx(AT_FDCWD, side.Expand(path).c_str(), flags, STATX_BASIC_STATS, &seen));
    if (result.error == 0) {
      result.data =
          fmt::format("{:o} {} {} {} {} {}:{} {}", seen.stx_mode, seen.stx_uid, seen.stx_gid, seen.stx_nlink,
                      S_ISDIR(seen.stx_mode) ? 0 : seen.stx_size, seen.stx_rdev_major, seen.stx_rdev_minor,
                      (seen.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    }
    return result;
  };
  return made;
}

}  // namespace

std::vector<Kind> AttributeKinds() {
  return {{"chmod", 7, Chmod},       {"chown", 6, Chown},   {"utimens", 6, Utimes},
          {"truncate", 4, Truncate}, {"access", 4, Access}, {"statx", 2, Statx}};
}

}  // namespace baton::walk
