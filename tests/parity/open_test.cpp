// open, openat, creat: which flags on which kind of file by whom.
#include <fcntl.h>
#include <sys/syscall.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

// Opens `path` and tells the errno.
std::function<Outcome()> Opening(const char* path, int flags, mode_t mode = 0644) {
  return [=] { return TryOpen(path, flags, mode); };
}

// Opens `path`; the size of the file afterwards.
std::function<Outcome()> SizeAfter(const char* path, int flags, mode_t mode = 0644) {
  return [=] {
    const int fd = ::open(path, flags, mode);
    return fd < 0 ? Fails(errno) : Gives(Fstat(fd).st_size);
  };
}

// Opens a new file; its permission bits.
std::function<Outcome()> ModeAfter(const char* path, int flags, mode_t mode, mode_t mask) {
  return [=] {
    ::umask(mask);
    const int fd = ::open(path, flags, mode);
    return fd < 0 ? Fails(errno) : Gives(Fstat(fd).st_mode & 07777);
  };
}

BATON_PARITY_TABLE(
    OpenFile,
    {
        {"ForReading", SizeAfter("file", O_RDONLY), Gives(10)},
        {"ForWriting", SizeAfter("file", O_WRONLY), Gives(10)},
        {"ForBoth", SizeAfter("file", O_RDWR), Gives(10)},
        {"AccessModeThree", Opening("file", O_ACCMODE), kOk},
        {"AccessModeThreeTruncated", SizeAfter("file", O_ACCMODE | O_TRUNC), Gives(0)},
        {"Truncated", SizeAfter("file", O_WRONLY | O_TRUNC), Gives(0)},
        {"TruncatedForBoth", SizeAfter("file", O_RDWR | O_TRUNC), Gives(0)},
        {"TruncatedForReading", SizeAfter("file", O_RDONLY | O_TRUNC), Gives(0)},
        {"Append", SizeAfter("file", O_WRONLY | O_APPEND), Gives(10)},
        {"AppendTruncated", SizeAfter("file", O_WRONLY | O_APPEND | O_TRUNC), Gives(0)},
        {"CreateExisting", SizeAfter("file", O_WRONLY | O_CREAT), Gives(10)},
        {"CreateExistingForReading", SizeAfter("file", O_RDONLY | O_CREAT), Gives(10)},
        {"CreateExistingTruncated", SizeAfter("file", O_WRONLY | O_CREAT | O_TRUNC), Gives(0)},
        {"CreateExclusiveExisting", Opening("file", O_WRONLY | O_CREAT | O_EXCL), Fails(EEXIST)},
        {"ExclusiveWithoutCreate", Opening("file", O_WRONLY | O_EXCL), kOk},
        {"Directory", Opening("file", O_RDONLY | O_DIRECTORY), Fails(ENOTDIR)},
        {"NoFollow", Opening("file", O_RDONLY | O_NOFOLLOW), kOk},
        {"Direct", Opening("file", O_RDWR | O_DIRECT), kOk},
        {"Sync", Opening("file", O_RDWR | O_SYNC), kOk},
        {"DataSync", Opening("file", O_RDWR | O_DSYNC), kOk},
        {"NonBlocking", Opening("file", O_RDWR | O_NONBLOCK), kOk},
        {"LargeFile", Opening("file", O_RDWR | O_LARGEFILE), kOk},
        {"NoAccessTime", Opening("file", O_RDONLY | O_NOATIME), kOk},
        {"NoAccessTimeOfAnother", Opening("file", O_RDONLY | O_NOATIME), Fails(EPERM), kAlice},
        {"NoAccessTimeOfOwn", Opening("alices", O_RDONLY | O_NOATIME), kOk, kAlice},
        {"PathOnly", Opening("file", O_PATH), kOk},
        {"PathOnlyDirectory", Opening("file", O_PATH | O_DIRECTORY), Fails(ENOTDIR)},
        {"PathOnlyOfSecret", Opening("secret", O_PATH), kOk, kAlice},
        {"PathOnlyDoesNotTruncate",
         [] { return TryOpen("file", O_PATH | O_TRUNC) == kOk ? Gives(Stat("file").st_size) : Fails(errno); },
         Gives(10)},
        {"TrailingSlash", Opening("file/", O_RDONLY), Fails(ENOTDIR)},
        {"TrailingDot", Opening("file/.", O_RDONLY), Fails(ENOTDIR)},
        {"BelowFile", Opening("file/name", O_RDONLY), Fails(ENOTDIR)},
        {"CreateBelowFile", Opening("file/name", O_WRONLY | O_CREAT), Fails(ENOTDIR)},
    });

