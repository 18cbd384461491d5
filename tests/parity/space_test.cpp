// Sizes and space: truncate, holes, fallocate, copy_file_range, files over 4 GiB.
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

constexpr off_t kBlock = 65536;  // a multiple of any block size met in practice

std::function<Outcome()> Truncating(const char* path, off_t size) {
  return [=] { return Did(::truncate(path, size)); };
}

BATON_PARITY_TABLE(
    Truncate,
    {
        {"Shorter",
         [] {
           Must(::truncate("file", 4));
           return Gives(Content("file") == "0123");
         },
         Gives(1)},
        {"Longer",
         [] {
           Must(::truncate("file", 12));
           return Gives(Content("file") == std::string("0123456789\0\0", 12));
         },
         Gives(1)},
        {"ShorterThenLonger",
         [] {
           Must(::truncate("file", 4));
           Must(::truncate("file", 6));
           return Gives(Content("file") == std::string("0123\0\0", 6));
         },
         Gives(1)},
        {"ToNothing", Truncating("file", 0), kOk},
        {"SameSize", Truncating("file", 10), kOk},
        {"Negative", Truncating("file", -1), Fails(EINVAL)},
        {"FarBeyond",
         [] {
           Must(::truncate("file", 6L << 30));
           return Gives(Stat("file").st_size);
         },
         Gives(6L << 30)},
        {"TooFar", Truncating("file", LONG_MAX), Fails(EFBIG)},
        {"Directory", Truncating("dir", 0), Fails(EISDIR)},
        {"Absent", Truncating("absent", 0), Fails(ENOENT)},
        {"Empty", Truncating("", 0), Fails(ENOENT)},
        {"Fifo", Truncating("fifo", 0), Fails(EINVAL)},
        {"Link",
         [] {
           Must(::truncate("link", 3));
           return Gives(Stat("file").st_size);
         },
         Gives(3)},
        {"Loop", Truncating("loop", 0), Fails(ELOOP)},
        {"BelowFile", Truncating("file/x", 0), Fails(ENOTDIR)},
        {"TrailingSlash", Truncating("file/", 0), Fails(ENOTDIR)},
        {"NoPermission", Truncating("file", 0), Fails(EACCES), kAlice},
        {"SameSizeNoPermission", Truncating("file", 10), Fails(EACCES), kAlice},
        {"Own", Truncating("alices", 0), kOk, kAlice},
        {"BelowClosed", Truncating("closed/file", 0), Fails(EACCES), kAlice},
        {"DescriptorForReading", [] { return Did(::ftruncate(Open("file", O_RDONLY), 0)); }, Fails(EINVAL)},
        {"DescriptorNegative", [] { return Did(::ftruncate(Open("file", O_RDWR), -1)); }, Fails(EINVAL)},
        {"DescriptorOfDirectory", [] { return Did(::ftruncate(Open("dir", O_RDONLY), 0)); }, Fails(EINVAL)},
        {"DescriptorKeepsOffset",
         [] {
           const Fd fd = Open("file", O_RDWR);
           Must(::lseek(fd, 8, SEEK_SET));
           Must(::ftruncate(fd, 2));
           return Did(::lseek(fd, 0, SEEK_CUR));
         },
         Gives(8)},
        {"DescriptorAfterChmod",
         [] {
           const Fd fd = Open("alices", O_WRONLY);
           Must(::chmod("alices", 0));
           return Did(::ftruncate(fd, 1));
         },
         kOk, kAlice},
        {"DescriptorRemoved",
         [] {
           const Fd fd = Open("file", O_RDWR);
           Must(::unlink("file"));
           Must(::unlink("hard"));
           Must(::ftruncate(fd, 99));
           return Gives(Fstat(fd).st_size);
         },
         Gives(99)},
        {"OverTheFileSizeLimit",
         [] {
           ::signal(SIGXFSZ, SIG_IGN);
           const rlimit limit{100, 100};
           Must(::setrlimit(RLIMIT_FSIZE, &limit));
           return Did(::truncate("file", 101));
         },
         Fails(EFBIG)},
    });

