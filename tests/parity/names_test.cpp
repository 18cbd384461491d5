// Names come and go: link, symlink, readlink, unlink, mkdir, rmdir, mknod.
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

std::function<Outcome()> Linking(const char* from, const char* to) {
  return [=] { return Did(::link(from, to)); };
}

BATON_PARITY_TABLE(
    HardLink, {
                  {"File",
                   [] {
                     Must(::link("file", "new"));
                     return Gives(Stat("new").st_nlink);
                   },
                   Gives(3)},
                  {"SameInode", [] { return Gives(Stat("file").st_ino == Stat("hard").st_ino); }, Gives(1)},
                  {"WriteThroughOne",
                   [] {
                     Must(::truncate("hard", 3));
                     return Gives(Stat("file").st_size);
                   },
                   Gives(3)},
                  {"IntoDirectory", Linking("file", "dir/new"), kOk},
                  {"Existing", Linking("file", "alices"), Fails(EEXIST)},
                  {"ToItself", Linking("file", "file"), Fails(EEXIST)},
                  {"ToItsOtherName", Linking("file", "hard"), Fails(EEXIST)},
                  {"ExistingDirectory", Linking("file", "dir"), Fails(EEXIST)},
                  {"ExistingLink", Linking("file", "dangling"), Fails(EEXIST)},
                  {"Absent", Linking("absent", "new"), Fails(ENOENT)},
                  {"Directory", Linking("dir", "new"), Fails(EPERM)},
                  {"DirectoryToExisting", Linking("dir", "file"), Fails(EEXIST)},
                  {"LinkItself",
                   [] {
                     Must(::link("link", "new"));
                     return Gives(S_ISLNK(Lstat("new").st_mode));
                   },
                   Gives(1)},
                  {"LinkFollowed",
                   [] {
                     Must(::linkat(AT_FDCWD, "link", AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
                     return Gives(S_ISREG(Lstat("new").st_mode));
                   },
                   Gives(1)},
                  {"DanglingItself", Linking("dangling", "new"), kOk},
                  {"DanglingFollowed",
                   [] { return Did(::linkat(AT_FDCWD, "dangling", AT_FDCWD, "new", AT_SYMLINK_FOLLOW)); },
                   Fails(ENOENT)},
                  {"Fifo", Linking("fifo", "new"), kOk},
                  {"IntoAbsentDirectory", Linking("file", "absent/new"), Fails(ENOENT)},
                  {"BelowFile", Linking("file", "alices/new"), Fails(ENOTDIR)},
                  {"FromBelowFile", Linking("file/x", "new"), Fails(ENOTDIR)},
                  {"TrailingSlash", Linking("file", "new/"), Fails(ENOENT)},
                  {"FromTrailingSlash", Linking("file/", "new"), Fails(ENOTDIR)},
                  {"EmptyFrom", Linking("", "new"), Fails(ENOENT)},
                  {"EmptyTo", Linking("file", ""), Fails(ENOENT)},
                  {"LoopInTheWay", Linking("loop/x", "new"), Fails(ELOOP)},
                  {"NoPermission", Linking("alices", "dir/new"), Fails(EACCES), kAlice},
                  {"Own", Linking("alices", "open/new"), kOk, kAlice},
                  {"FromClosed", Linking("closed/file", "open/new"), Fails(EACCES), kAlice},
                  {"UnknownFlag", [] { return Did(::linkat(AT_FDCWD, "file", AT_FDCWD, "new", 0x40000)); },
                   Fails(EINVAL)},
                  {"EmptyPath",
                   [] { return Did(::linkat(Open("file", O_RDONLY), "", AT_FDCWD, "new", AT_EMPTY_PATH)); },
                   kOk, kRoot},
                  {"RemovedFile",
                   [] {
                     const Fd fd = Open("alices", O_RDONLY);
                     Must(::unlink("alices"));
                     const std::string path = "/proc/self/fd/" + std::to_string(fd);
                     return Did(::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
                   },
                   Fails(ENOENT)},
              });

std::function<Outcome()> Symlinking(const char* target, const char* name) {
  return [=] { return Did(::symlink(target, name)); };
}

BATON_PARITY_TABLE(SymbolicLink,
                   {
                       {"ToAbsent",
                        [] {
                          Must(::symlink("some where", "new"));
                          return Gives(Link("new") == "some where");
                        },
                        Gives(1)},
                       {"Existing", Symlinking("x", "file"), Fails(EEXIST)},
                       {"ExistingDangling", Symlinking("x", "dangling"), Fails(EEXIST)},
                       {"Empty", Symlinking("", "new"), Fails(ENOENT)},
                       {"EmptyName", Symlinking("x", ""), Fails(ENOENT)},
                       {"TrailingSlash", Symlinking("x", "new/"), Fails(ENOENT)},
                       {"InAbsentDirectory", Symlinking("x", "absent/new"), Fails(ENOENT)},
                       {"BelowFile", Symlinking("x", "file/new"), Fails(ENOTDIR)},
                       {"NoPermission", Symlinking("x", "dir/new"), Fails(EACCES), kAlice},
                       {"Owner",
                        [] {
                          Must(::symlink("x", "open/new"));
                          return Gives(Lstat("open/new").st_uid);
                        },
                        Gives(kAliceId), kAlice},
                       {"LongTarget",
                        [] {
                          const std::string target(4095, 't');
                          Must(::symlink(target.c_str(), "new"));
                          return Gives(Lstat("new").st_size);
                        },
                        Gives(4095)},
                       {"LongTargetReadBack",
                        [] {
                          const std::string target(4095, 't');
                          Must(::symlink(target.c_str(), "new"));
                          return Gives(Link("new") == target);
                        },
                        Gives(1)},
                       {"TooLongTarget", [] { return Did(::symlink(std::string(4096, 't').c_str(), "new")); },
                        Fails(ENAMETOOLONG)},
                       {"AnyBytes",
                        [] {
                          Must(::symlink("\xff\x01\n\xc3", "new"));
                          return Gives(Link("new") == "\xff\x01\n\xc3");
                        },
                        Gives(1)},
                       {"ReadLink", [] { return Gives(Link("link") == "file"); }, Gives(1)},
                       {"ReadLinkTruncated",
                        [] {
                          char part[2];
                          return Did(::readlink("link", part, 2));
                        },
                        Gives(2)},
                       {"ReadLinkNoSpace",
                        [] {
                          char part[2];
                          return Did(::readlink("link", part, 0));
                        },
                        Fails(EINVAL)},
                       {"ReadLinkOfFile",
                        [] {
                          char part[9];
                          return Did(::readlink("file", part, 9));
                        },
                        Fails(EINVAL)},
                       {"ReadLinkOfAbsent",
                        [] {
                          char part[9];
                          return Did(::readlink("absent", part, 9));
                        },
                        Fails(ENOENT)},
                       {"ReadLinkTrailingSlash",
                        [] {
                          char part[9];
                          return Did(::readlink("dirlink/", part, 9));
                        },
                        Fails(EINVAL)},
                       {"ReadLinkOfDescriptor",
                        [] {
                          char part[9];
                          return Did(::readlinkat(Open("link", O_PATH | O_NOFOLLOW), "", part, 9));
                        },
                        Gives(4)},
                       {"Chain",
                        [] {
                          std::string last = "file";
                          for (int i = 0; i < 40; ++i) {
                            const std::string name = "chain" + std::to_string(i);
                            Must(::symlink(last.c_str(), name.c_str()));
                            last = name;
                          }
                          return TryOpen(last, O_RDONLY);
                        },
                        kOk},
                       {"TooLongChain",
                        [] {
                          std::string last = "file";
                          for (int i = 0; i < 41; ++i) {
                            const std::string name = "chain" + std::to_string(i);
                            Must(::symlink(last.c_str(), name.c_str()));
                            last = name;
                          }
                          return TryOpen(last, O_RDONLY);
                        },
                        Fails(ELOOP)},
                   });

std::function<Outcome()> Unlinking(const char* path) {
  return [=] { return Did(::unlink(path)); };
}

BATON_PARITY_TABLE(
    Unlink,
    {
        {"File", Unlinking("file"), kOk},
        {"OneOfTwoNames",
         [] {
           Must(::unlink("file"));
           return Gives(Stat("hard").st_nlink);
         },
         Gives(1)},
        {"LinkNotTarget",
         [] {
           Must(::unlink("link"));
           return Gives(Exists("file") && !Exists("link"));
         },
         Gives(1)},
        {"Dangling", Unlinking("dangling"), kOk},
        {"Loop", Unlinking("loop"), kOk},
        {"Fifo", Unlinking("fifo"), kOk},
        {"Readonly", Unlinking("readonly"), kOk},
        {"Directory", Unlinking("dir"), Fails(EISDIR)},
        {"DirectoryTrailingSlash", Unlinking("dir/"), Fails(EISDIR)},
        {"DirectoryLinkTrailingSlash", Unlinking("dirlink/"), Fails(ENOTDIR)},
        {"FileTrailingSlash", Unlinking("file/"), Fails(ENOTDIR)},
        {"Absent", Unlinking("absent"), Fails(ENOENT)},
        {"AbsentTrailingSlash", Unlinking("absent/"), Fails(ENOENT)},
        {"Empty", Unlinking(""), Fails(ENOENT)},
        {"Dot", Unlinking("."), Fails(EISDIR)},
        {"DotDot", Unlinking("dir/.."), Fails(EISDIR)},
        {"BelowFile", Unlinking("file/x"), Fails(ENOTDIR)},
        {"BelowLoop", Unlinking("loop/x"), Fails(ELOOP)},
        {"NoPermission", Unlinking("full/file"), Fails(EACCES), kAlice},
        {"AbsentNoPermission", Unlinking("dir/absent"), Fails(ENOENT), kAlice},
        {"OthersInOpenDirectory", Unlinking("open/file"), kOk, kAlice},
        {"OwnInClosedDirectory", Unlinking("alices"), Fails(EACCES), kAlice},
        {"BelowClosed", Unlinking("closed/file"), Fails(EACCES), kAlice},
        {"StickyOthers", Unlinking("sticky/roots"), Fails(EPERM), kAlice},
        {"StickyOwn", Unlinking("sticky/alices"), kOk, kAlice},
        {"StickyOfAnother", Unlinking("sticky/alices"), Fails(EPERM), kBob},
        {"StickyRoot", Unlinking("sticky/alices"), kOk, kRoot},
        {"AtFlag", [] { return Did(::unlinkat(AT_FDCWD, "dir", AT_REMOVEDIR)); }, kOk},
        {"AtFlagOnFile", [] { return Did(::unlinkat(AT_FDCWD, "file", AT_REMOVEDIR)); }, Fails(ENOTDIR)},
        {"AtUnknownFlag", [] { return Did(::unlinkat(AT_FDCWD, "file", 0x40000)); }, Fails(EINVAL)},
        {"RunsOfNames",
         [] {
           for (int i = 0; i < 50; ++i) {
             Make("dir/again");
             Must(::unlink("dir/again"));
           }
           return Gives(Names("dir").size());
         },
         Gives(0)},
    });

std::function<Outcome()> MakingDir(const char* path, mode_t mode = 0777) {
  return [=] { return ::mkdir(path, mode) == 0 ? Gives(Mode(path)) : Fails(errno); };
}

BATON_PARITY_TABLE(MakeDirectory, {
                                      {"New", MakingDir("new"), Gives(0755)},
                                      {"Mode", MakingDir("new", 0700), Gives(0700)},
                                      {"StickyMode", MakingDir("new", 01777), Gives(01755)},
                                      {"SetIdModeIsIgnored", MakingDir("new", 06777), Gives(0755)},
                                      {"Mask",
                                       [] {
                                         ::umask(0077);
                                         Must(::mkdir("new", 0777));
                                         return Gives(Mode("new"));
                                       },
                                       Gives(0700)},
                                      {"TrailingSlash", MakingDir("new/"), Gives(0755)},
                                      {"TrailingDot", MakingDir("new/."), Fails(ENOENT)},
                                      {"Existing", MakingDir("dir"), Fails(EEXIST)},
                                      {"ExistingFile", MakingDir("file"), Fails(EEXIST)},
                                      {"ExistingLink", MakingDir("dirlink"), Fails(EEXIST)},
                                      {"ExistingDangling", MakingDir("dangling"), Fails(EEXIST)},
                                      {"DanglingTrailingSlash", MakingDir("dangling/"), Fails(EEXIST)},
                                      {"Dot", MakingDir("."), Fails(EEXIST)},
                                      {"DotDot", MakingDir("dir/.."), Fails(EEXIST)},
                                      {"Root", MakingDir("/"), Fails(EEXIST)},
                                      {"Empty", MakingDir(""), Fails(ENOENT)},
                                      {"InAbsent", MakingDir("absent/new"), Fails(ENOENT)},
                                      {"BelowFile", MakingDir("file/new"), Fails(ENOTDIR)},
                                      {"BelowLoop", MakingDir("loop/new"), Fails(ELOOP)},
                                      {"NoPermission", MakingDir("dir/new"), Fails(EACCES), kAlice},
                                      {"ExistingNoPermission", MakingDir("full/sub"), Fails(EEXIST), kAlice},
                                      {"BelowClosed", MakingDir("closed/new"), Fails(EACCES), kAlice},
                                      {"Owner",
                                       [] {
                                         Must(::mkdir("open/new", 0700));
                                         return Gives(Stat("open/new").st_uid);
                                       },
                                       Gives(kAliceId), kAlice},
                                  });

std::function<Outcome()> Removing(const char* path) {
  return [=] { return Did(::rmdir(path)); };
}

BATON_PARITY_TABLE(RemoveDirectory, {
                                        {"Empty", Removing("dir"), kOk},
                                        {"TrailingSlash", Removing("dir/"), kOk},
                                        {"Full", Removing("full"), Fails(ENOTEMPTY)},
                                        {"File", Removing("file"), Fails(ENOTDIR)},
                                        {"Link", Removing("dirlink"), Fails(ENOTDIR)},
                                        {"LinkTrailingSlash", Removing("dirlink/"), Fails(ENOTDIR)},
                                        {"Absent", Removing("absent"), Fails(ENOENT)},
                                        {"NoName", Removing(""), Fails(ENOENT)},
                                        {"Dot", Removing("dir/."), Fails(EINVAL)},
                                        {"DotDot", Removing("full/sub/.."), Fails(ENOTEMPTY)},
                                        {"BelowFile", Removing("file/x"), Fails(ENOTDIR)},
                                        {"NoPermission", Removing("full/sub"), Fails(EACCES), kAlice},
                                        {"BelowClosed", Removing("closed/file"), Fails(EACCES), kAlice},
                                        {"StickyOwn", Removing("sticky/alicesdir"), kOk, kAlice},
                                        {"StickyOfAnother", Removing("sticky/alicesdir"), Fails(EPERM), kBob},
                                        {"WorkingDirectory",
                                         [] {
                                           Must(::chdir("dir"));
                                           return Did(::rmdir("../dir"));
                                         },
                                         kOk},
                                    });

std::function<Outcome()> MakingNode(const char* path, mode_t mode, dev_t device = 0) {
  return [=] { return ::mknod(path, mode, device) == 0 ? Gives(Lstat(path).st_mode) : Fails(errno); };
}

BATON_PARITY_TABLE(
    MakeNode,
    {
        {"Fifo", MakingNode("new", S_IFIFO | 0666), Gives(S_IFIFO | 0644)},
        {"Socket", MakingNode("new", S_IFSOCK | 0666), Gives(S_IFSOCK | 0644)},
        {"File", MakingNode("new", S_IFREG | 0666), Gives(S_IFREG | 0644)},
        {"FileByDefault", MakingNode("new", 0600), Gives(S_IFREG | 0600)},
        {"Character", MakingNode("new", S_IFCHR | 0600, makedev(1, 3)), Gives(S_IFCHR | 0600), kRoot},
        {"Block", MakingNode("new", S_IFBLK | 0600, makedev(7, 99)), Gives(S_IFBLK | 0600), kRoot},
        {"DeviceNumber",
         [] {
           Must(::mknod("new", S_IFCHR | 0600, makedev(300, 70000)));
           return Gives(Stat("new").st_rdev == makedev(300, 70000));
         },
         Gives(1), kRoot},
        {"DeviceWorks",
         [] {
           Must(::mknod("new", S_IFCHR | 0600, makedev(1, 5)));
           return Gives(At(Open("new", O_RDONLY), 0, 4) == std::string(4, '\0'));
         },
         Gives(1), kRoot},
        {"CharacterNotRoot", MakingNode("open/new", S_IFCHR | 0600, makedev(1, 3)), Fails(EPERM), kAlice},
        {"BlockNotRoot", MakingNode("open/new", S_IFBLK | 0600, makedev(7, 99)), Fails(EPERM), kAlice},
        {"FifoNotRoot", MakingNode("open/new", S_IFIFO | 0600), Gives(S_IFIFO | 0600), kAlice},
        {"SocketNotRoot", MakingNode("open/new", S_IFSOCK | 0600), Gives(S_IFSOCK | 0600), kAlice},
        {"Existing", MakingNode("file", S_IFIFO | 0600), Fails(EEXIST)},
        {"Directory", MakingNode("new", S_IFDIR | 0700), Fails(EPERM)},
        {"LinkType", MakingNode("new", S_IFLNK | 0700), Fails(EINVAL)},
        {"TrailingSlash", MakingNode("new/", S_IFIFO | 0600), Fails(ENOENT)},
        {"NoPermission", MakingNode("dir/new", S_IFIFO | 0600), Fails(EACCES), kAlice},
        {"BelowFile", MakingNode("file/new", S_IFIFO | 0600), Fails(ENOTDIR)},
        {"ExistingDangling", MakingNode("dangling", S_IFIFO | 0600), Fails(EEXIST)},
        {"OpenSocket",
         [] {
           Must(::mknod("new", S_IFSOCK | 0600, 0));
           return TryOpen("new", O_RDWR);
         },
         Fails(ENXIO)},
    });

TEST_F(Parity, BoundSocketAcceptsConnections) {
  sockaddr_un address{AF_UNIX, "socket"};
  const Fd listener(Must(::socket(AF_UNIX, SOCK_STREAM, 0))), client(Must(::socket(AF_UNIX, SOCK_STREAM, 0)));
  ASSERT_EQ(Did(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address)), kOk);
  EXPECT_TRUE(S_ISSOCK(Stat("socket").st_mode));
  EXPECT_EQ(Did(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address)),
            Fails(ECONNREFUSED));
  Must(::listen(listener, 1));
  EXPECT_EQ(Did(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address)), kOk);
  const Fd second(Must(::socket(AF_UNIX, SOCK_STREAM, 0)));
  EXPECT_EQ(Did(::bind(second, reinterpret_cast<sockaddr*>(&address), sizeof address)), Fails(EADDRINUSE));
}

}  // namespace
}  // namespace baton::parity
