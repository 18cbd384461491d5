// read, write and their relatives; lseek without holes; O_APPEND; what a write does to times and set-id bits.
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

// An address that is not mapped, which the compiler does not know.
char* BadAddress() {
  volatile uintptr_t address = 1;
  return reinterpret_cast<char*>(address);
}

Outcome ReadAt(const char* path, int flags, size_t size, off_t offset) {
  char buffer[64];
  return Did(::pread(Open(path, flags), buffer, size, offset));
}

BATON_PARITY_TABLE(
    Read,
    {
        {"All", [] { return ReadAt("file", O_RDONLY, 64, 0); }, Gives(10)},
        {"Part", [] { return ReadAt("file", O_RDONLY, 4, 0); }, Gives(4)},
        {"Nothing", [] { return ReadAt("file", O_RDONLY, 0, 0); }, Gives(0)},
        {"OverTheEnd", [] { return ReadAt("file", O_RDONLY, 64, 7); }, Gives(3)},
        {"AtTheEnd", [] { return ReadAt("file", O_RDONLY, 64, 10); }, Gives(0)},
        {"BeyondTheEnd", [] { return ReadAt("file", O_RDONLY, 64, 1L << 40); }, Gives(0)},
        {"NegativeOffset", [] { return ReadAt("file", O_RDONLY, 4, -1); }, Fails(EINVAL)},
        {"LargestOffset", [] { return ReadAt("file", O_RDONLY, 1, LONG_MAX); }, Fails(EINVAL)},
        {"OpenForWriting", [] { return ReadAt("file", O_WRONLY, 4, 0); }, Fails(EBADF)},
        {"Directory", [] { return ReadAt("dir", O_RDONLY, 4, 0); }, Fails(EISDIR)},
        {"FifoAtOffset", [] { return ReadAt("fifo", O_RDWR, 4, 0); }, Fails(ESPIPE)},
        {"EmptyFifo",
         [] {
           char byte;
           return Did(::read(Open("fifo", O_RDWR | O_NONBLOCK), &byte, 1));
         },
         Fails(EAGAIN)},
        {"BadAddress", [] { return Did(::read(Open("file", O_RDONLY), BadAddress(), 4)); }, Fails(EFAULT)},
        {"BadDescriptor",
         [] {
           char byte;
           return Did(::read(9999, &byte, 1));
         },
         Fails(EBADF)},
        {"TooManyParts",
         [] {
           const std::vector<iovec> parts(IOV_MAX + 1);
           return Did(::readv(Open("file", O_RDONLY), parts.data(), IOV_MAX + 1));
         },
         Fails(EINVAL)},
        {"Vector",
         [] {
           char a[3], b[4], c[9];
           iovec parts[] = {{a, 3}, {b, 4}, {c, 9}};
           return Did(::readv(Open("file", O_RDONLY), parts, 3));
         },
         Gives(10)},
        {"VectorAtOffset",
         [] {
           char a[3], b[4];
           iovec parts[] = {{a, 3}, {b, 4}};
           return Did(::preadv(Open("file", O_RDONLY), parts, 2, 5));
         },
         Gives(5)},
        {"UnalignedDirect", [] { return ReadAt("file", O_RDONLY | O_DIRECT, 0, 0); }, Gives(0)},
    });

Outcome WriteAt(const char* path, int flags, size_t size, off_t offset) {
  const std::string data(size, 'x');
  return Did(::pwrite(Open(path, flags), data.data(), size, offset));
}

// The content of `file` after the write.
std::function<Outcome()> SizeAfterWrite(int flags, size_t size, off_t offset) {
  return [=] {
    const Outcome outcome = WriteAt("file", flags, size, offset);
    return outcome.kind == Outcome::kValue ? Gives(Stat("file").st_size) : outcome;
  };
}