class Space : public Parity {
 protected:
  // data, hole, data, hole; each of kBlock
  Fd WithHoles() {
    Fd fd = Open("holes", O_RDWR | O_CREAT);
    const std::string data(kBlock, 'd');
    Must(::pwrite(fd, data.data(), kBlock, 0));
    Must(::pwrite(fd, data.data(), kBlock, 2 * kBlock));
    Must(::ftruncate(fd, 4 * kBlock));
    Must(::fsync(fd));
    return fd;
  }
  // One full file of `blocks` times kBlock.
  Fd Full(int blocks) {
    Fd fd = Open("full", O_RDWR | O_CREAT);
    const std::string data(kBlock, 'd');
    for (int i = 0; i < blocks; ++i) {
      Must(::pwrite(fd, data.data(), kBlock, i * kBlock));
    }
    Must(::fsync(fd));
    return fd;
  }
};

TEST_F(Space, SeekData) {
  const Fd fd = WithHoles();
  EXPECT_EQ(Did(::lseek(fd, 0, SEEK_DATA)), Gives(0));
  EXPECT_EQ(Did(::lseek(fd, 5, SEEK_DATA)), Gives(5));
  EXPECT_EQ(Did(::lseek(fd, kBlock, SEEK_DATA)), Gives(2 * kBlock));
  EXPECT_EQ(Did(::lseek(fd, 0, SEEK_CUR)), Gives(2 * kBlock));
}

TEST_F(Space, SeekDataInTheLastHole) {
  const Fd fd = WithHoles();
  EXPECT_EQ(Did(::lseek(fd, 3 * kBlock, SEEK_DATA)), Fails(ENXIO));
  EXPECT_EQ(Did(::lseek(fd, 4 * kBlock, SEEK_DATA)), Fails(ENXIO));
  EXPECT_EQ(Did(::lseek(fd, -1, SEEK_DATA)), Fails(ENXIO));
}

TEST_F(Space, SeekHole) {
  const Fd fd = WithHoles();
  EXPECT_EQ(Did(::lseek(fd, 0, SEEK_HOLE)), Gives(kBlock));
  EXPECT_EQ(Did(::lseek(fd, kBlock + 7, SEEK_HOLE)), Gives(kBlock + 7));
  EXPECT_EQ(Did(::lseek(fd, 2 * kBlock, SEEK_HOLE)), Gives(3 * kBlock));
  EXPECT_EQ(Did(::lseek(fd, 4 * kBlock, SEEK_HOLE)), Fails(ENXIO));
}

TEST_F(Space, SeekHoleOfAFullFileIsItsEnd) {
  const Fd fd = Full(2);
  EXPECT_EQ(Did(::lseek(fd, 0, SEEK_HOLE)), Gives(2 * kBlock));
  EXPECT_EQ(Did(::lseek(fd, 2 * kBlock - 1, SEEK_HOLE)), Gives(2 * kBlock));
}

TEST_F(Space, SeekDataFindsWhatWasWrittenJustNow) {
  const Fd fd = Open("file", O_RDWR | O_CREAT);
  Must(::ftruncate(fd, 8 * kBlock));
  Must(::pwrite(fd, "x", 1, 5 * kBlock));
  EXPECT_EQ(Did(::lseek(fd, 0, SEEK_DATA)), Gives(5 * kBlock));
}