BATON_PARITY_TABLE(OpenAbsent,
                   {
                       {"ForReading", Opening("absent", O_RDONLY), Fails(ENOENT)},
                       {"ForWriting", Opening("absent", O_WRONLY), Fails(ENOENT)},
                       {"Truncated", Opening("absent", O_WRONLY | O_TRUNC), Fails(ENOENT)},
                       {"PathOnly", Opening("absent", O_PATH), Fails(ENOENT)},
                       {"PathOnlyCreate", Opening("absent", O_PATH | O_CREAT), Fails(ENOENT)},
                       {"Directory", Opening("absent", O_RDONLY | O_DIRECTORY), Fails(ENOENT)},
                       {"CreateForReading", SizeAfter("absent", O_RDONLY | O_CREAT), Gives(0)},
                       {"CreateForWriting", SizeAfter("absent", O_WRONLY | O_CREAT), Gives(0)},
                       {"CreateForBoth", SizeAfter("absent", O_RDWR | O_CREAT), Gives(0)},
                       {"CreateExclusive", SizeAfter("absent", O_RDWR | O_CREAT | O_EXCL), Gives(0)},
                       {"CreateTruncated", SizeAfter("absent", O_RDWR | O_CREAT | O_TRUNC), Gives(0)},
                       {"CreateAppend", SizeAfter("absent", O_WRONLY | O_CREAT | O_APPEND), Gives(0)},
                       {"CreateDirect", SizeAfter("absent", O_RDWR | O_CREAT | O_DIRECT), Gives(0)},
                       {"CreateNoFollow", SizeAfter("absent", O_RDWR | O_CREAT | O_NOFOLLOW), Gives(0)},
                       {"CreateTrailingSlash", Opening("absent/", O_WRONLY | O_CREAT), Fails(EISDIR)},
                       {"TrailingSlash", Opening("absent/", O_RDONLY), Fails(ENOENT)},
                       {"Empty", Opening("", O_RDONLY), Fails(ENOENT)},
                       {"CreateEmpty", Opening("", O_WRONLY | O_CREAT), Fails(ENOENT)},
                       {"BelowAbsent", Opening("absent/name", O_RDONLY), Fails(ENOENT)},
                       {"CreateBelowAbsent", Opening("absent/name", O_WRONLY | O_CREAT), Fails(ENOENT)},
                       {"ModeOfCreate", ModeAfter("absent", O_WRONLY | O_CREAT, 0666, 022), Gives(0644)},
                       {"ModeWithoutMask", ModeAfter("absent", O_WRONLY | O_CREAT, 0777, 0), Gives(0777)},
                       {"ModeWithFullMask", ModeAfter("absent", O_RDWR | O_CREAT, 0777, 0777), Gives(0)},
                       {"ModeZeroIsStillOpen", ModeAfter("absent", O_RDWR | O_CREAT, 0, 0), Gives(0)},
                       {"ModeSticky", ModeAfter("absent", O_WRONLY | O_CREAT, 01666, 022), Gives(01644)},
                       {"ModeSetId", ModeAfter("absent", O_WRONLY | O_CREAT, 06755, 022), Gives(06755)},
                   });