BATON_PARITY_TABLE(
    Write,
    {
        {"Over", SizeAfterWrite(O_WRONLY, 4, 0), Gives(10)},
        {"OverTheEnd", SizeAfterWrite(O_WRONLY, 4, 8), Gives(12)},
        {"BeyondTheEnd", SizeAfterWrite(O_WRONLY, 4, 10000), Gives(10004)},
        {"FarBeyondTheEnd", SizeAfterWrite(O_WRONLY, 1, 5L << 30), Gives((5L << 30) + 1)},
        {"NothingBeyondTheEnd", SizeAfterWrite(O_WRONLY, 0, 10000), Gives(10)},
        {"Append", SizeAfterWrite(O_WRONLY | O_APPEND, 4, 0), Gives(14)},
        {"Large", SizeAfterWrite(O_WRONLY, 3'000'001, 5), Gives(3'000'006)},
        {"Sync", SizeAfterWrite(O_WRONLY | O_SYNC, 4, 8), Gives(12)},
        {"DataSync", SizeAfterWrite(O_WRONLY | O_DSYNC, 4, 8), Gives(12)},
        {"NegativeOffset", [] { return WriteAt("file", O_WRONLY, 4, -1); }, Fails(EINVAL)},
        {"LargestOffset", [] { return WriteAt("file", O_WRONLY, 1, LONG_MAX); }, Fails(EINVAL)},
        {"OpenForReading", [] { return WriteAt("file", O_RDONLY, 4, 0); }, Fails(EBADF)},
        {"Fifo", [] { return Did(::write(Open("fifo", O_RDWR), "abc", 3)); }, Gives(3)},
        {"FifoAtOffset", [] { return WriteAt("fifo", O_RDWR, 4, 0); }, Fails(ESPIPE)},
        {"BadAddress", [] { return Did(::write(Open("file", O_WRONLY), BadAddress(), 4)); }, Fails(EFAULT)},
        {"PartlyBadAddress",
         [] {
           char a[3] = {};
           iovec parts[] = {{a, 3}, {BadAddress(), 4}};
           return Did(::writev(Open("file", O_WRONLY), parts, 2));
         },
         Gives(3)},
        {"PermissionIsThatOfTheOpen",
         [] {
           const Fd fd = Open("file", O_WRONLY);
           Must(::chmod("file", 0));
           return Did(::write(fd, "x", 1));
         },
         Gives(1)},
        {"PermissionStaysWithUser",
         [] {
           const Fd fd = Open("alices", O_WRONLY);
           Must(::chmod("alices", 0));
           return Did(::write(fd, "x", 1));
         },
         Gives(1), kAlice},
        {"OverTheFileSizeLimit",
         [] {
           ::signal(SIGXFSZ, SIG_IGN);
           const rlimit limit{100, 100};
           Must(::setrlimit(RLIMIT_FSIZE, &limit));
           return WriteAt("file", O_WRONLY, 4, 100);
         },
         Fails(EFBIG)},
        {"UpToTheFileSizeLimit",
         [] {
           ::signal(SIGXFSZ, SIG_IGN);
           const rlimit limit{100, 100};
           Must(::setrlimit(RLIMIT_FSIZE, &limit));
           return WriteAt("file", O_WRONLY, 14, 90);
         },
         Gives(10)},
        {"FileSizeLimitKills",
         [] {
           const rlimit limit{100, 100}, none{0, 0};
           Must(::setrlimit(RLIMIT_CORE, &none));
           Must(::setrlimit(RLIMIT_FSIZE, &limit));
           return WriteAt("file", O_WRONLY, 4, 100);
         },
         Dies(SIGXFSZ)},
    });

struct Bits {
  mode_t before, after;
};

class WriteClears : public RootParity, public testing::WithParamInterface<Bits> {};

TEST_P(WriteClears, SetIdBits) {
  const auto [before, after] = GetParam();
  Make("bits", "", before);
  EXPECT_EQ(As(kAlice,
               [] {
                 const Fd fd = Open("bits", O_WRONLY);
                 Must(::write(fd, "x", 1));
                 return Gives(Fstat(fd).st_mode & 07777);
               }),
            Gives(after));
  EXPECT_EQ(Mode("bits"), after);
}

std::string OctalName(const testing::TestParamInfo<Bits>& row) {
  char name[8];
  snprintf(name, sizeof name, "%04o", row.param.before);
  return name;
}

INSTANTIATE_TEST_SUITE_P(Modes, WriteClears,
                         testing::Values(Bits{04777, 0777}, Bits{02777, 0777}, Bits{06777, 0777},
                                         Bits{02767, 0767}, Bits{01777, 01777}, Bits{04666, 0666}),
                         OctalName);

class Io : public Parity {};
class IoOfRoot : public RootParity {};

TEST_F(IoOfRoot, RootsWriteKeepsSetIdBits) {
  Make("bits", "", 06755);
  Must(::write(Open("bits", O_WRONLY), "x", 1));
  EXPECT_EQ(Mode("bits"), 06755u);
}