TEST_F(Space, SeekDataFindsWhatWasStoredJustNow) {
  const Fd fd = Open("file", O_RDWR | O_CREAT);
  Must(::ftruncate(fd, 8 * kBlock));
  char* const map =
      static_cast<char*>(::mmap(nullptr, 8 * kBlock, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  map[5 * kBlock] = 'x';
  EXPECT_EQ(Did(::lseek(fd, 0, SEEK_DATA)), Gives(5 * kBlock));
  ::munmap(map, 8 * kBlock);
}

TEST_F(Space, HolesTakeNoSpace) {
  const Fd fd = WithHoles();
  EXPECT_EQ(Fstat(fd).st_blocks, 2 * kBlock / 512);
  EXPECT_EQ(At(fd, kBlock, kBlock), std::string(kBlock, '\0'));
}

TEST_F(Space, BeyondFourGigabytes) {
  const Fd fd = Open("large", O_RDWR | O_CREAT);
  constexpr off_t kFar = (5L << 30) + 3;
  EXPECT_EQ(::pwrite(fd, "far", 3, kFar), 3);
  EXPECT_EQ(::pwrite(fd, "near", 4, 0), 4);
  EXPECT_EQ(Fstat(fd).st_size, kFar + 3);
  EXPECT_EQ(At(fd, kFar - 1, 9), std::string("\0far", 4));
  EXPECT_EQ(Did(::lseek(fd, -3, SEEK_END)), Gives(kFar));
  EXPECT_LT(Fstat(fd).st_blocks * 512, 1 << 20);
}

TEST_F(Space, TruncateBeyondFourGigabytesAndBack) {
  const Fd fd = Open("large", O_RDWR | O_CREAT);
  Must(::pwrite(fd, "x", 1, 5L << 30));
  EXPECT_EQ(Did(::ftruncate(fd, 3)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, 3);
  EXPECT_EQ(At(fd, 0, 9), std::string(3, '\0'));
}

TEST_F(Space, AllocateGrows) {
  const Fd fd = Open("file", O_RDWR | O_CREAT);
  EXPECT_EQ(Did(::fallocate(fd, 0, kBlock, kBlock)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, 2 * kBlock);
  EXPECT_EQ(Fstat(fd).st_blocks, kBlock / 512);
  EXPECT_EQ(At(fd, kBlock, kBlock), std::string(kBlock, '\0'));
}

TEST_F(Space, AllocateKeepsWhatIsThere) {
  Make("file", "text");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(Did(::fallocate(fd, 0, 0, 10)), kOk);
  EXPECT_EQ(Content("file"), std::string("text\0\0\0\0\0\0", 10));
}

TEST_F(Space, AllocateKeepingTheSize) {
  const Fd fd = Open("file", O_RDWR | O_CREAT);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, kBlock)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, 0);
  EXPECT_EQ(Fstat(fd).st_blocks, kBlock / 512);
}

TEST_F(Space, PunchHole) {
  const Fd fd = Full(3);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock, kBlock)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, 3 * kBlock);
  EXPECT_EQ(Fstat(fd).st_blocks, 2 * kBlock / 512);
  EXPECT_EQ(At(fd, kBlock - 1, kBlock + 2), "d" + std::string(kBlock, '\0') + "d");
}

TEST_F(Space, PunchHoleOfAFewBytes) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3, 4)), kOk);
  EXPECT_EQ(Content("file"), std::string("012\0\0\0\0"
                                         "789",
                                         10));
}

TEST_F(Space, PunchHoleBeyondTheEnd) {
  const Fd fd = Full(1);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10 * kBlock)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, kBlock);
  EXPECT_EQ(At(fd, 0, kBlock), std::string(kBlock, '\0'));
}

TEST_F(Space, ZeroRange) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_ZERO_RANGE, 3, 4)), kOk);
  EXPECT_EQ(Content("file"), std::string("012\0\0\0\0"
                                         "789",
                                         10));
}

TEST_F(Space, ZeroRangeGrows) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_ZERO_RANGE, 8, 4)), kOk);
  EXPECT_EQ(Content("file"), std::string("01234567\0\0\0\0", 12));
}

TEST_F(Space, ZeroRangeKeepingTheSize) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 8, 4)), kOk);
  EXPECT_EQ(Content("file"), std::string("01234567\0\0", 10));
}