BATON_PARITY_TABLE(OpenDirectory,
                   {
                       {"ForReading", Opening("dir", O_RDONLY), kOk},
                       {"ForWriting", Opening("dir", O_WRONLY), Fails(EISDIR)},
                       {"ForBoth", Opening("dir", O_RDWR), Fails(EISDIR)},
                       {"Directory", Opening("dir", O_RDONLY | O_DIRECTORY), kOk},
                       {"DirectoryForWriting", Opening("dir", O_RDWR | O_DIRECTORY), Fails(EISDIR)},
                       {"Truncated", Opening("dir", O_RDONLY | O_TRUNC), Fails(EISDIR)},
                       {"Create", Opening("dir", O_RDONLY | O_CREAT), Fails(EISDIR)},
                       {"CreateExclusive", Opening("dir", O_WRONLY | O_CREAT | O_EXCL), Fails(EEXIST)},
                       {"PathOnly", Opening("dir", O_PATH), kOk},
                       {"TrailingSlash", Opening("dir/", O_RDONLY), kOk},
                       {"Dot", Opening(".", O_RDONLY), kOk},
                       {"DotDot", Opening("dir/..", O_RDONLY), kOk},
                       {"CreateDot", Opening("dir/.", O_WRONLY | O_CREAT), Fails(EISDIR)},
                       {"NoFollow", Opening("dir", O_RDONLY | O_NOFOLLOW), kOk},
                       {"Read",
                        [] {
                          char byte;
                          return Did(::read(Open("dir", O_RDONLY), &byte, 1));
                        },
                        Fails(EISDIR)},
                       {"Write", [] { return Did(::write(Open("dir", O_RDONLY), "x", 1)); }, Fails(EBADF)},
                       {"Closed", Opening("closed", O_RDONLY), Fails(EACCES), kAlice},
                       {"PathOnlyClosed", Opening("closed", O_PATH), kOk, kAlice},
                   });

BATON_PARITY_TABLE(
    OpenLink,
    {
        {"ToFile", SizeAfter("link", O_RDONLY), Gives(10)},
        {"ToDirectory", Opening("dirlink", O_RDONLY | O_DIRECTORY), kOk},
        {"ToFileAsDirectory", Opening("link", O_RDONLY | O_DIRECTORY), Fails(ENOTDIR)},
        {"NoFollow", Opening("link", O_RDONLY | O_NOFOLLOW), Fails(ELOOP)},
        {"NoFollowForWriting", Opening("link", O_WRONLY | O_NOFOLLOW), Fails(ELOOP)},
        {"NoFollowDirectory", Opening("dirlink", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), Fails(ENOTDIR)},
        {"NoFollowTrailingSlash", Opening("dirlink/", O_RDONLY | O_NOFOLLOW), kOk},
        {"NoFollowCreate", Opening("link", O_WRONLY | O_CREAT | O_NOFOLLOW), Fails(ELOOP)},
        {"PathOnlyNoFollow", [] { return Gives(S_ISLNK(Fstat(Open("link", O_PATH | O_NOFOLLOW)).st_mode)); },
         Gives(1)},
        {"Truncated", SizeAfter("link", O_WRONLY | O_TRUNC), Gives(0)},
        {"CreateExclusive", Opening("link", O_WRONLY | O_CREAT | O_EXCL), Fails(EEXIST)},
        {"Dangling", Opening("dangling", O_RDONLY), Fails(ENOENT)},
        {"DanglingCreate",
         [] {
           return TryOpen("dangling", O_WRONLY | O_CREAT) == kOk ? Gives(Exists("absent")) : Fails(errno);
         },
         Gives(1)},
        {"DanglingCreateExclusive", Opening("dangling", O_WRONLY | O_CREAT | O_EXCL), Fails(EEXIST)},
        {"DanglingNoFollow", Opening("dangling", O_RDONLY | O_NOFOLLOW), Fails(ELOOP)},
        {"Loop", Opening("loop", O_RDONLY), Fails(ELOOP)},
        {"LoopCreate", Opening("loop", O_WRONLY | O_CREAT), Fails(ELOOP)},
        {"LoopCreateExclusive", Opening("loop", O_WRONLY | O_CREAT | O_EXCL), Fails(EEXIST)},
        {"BelowLoop", Opening("loop/name", O_RDONLY), Fails(ELOOP)},
        {"BelowDangling", Opening("dangling/name", O_RDONLY), Fails(ENOENT)},
        {"BelowDirectoryLink", Opening("dirlink/name", O_WRONLY | O_CREAT), kOk},
    });