TEST_F(Io, SequentialOffsets) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(::lseek(fd, 3, SEEK_SET), 3);
  EXPECT_EQ(::write(fd, "abc", 3), 3);
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 6);
  EXPECT_EQ(Rest(fd), "6789");
  EXPECT_EQ(::lseek(fd, -2, SEEK_END), 8);
  EXPECT_EQ(Rest(fd), "89");
  EXPECT_EQ(::pwrite(fd, "X", 1, 0), 1);
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 10);
  EXPECT_EQ(Content("file"), "X12abc6789");
}

TEST_F(Io, OffsetIsSharedWithDuplicatesAndChildren) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDONLY), copy(::dup(fd)), own = Open("file", O_RDONLY);
  Must(::lseek(fd, 4, SEEK_SET));
  EXPECT_EQ(::lseek(copy, 0, SEEK_CUR), 4);
  EXPECT_EQ(::lseek(own, 0, SEEK_CUR), 0);
  EXPECT_EQ(Apart([&] { return Did(::lseek(fd, 2, SEEK_CUR)); }), Gives(6));
  EXPECT_EQ(Rest(copy), "6789");
}

TEST_F(Io, WriteVectorAndItsFlags) {
  Make("file");
  const Fd fd = Open("file", O_RDWR);
  char a[] = "ab", b[] = "cde";
  const iovec parts[] = {{a, 2}, {b, 3}};
  EXPECT_EQ(::writev(fd, parts, 2), 5);
  EXPECT_EQ(::pwritev(fd, parts, 2, 10), 5);
  EXPECT_EQ(::pwritev2(fd, parts, 2, 20, RWF_DSYNC), 5);
  EXPECT_EQ(::pwritev2(fd, parts, 2, 0, RWF_APPEND), 5);
  EXPECT_EQ(::pwritev2(fd, parts, 1, -1, 0), 2);
  EXPECT_EQ(Content("file"), std::string("abcdeab\0\0\0abcde\0\0\0\0\0abcdeabcde", 30));
}

TEST_F(Io, UnknownWriteFlag) {
  Make("file");
  char byte = 'x';
  const iovec part{&byte, 1};
  EXPECT_EQ(Did(::pwritev2(Open("file", O_WRONLY), &part, 1, 0, 0x40000000)), Fails(EOPNOTSUPP));
}

TEST_F(Io, AppendIgnoresTheOffsetAndMovesIt) {
  Make("file", "0123");
  const Fd fd = Open("file", O_RDWR | O_APPEND);
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 0);
  EXPECT_EQ(::write(fd, "ab", 2), 2);
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 6);
  EXPECT_EQ(::pwrite(fd, "cd", 2, 0), 2);
  EXPECT_EQ(Content("file"), "0123abcd");
}

TEST_F(Io, AppendSetAndResetOnAnOpen) {
  Make("file", "0123");
  const Fd fd = Open("file", O_RDWR);
  Must(::fcntl(fd, F_SETFL, O_APPEND));
  Must(::write(fd, "ab", 2));
  Must(::fcntl(fd, F_SETFL, 0));
  Must(::pwrite(fd, "X", 1, 0));
  EXPECT_EQ(Content("file"), "X123ab");
}

TEST_F(Io, AppendFromTwoProcessesLosesNothing) {
  Make("file");
  const Fd mine = Open("file", O_WRONLY | O_APPEND);
  EXPECT_EQ(Apart([] {
              const Fd fd = Open("file", O_WRONLY | O_APPEND);
              for (int i = 0; i < 50; ++i) {
                Must(::write(fd, "theirs\n", 7));
              }
              return kOk;
            }),
            kOk);
  for (int i = 0; i < 50; ++i) {
    Must(::write(mine, "mine..\n", 7));
  }
  EXPECT_EQ(Stat("file").st_size, 700);
}

TEST_F(Io, ReaderSeesAnotherOpensWriteAtOnce) {
  Make("file", "old");
  const Fd reader = Open("file", O_RDONLY);
  EXPECT_EQ(At(reader, 0, 9), "old");
  Must(::pwrite(Open("file", O_WRONLY), "new text", 8, 0));
  EXPECT_EQ(At(reader, 0, 9), "new text");
}