BATON_PARITY_TABLE(
    Allocate,
    {
        {"ForReading", [] { return Did(::fallocate(Open("file", O_RDONLY), 0, 0, 10)); }, Fails(EBADF)},
        {"NegativeOffset", [] { return Did(::fallocate(Open("file", O_RDWR), 0, -1, 10)); }, Fails(EINVAL)},
        {"NoLength", [] { return Did(::fallocate(Open("file", O_RDWR), 0, 0, 0)); }, Fails(EINVAL)},
        {"NegativeLength", [] { return Did(::fallocate(Open("file", O_RDWR), 0, 0, -1)); }, Fails(EINVAL)},
        {"Overflow", [] { return Did(::fallocate(Open("file", O_RDWR), 0, LONG_MAX - 5, 10)); },
         Fails(EFBIG)},
        {"PunchWithoutKeepSize",
         [] { return Did(::fallocate(Open("file", O_RDWR), FALLOC_FL_PUNCH_HOLE, 0, 10)); },
         Fails(EOPNOTSUPP)},
        {"PunchAndZero",
         [] {
           return Did(::fallocate(Open("file", O_RDWR),
                                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 10));
         },
         Fails(EOPNOTSUPP)},
        {"UnknownMode", [] { return Did(::fallocate(Open("file", O_RDWR), 0x4000, 0, 10)); },
         Fails(EOPNOTSUPP)},
        {"Directory", [] { return Did(::fallocate(Open("dir", O_RDONLY), 0, 0, 10)); }, Fails(EBADF)},
        {"Fifo", [] { return Did(::fallocate(Open("fifo", O_RDWR), 0, 0, 10)); }, Fails(ESPIPE)},
        {"Posix", [] { return Gives(::posix_fallocate(Open("file", O_RDWR), 0, 20)); }, Gives(0)},
        {"CollapseUnaligned",
         [] { return Did(::fallocate(Open("file", O_RDWR), FALLOC_FL_COLLAPSE_RANGE, 1, 3)); },
         Fails(EINVAL)},
        {"InsertUnaligned",
         [] { return Did(::fallocate(Open("file", O_RDWR), FALLOC_FL_INSERT_RANGE, 1, 3)); }, Fails(EINVAL)},
        {"OverTheFileSizeLimit",
         [] {
           ::signal(SIGXFSZ, SIG_IGN);
           const rlimit limit{100, 100};
           Must(::setrlimit(RLIMIT_FSIZE, &limit));
           return Did(::fallocate(Open("file", O_RDWR), 0, 0, 101));
         },
         Fails(EFBIG)},
    });

TEST_F(Space, CollapseRange) {
  const Fd fd = Full(3);
  Must(::pwrite(fd, "X", 1, 2 * kBlock));
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, kBlock, kBlock)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, 2 * kBlock);
  EXPECT_EQ(At(fd, kBlock, 1), "X");
}

TEST_F(Space, InsertRange) {
  const Fd fd = Full(2);
  EXPECT_EQ(Did(::fallocate(fd, FALLOC_FL_INSERT_RANGE, kBlock, kBlock)), kOk);
  EXPECT_EQ(Fstat(fd).st_size, 3 * kBlock);
  EXPECT_EQ(At(fd, kBlock, 1), std::string(1, '\0'));
}

class CopyRange : public Parity {};

TEST_F(CopyRange, BetweenFilesWithOffsets) {
  Make("from", "0123456789");
  Make("to", "abcdefghij");
  const Fd from = Open("from", O_RDONLY), to = Open("to", O_WRONLY);
  loff_t in = 2, out = 5;
  EXPECT_EQ(Did(::copy_file_range(from, &in, to, &out, 3, 0)), Gives(3));
  EXPECT_EQ(in, 5);
  EXPECT_EQ(out, 8);
  EXPECT_EQ(Content("to"), "abcde234ij");
  EXPECT_EQ(::lseek(from, 0, SEEK_CUR), 0);
}

