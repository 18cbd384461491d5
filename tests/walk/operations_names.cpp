// Names: make, remove, rename, link, open.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>

#include "walk/operation.h"

namespace baton::walk {
namespace {

struct FlagName {
  int flag;
  const char* name;
};

constexpr FlagName kOpenFlags[] = {
    {O_CREAT, "CREAT"},         {O_EXCL, "EXCL"},         {O_TRUNC, "TRUNC"},     {O_APPEND, "APPEND"},
    {O_DIRECTORY, "DIRECTORY"}, {O_NOFOLLOW, "NOFOLLOW"}, {O_NOATIME, "NOATIME"}, {O_PATH, "PATH"}};

std::string FlagsText(int flags) {
  std::string text = fmt::format("mode {}", flags & O_ACCMODE);
  for (const auto& [flag, name] : kOpenFlags) {
    if ((flags & flag) == flag) text += fmt::format("|{}", name);
  }
  return text;
}

int DrawOpenFlags(Random& random) {
  int flags = random.OneOf({O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR});
  if (random.Chance(2)) flags = O_ACCMODE;
  if (random.Chance(50)) flags |= O_CREAT;
  if (random.Chance(15)) flags |= O_EXCL;
  if (random.Chance(15)) flags |= O_TRUNC;
  if (random.Chance(12)) flags |= O_APPEND;
  if (random.Chance(8)) flags |= O_NOFOLLOW;
  if (random.Chance(6)) flags |= O_NOATIME;
  if (random.Chance(6)) flags |= O_PATH;
  if (random.Chance(12)) flags = (random.Chance(80) ? flags & ~O_CREAT : flags) | O_DIRECTORY;
  return flags;
}

Operation Open(Draw& draw) {
  const int directory = draw.Directory();
  const std::string path = draw.Path();
  int flags = DrawOpenFlags(draw.random);
  if (path.starts_with('<')) flags &= ~O_NOFOLLOW;  // the link in /proc is none of the tree's
  const mode_t mode = draw.Mode();
  const int slot = static_cast<int>(draw.random.Below(kSlots));
  Operation made;
  made.text = fmt::format("slot {} = {}open {} {} {}", slot, DirectoryText(directory), Quoted(path),
                          FlagsText(flags), ModeText(mode));
  made.act = [=](Side& side) {
    // A FIFO without a partner must not hold up the walk.
    const Result result =
        Did(::openat(side.At(directory), side.Expand(path).c_str(), flags | O_NONBLOCK | O_CLOEXEC, mode));
    if (result.error != 0) return result;
    side.Put(slot, static_cast<int>(result.value));
    return Result{};
  };
  made.opens = slot;
  made.flags = flags;
  if (directory == kNowhere) made.paths = {path};
  return made;
}

Operation Mkdir(Draw& draw) {
  const int directory = draw.Directory();
  const std::string path = draw.Path();
  const mode_t mode = draw.random.Chance(50) ? 0777 : draw.Mode();
  Operation made;
  made.text = fmt::format("{}mkdir {} {}", DirectoryText(directory), Quoted(path), ModeText(mode));
  made.act = [=](Side& side) { return Did(::mkdirat(side.At(directory), side.Expand(path).c_str(), mode)); };
  if (directory == kNowhere) made.paths = {path};
  return made;
}

Operation Rmdir(Draw& draw) {
  const std::string path = draw.Path();
  Operation made{.text = "rmdir " + Quoted(path), .paths = {path}};
  made.act = [=](Side& side) { return Did(::rmdir(side.Expand(path).c_str())); };
  return made;
}

Operation Unlink(Draw& draw) {
  const int directory = draw.Directory();
  const std::string path = draw.Path();
  const int flags = draw.random.OneOf({0, 0, 0, 0, 0, 0, 0, AT_REMOVEDIR, 0x40000});
  Operation made;
  made.text = fmt::format("{}unlinkat {} flags {:#x}", DirectoryText(directory), Quoted(path), flags);
  made.act = [=](Side& side) {
    return Did(::unlinkat(side.At(directory), side.Expand(path).c_str(), flags));
  };
  if (directory == kNowhere) made.paths = {path};
  return made;
}

Operation Mknod(Draw& draw) {
  const std::string path = draw.Path();
  const mode_t mode = draw.Mode() | draw.random.OneOf<mode_t>({S_IFIFO, S_IFIFO, S_IFSOCK, S_IFREG, 0,
                                                               S_IFCHR, S_IFBLK, S_IFDIR, S_IFLNK, 0150000});
  // Device 0:0 is nobody's privilege, but a mount of an ordinary user opens no devices.
  const dev_t device = draw.random.OneOf<dev_t>(
      {makedev(1, 3), makedev(1, 5), makedev(4094, 5), draw.people.AreMany() ? 0 : makedev(1, 3)});
  Operation made{.text = fmt::format("mknod {} {} device {:#x}", Quoted(path), ModeText(mode), device),
                 .paths = {path}};
  made.act = [=](Side& side) { return Did(::mknod(side.Expand(path).c_str(), mode, device)); };
  return made;
}

Operation Link(Draw& draw) {
  const std::string from = draw.Path(), to = draw.Path();
  const int flags = draw.random.OneOf({0, 0, 0, 0, AT_SYMLINK_FOLLOW, AT_SYMLINK_FOLLOW, 0x40000});
  Operation made{.text = fmt::format("linkat {} {} flags {:#x}", Quoted(from), Quoted(to), flags),
                 .paths = {from, to}};
  made.act = [=](Side& side) {
    return Did(::linkat(AT_FDCWD, side.Expand(from).c_str(), AT_FDCWD, side.Expand(to).c_str(), flags));
  };
  return made;
}

Operation LinkDescriptor(Draw& draw) {
  const int slot = draw.Slot();
  if (slot == kNowhere) return Idle();
  const std::string to = draw.Path();
  Operation made{.text = fmt::format("linkat slot {} {} AT_EMPTY_PATH", slot, Quoted(to)), .paths = {to}};
  made.act = [=](Side& side) {
    return Did(::linkat(side.Fd(slot), "", AT_FDCWD, side.Expand(to).c_str(), AT_EMPTY_PATH));
  };
  return made;
}

Operation Symlink(Draw& draw) {
  const std::string target = draw.LinkTarget(), path = draw.Path();
  Operation made{.text = fmt::format("symlink {} {}", Quoted(target), Quoted(path)), .paths = {path}};
  made.act = [=](Side& side) { return Did(::symlink(target.c_str(), side.Expand(path).c_str())); };
  return made;
}

Operation Readlink(Draw& draw) {
  const std::string path = draw.Path();
  const std::size_t size = draw.random.OneOf<std::size_t>({PATH_MAX, PATH_MAX, 1, 0});
  Operation made{.text = fmt::format("readlink {} size {}", Quoted(path), size), .paths = {path}};
  made.act = [=](Side& side) {
    std::string target(PATH_MAX, '\0');
    Result result = Did(::readlink(side.Expand(path).c_str(), target.data(), size));
    // Of a slot it is the tree's own path.
    if (result.error == 0 && path.front() != '<') result.data = target.substr(0, result.value);
    if (path.front() == '<') result.value = 0;
    return result;
  };
  return made;
}

Operation Rename(Draw& draw) {
  const std::string from = draw.Path(), to = draw.Path();
  const unsigned flags = draw.random.OneOf<unsigned>(
      {0, 0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE, 0x100});
  const int from_directory = draw.Directory(), to_directory = draw.Directory();
  Operation made;
  made.text = fmt::format("rename {}{} {}{} flags {:#x}", DirectoryText(from_directory), Quoted(from),
                          DirectoryText(to_directory), Quoted(to), flags);
  made.act = [=](Side& side) {
    return Did(::syscall(SYS_renameat2, side.At(from_directory), side.Expand(from).c_str(),
                         side.At(to_directory), side.Expand(to).c_str(), flags));
  };
  if (from_directory == kNowhere) made.paths.push_back(from);
  if (to_directory == kNowhere) made.paths.push_back(to);
  return made;
}

}  // namespace

std::vector<Kind> NameKinds() {
  return {{"open", 20, Open},
          {"mkdir", 14, Mkdir},
          {"rmdir", 4, Rmdir},
          {"unlink", 6, Unlink},
          {"mknod", 4, Mknod},
          {"link", 6, Link},
          {"linkfd", 1, LinkDescriptor},
          {"symlink", 5, Symlink},
          {"readlink", 2, Readlink},
          {"rename", 10, Rename}};
}

}  // namespace baton::walk