TEST_F(Io, DirectWriteAndBufferedRead) {
  Make("file");
  const Fd fd = Open("file", O_RDWR | O_DIRECT);
  void* block = nullptr;
  ASSERT_EQ(::posix_memalign(&block, 4096, 8192), 0);
  std::fill_n(static_cast<char*>(block), 8192, 'd');
  EXPECT_EQ(::pwrite(fd, block, 8192, 4096), 8192);
  EXPECT_EQ(Content("file"), std::string(4096, '\0') + std::string(8192, 'd'));
  EXPECT_EQ(::pread(fd, block, 8192, 8192), 4096);
  ::free(block);
}

TEST_F(Io, WriteMovesModificationAndChangeTime) {
  Make("file", "x");
  const timespec old[2] = {{100, 0}, {200, 0}};
  Must(::utimensat(AT_FDCWD, "file", old, 0));
  const timespec changed = Stat("file").st_ctim;
  Must(::write(Open("file", O_WRONLY), "y", 1));
  const struct stat now = Stat("file");
  EXPECT_EQ(now.st_atim.tv_sec, 100);
  EXPECT_GT(now.st_mtim.tv_sec, 1'000'000'000);
  EXPECT_GE(std::pair(now.st_ctim.tv_sec, now.st_ctim.tv_nsec), std::pair(changed.tv_sec, changed.tv_nsec));
}

TEST_F(Io, EmptyWriteMovesNoTime) {
  Make("file", "x");
  const timespec old[2] = {{100, 0}, {200, 0}};
  Must(::utimensat(AT_FDCWD, "file", old, 0));
  EXPECT_EQ(::write(Open("file", O_WRONLY), "", 0), 0);
  EXPECT_EQ(Stat("file").st_mtim.tv_sec, 200);
}

TEST_F(Io, SendFileFromAndToAFile) {
  Make("from", "0123456789");
  Make("to");
  const Fd from = Open("from", O_RDONLY), to = Open("to", O_WRONLY);
  off_t offset = 2;
  EXPECT_EQ(::sendfile(to, from, &offset, 5), 5);
  EXPECT_EQ(offset, 7);
  EXPECT_EQ(::sendfile(to, from, nullptr, 100), 10);
  EXPECT_EQ(Content("to"), "234560123456789");
}

TEST_F(Io, SendFileIntoAppend) {
  Make("from", "0123456789");
  Make("to");
  EXPECT_EQ(Did(::sendfile(Open("to", O_WRONLY | O_APPEND), Open("from", O_RDONLY), nullptr, 5)),
            Fails(EINVAL));
}

TEST_F(Io, SpliceThroughAPipe) {
  Make("from", "0123456789");
  Make("to");
  int ends[2];
  Must(::pipe(ends));
  const Fd out(ends[0]), in(ends[1]);
  loff_t offset = 3;
  EXPECT_EQ(::splice(Open("from", O_RDONLY), &offset, in, nullptr, 100, 0), 7);
  EXPECT_EQ(::splice(out, nullptr, Open("to", O_WRONLY), nullptr, 7, 0), 7);
  EXPECT_EQ(Content("to"), "3456789");
}

TEST_F(Io, PollOnARegularFileIsAlwaysReady) {
  Make("file");
  const Fd fd = Open("file", O_RDWR);
  pollfd wish{fd, POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&wish, 1, 0), 1);
  EXPECT_EQ(wish.revents, POLLIN | POLLOUT);
}

TEST_F(Io, UnreadBytesOfARegularFile) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDONLY);
  Must(::lseek(fd, 4, SEEK_SET));
  int left = 0;
  EXPECT_EQ(Did(::ioctl(fd, FIONREAD, &left)), kOk);
  EXPECT_EQ(left, 6);
}

TEST_F(Io, UnknownIoctl) {
  Make("file");
  int value = 0;
  EXPECT_EQ(Did(::ioctl(Open("file", O_RDWR), TIOCGWINSZ, &value)), Fails(ENOTTY));
  EXPECT_EQ(Did(::ioctl(Open(".", O_RDONLY), TIOCGWINSZ, &value)), Fails(ENOTTY));
  EXPECT_EQ(::isatty(Open("file", O_RDWR)), 0);
}

TEST_F(Io, EventsOfARegularFileCannotBeWaitedFor) {
  Make("file");
  const Fd fd = Open("file", O_RDWR), events(::epoll_create1(0));
  epoll_event wish{EPOLLIN, {}};
  EXPECT_EQ(Did(::epoll_ctl(events, EPOLL_CTL_ADD, fd, &wish)), Fails(EPERM));
}