TEST_F(CopyRange, WithTheDescriptorsOffsets) {
  Make("from", "0123456789");
  Make("to");
  const Fd from = Open("from", O_RDONLY), to = Open("to", O_WRONLY);
  Must(::lseek(from, 4, SEEK_SET));
  EXPECT_EQ(Did(::copy_file_range(from, nullptr, to, nullptr, 100, 0)), Gives(6));
  EXPECT_EQ(::lseek(from, 0, SEEK_CUR), 10);
  EXPECT_EQ(::lseek(to, 0, SEEK_CUR), 6);
  EXPECT_EQ(Content("to"), "456789");
}

TEST_F(CopyRange, FromTheEnd) {
  Make("from", "0123456789");
  Make("to");
  loff_t in = 10;
  EXPECT_EQ(Did(::copy_file_range(Open("from", O_RDONLY), &in, Open("to", O_WRONLY), nullptr, 5, 0)),
            Gives(0));
}

TEST_F(CopyRange, Large) {
  const std::string data(9'000'001, 'L');
  Make("from");
  const Fd from = Open("from", O_RDWR);
  Must(::write(from, data.data(), data.size()));
  Must(::lseek(from, 0, SEEK_SET));
  Make("to");
  const Fd to = Open("to", O_RDWR);
  for (size_t done = 0; done < data.size();) {
    const long size = Must(::copy_file_range(from, nullptr, to, nullptr, data.size() - done, 0));
    ASSERT_GT(size, 0);
    done += size;
  }
  EXPECT_TRUE(Content("to") == data);
}

TEST_F(CopyRange, WithinOneFile) {
  Make("file", "0123456789");
  const Fd fd = Open("file", O_RDWR);
  loff_t in = 0, out = 5;
  EXPECT_EQ(Did(::copy_file_range(fd, &in, fd, &out, 5, 0)), Gives(5));
  EXPECT_EQ(Content("file"), "0123401234");
}

BATON_PARITY_TABLE(CopyRangeErrors,
                   {
                       {"Overlap",
                        [] {
                          const Fd fd = Open("file", O_RDWR);
                          loff_t in = 0, out = 3;
                          return Did(::copy_file_range(fd, &in, fd, &out, 5, 0));
                        },
                        Fails(EINVAL)},
                       {"Flags",
                        [] {
                          return Did(::copy_file_range(Open("file", O_RDONLY), nullptr,
                                                       Open("secret", O_RDWR), nullptr, 5, 64));
                        },
                        Fails(EINVAL)},
                       {"FromWriteOnly",
                        [] {
                          return Did(::copy_file_range(Open("file", O_WRONLY), nullptr,
                                                       Open("secret", O_RDWR), nullptr, 5, 0));
                        },
                        Fails(EBADF)},
                       {"IntoReadOnly",
                        [] {
                          return Did(::copy_file_range(Open("file", O_RDONLY), nullptr,
                                                       Open("secret", O_RDONLY), nullptr, 5, 0));
                        },
                        Fails(EBADF)},
                       {"IntoAppend",
                        [] {
                          return Did(::copy_file_range(Open("file", O_RDONLY), nullptr,
                                                       Open("secret", O_RDWR | O_APPEND), nullptr, 5, 0));
                        },
                        Fails(EBADF)},
                       {"FromDirectory",
                        [] {
                          return Did(::copy_file_range(Open("dir", O_RDONLY), nullptr, Open("secret", O_RDWR),
                                                       nullptr, 5, 0));
                        },
                        Fails(EISDIR)},
                       {"FromFifo",
                        [] {
                          return Did(::copy_file_range(Open("fifo", O_RDWR), nullptr, Open("secret", O_RDWR),
                                                       nullptr, 5, 0));
                        },
                        Fails(EINVAL)},
                       {"Nothing",
                        [] {
                          return Did(::copy_file_range(Open("file", O_RDONLY), nullptr,
                                                       Open("secret", O_RDWR), nullptr, 0, 0));
                        },
                        Gives(0)},
                   });

}  // namespace
}  // namespace baton::parity