BATON_PARITY_TABLE(
    OpenPermission,
    {
        {"ReadOthers", Opening("file", O_RDONLY), kOk, kAlice},
        {"WriteOthers", Opening("file", O_WRONLY), Fails(EACCES), kAlice},
        {"TruncateOthers", Opening("file", O_RDONLY | O_TRUNC), Fails(EACCES), kAlice},
        {"ReadSecret", Opening("secret", O_RDONLY), Fails(EACCES), kAlice},
        {"WriteOwn", Opening("alices", O_RDWR), kOk, kAlice},
        {"RootWritesReadonly", Opening("readonly", O_RDWR), kOk, kRoot},
        {"RootWritesAlices", Opening("alices", O_WRONLY), kOk, kRoot},
        {"CreateInClosedDirectory", Opening("dir/name", O_WRONLY | O_CREAT), Fails(EACCES), kAlice},
        {"CreateExistingInClosedDirectory", Opening("full/file", O_RDONLY | O_CREAT), kOk, kAlice},
        {"CreateExclusiveExistingBeforePermission", Opening("full/file", O_RDWR | O_CREAT | O_EXCL),
         Fails(EEXIST), kAlice},
        {"CreateInOpenDirectory", Opening("open/name", O_RDWR | O_CREAT), kOk, kAlice},
        {"CreateUnwritable", [] { return Did(::write(Open("open/name", O_WRONLY | O_CREAT, 0), "x", 1)); },
         Gives(1), kAlice},
        {"CreateUnwritableTwice",
         [] {
           Open("open/name", O_WRONLY | O_CREAT, 0);
           return TryOpen("open/name", O_WRONLY | O_CREAT);
         },
         Fails(EACCES), kAlice},
        {"BelowClosed", Opening("closed/file", O_RDONLY), Fails(EACCES), kAlice},
        {"AbsentBelowClosed", Opening("closed/absent", O_RDONLY), Fails(EACCES), kAlice},
        {"CreatorOwns", [] { return Gives(Fstat(Open("open/name", O_WRONLY | O_CREAT)).st_uid); },
         Gives(kAliceId), kAlice},
        {"CreatorsGroup", [] { return Gives(Fstat(Open("open/name", O_WRONLY | O_CREAT)).st_gid); },
         Gives(kAliceId), kAliceInTeam},
        {"FifoNonBlockingWriterWithoutReader", Opening("fifo", O_WRONLY | O_NONBLOCK), Fails(ENXIO)},
        {"FifoNonBlockingReader", Opening("fifo", O_RDONLY | O_NONBLOCK), kOk},
        {"FifoBoth", Opening("fifo", O_RDWR), kOk},
        {"FifoCreateExisting", Opening("fifo", O_RDWR | O_CREAT), kOk},
        {"FifoDirectory", Opening("fifo", O_RDONLY | O_DIRECTORY), Fails(ENOTDIR)},
        {"FifoTruncate", Opening("fifo", O_RDWR | O_TRUNC), kOk},
    });