TEST_F(Io, CloneOfAFile) {
  Make("from", "text");
  Make("to");
  EXPECT_EQ(Did(::ioctl(Open("to", O_RDWR), FICLONE, int{Open("from", O_RDONLY)})), Fails(EOPNOTSUPP));
}

TEST_F(Io, FlagsOfAnInode) {
  Make("file");
  int flags = 0;
  EXPECT_EQ(Did(::ioctl(Open("file", O_RDONLY), FS_IOC_GETFLAGS, &flags)), kOk);
}

TEST_F(Io, Advice) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
  EXPECT_EQ(::posix_fadvise(fd, 0, 0, 99), EINVAL);
  EXPECT_EQ(Did(::readahead(fd, 0, 10)), kOk);
}

TEST_F(Io, CloseTwice) {
  Make("file");
  const int fd = Must(::open("file", O_RDONLY));
  EXPECT_EQ(Did(::close(fd)), kOk);
  EXPECT_EQ(Did(::close(fd)), Fails(EBADF));
}

BATON_PARITY_TABLE(
    Sync, {
              {"File", [] { return Did(::fsync(Open("file", O_RDWR))); }, kOk},
              {"FileOpenForReading", [] { return Did(::fsync(Open("file", O_RDONLY))); }, kOk},
              {"Data", [] { return Did(::fdatasync(Open("file", O_RDWR))); }, kOk},
              {"Directory", [] { return Did(::fsync(Open("dir", O_RDONLY))); }, kOk},
              {"DirectoryData", [] { return Did(::fdatasync(Open("dir", O_RDONLY))); }, kOk},
              {"PathOnly", [] { return Did(::fsync(Open("file", O_PATH))); }, Fails(EBADF)},
              {"Fifo", [] { return Did(::fsync(Open("fifo", O_RDWR))); }, Fails(EINVAL)},
              {"BadDescriptor", [] { return Did(::fsync(9999)); }, Fails(EBADF)},
              {"FileSystem", [] { return Did(::syncfs(Open("file", O_RDONLY))); }, kOk},
              {"Range",
               [] { return Did(::sync_file_range(Open("file", O_RDWR), 0, 0, SYNC_FILE_RANGE_WRITE)); }, kOk},
              {"RangeWithUnknownFlag", [] { return Did(::sync_file_range(Open("file", O_RDWR), 0, 0, 64)); },
               Fails(EINVAL)},
              {"Removed",
               [] {
                 const Fd fd = Open("file", O_RDWR);
                 Must(::unlink("file"));
                 return Did(::fsync(fd));
               },
               kOk},
          });

BATON_PARITY_TABLE(
    Seek,
    {
        {"Set", [] { return Did(::lseek(Open("file", O_RDONLY), 5, SEEK_SET)); }, Gives(5)},
        {"BeyondTheEnd", [] { return Did(::lseek(Open("file", O_RDONLY), 1L << 40, SEEK_SET)); },
         Gives(1L << 40)},
        {"End", [] { return Did(::lseek(Open("file", O_RDONLY), 0, SEEK_END)); }, Gives(10)},
        {"BeforeTheStart", [] { return Did(::lseek(Open("file", O_RDONLY), -11, SEEK_END)); }, Fails(EINVAL)},
        {"Negative", [] { return Did(::lseek(Open("file", O_RDONLY), -1, SEEK_SET)); }, Fails(EINVAL)},
        {"Overflow",
         [] {
           const Fd fd = Open("file", O_RDONLY);
           Must(::lseek(fd, 1, SEEK_SET));
           return Did(::lseek(fd, LONG_MAX, SEEK_CUR));
         },
         Fails(EINVAL)},
        {"UnknownWhence", [] { return Did(::lseek(Open("file", O_RDONLY), 0, 77)); }, Fails(EINVAL)},
        {"Fifo", [] { return Did(::lseek(Open("fifo", O_RDWR), 0, SEEK_SET)); }, Fails(ESPIPE)},
        {"PathOnly", [] { return Did(::lseek(Open("file", O_PATH), 0, SEEK_SET)); }, Fails(EBADF)},
        {"EndOfAGrownFile",
         [] {
           const Fd fd = Open("file", O_RDONLY);
           Must(::truncate("file", 12345));
           return Did(::lseek(fd, 0, SEEK_END));
         },
         Gives(12345)},
    });

}  // namespace
}  // namespace baton::parity