BATON_PARITY_TABLE(
    OpenTemporary,
    {
        {"ForBoth", Opening("dir", O_TMPFILE | O_RDWR), kOk},
        {"ForWriting", Opening("dir", O_TMPFILE | O_WRONLY), kOk},
        {"ForReading", Opening("dir", O_TMPFILE | O_RDONLY), Fails(EINVAL)},
        {"OnFile", Opening("file", O_TMPFILE | O_RDWR), Fails(ENOTDIR)},
        {"OnAbsent", Opening("absent", O_TMPFILE | O_RDWR), Fails(ENOENT)},
        {"WithCreate", Opening("dir", O_TMPFILE | O_RDWR | O_CREAT), Fails(EINVAL)},
        {"NoPermission", Opening("dir", O_TMPFILE | O_RDWR), Fails(EACCES), kAlice},
        {"Links", [] { return Gives(Fstat(Open("dir", O_TMPFILE | O_RDWR)).st_nlink); }, Gives(0)},
        {"LeavesDirectoryEmpty",
         [] {
           const Fd fd = Open("dir", O_TMPFILE | O_RDWR);
           return Gives(Names("dir").size());
         },
         Gives(0)},
        {"Linked",
         [] {
           const Fd fd = Open("dir", O_TMPFILE | O_RDWR);
           Must(::write(fd, "text", 4));
           const std::string path = "/proc/self/fd/" + std::to_string(fd);
           Must(::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "dir/name", AT_SYMLINK_FOLLOW));
           return Gives(Stat("dir/name").st_size);
         },
         Gives(4)},
        {"ExclusiveIsNeverLinked",
         [] {
           const Fd fd = Open("dir", O_TMPFILE | O_RDWR | O_EXCL);
           const std::string path = "/proc/self/fd/" + std::to_string(fd);
           return Did(::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "dir/name", AT_SYMLINK_FOLLOW));
         },
         Fails(ENOENT)},
    });

Outcome OpenAt(int directory, const char* path, int flags) {
  const int fd = ::openat(directory, path, flags, 0644);
  return fd < 0 ? Fails(errno) : Did(::close(fd));
}

BATON_PARITY_TABLE(
    OpenRelative,
    {
        {"Relative", [] { return OpenAt(Open("full", O_RDONLY), "file", O_RDONLY); }, kOk},
        {"RelativeToPathOnly", [] { return OpenAt(Open("full", O_PATH), "file", O_RDONLY); }, kOk},
        {"RelativeToFile", [] { return OpenAt(Open("file", O_RDONLY), "file", O_RDONLY); }, Fails(ENOTDIR)},
        {"BadDescriptor", [] { return OpenAt(9999, "file", O_RDONLY); }, Fails(EBADF)},
        {"AbsoluteIgnoresDescriptor", [] { return OpenAt(9999, "/", O_RDONLY); }, kOk},
        {"CreateRelative", [] { return OpenAt(Open("dir", O_RDONLY), "name", O_WRONLY | O_CREAT); }, kOk},
        {"Creat",
         [] {
           return Did(::close(::creat("file", 0600))) == kOk ? Gives(Stat("file").st_size) : Fails(errno);
         },
         Gives(0)},
        {"CreatKeepsMode",
         [] {
           ::close(::creat("file", 0600));
           return Gives(Mode("file"));
         },
         Gives(0644)},
        {"CreatDirectory", [] { return Did(::creat("dir", 0600)); }, Fails(EISDIR)},
        {"BadAddress", [] { return Did(::syscall(SYS_openat, AT_FDCWD, 1, O_RDONLY, 0)); }, Fails(EFAULT)},
    });

class OpenedFile : public Parity {};

TEST_F(OpenedFile, PathOnlyDescriptorNeitherReadsNorWrites) {
  Make("file", "text");
  const Fd fd = Open("file", O_PATH);
  char byte;
  EXPECT_EQ(Did(::read(fd, &byte, 1)), Fails(EBADF));
  EXPECT_EQ(Did(::write(fd, "x", 1)), Fails(EBADF));
  EXPECT_EQ(Did(::fchmod(fd, 0600)), Fails(EBADF));
  EXPECT_EQ(Did(::ftruncate(fd, 0)), Fails(EBADF));
  EXPECT_EQ(Fstat(fd).st_size, 4);
}

TEST_F(OpenedFile, FlagsOfAnOpenCanBeReadBack) {
  Make("file");
  const Fd fd = Open("file", O_RDWR | O_APPEND | O_NONBLOCK);
  EXPECT_EQ(::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND | O_NONBLOCK);
  EXPECT_EQ(Did(::fcntl(fd, F_SETFL, O_NONBLOCK)), kOk);
  EXPECT_EQ(::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_NONBLOCK);
}

}  // namespace
}  // namespace baton::parity
