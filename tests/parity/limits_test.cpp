// What is asked at the edges: far offsets, unaligned O_DIRECT, calls that must not wait.
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

class Limits : public Parity {
 protected:
  void SetUp() override {
    Parity::SetUp();
    Make("file", "0123456789");
  }
};

TEST_F(Limits, SeekBehindTheLargestFile) {
  EXPECT_EQ(Did(::lseek(Open("file", O_RDONLY), off_t{1} << 62, SEEK_SET)), Fails(EINVAL));
}

TEST_F(Limits, ReadAndWriteBehindTheLargestFile) {
  const Fd fd = Open("file", O_RDWR);
  char byte = 'x';
  EXPECT_EQ(Did(::pread(fd, &byte, 1, off_t{1} << 62)), Gives(0));
  EXPECT_EQ(Did(::pwrite(fd, &byte, 1, off_t{1} << 62)), Fails(EFBIG));
  EXPECT_EQ(Did(::truncate("file", off_t{1} << 62)), Fails(EFBIG));
  EXPECT_EQ(Stat("file").st_size, 10);
}

TEST_F(Limits, UnalignedDirectRead) {
  alignas(4096) char buffer[4096];
  EXPECT_EQ(Did(::pread(Open("file", O_RDONLY | O_DIRECT), buffer, 100, 1)), Fails(EINVAL));
}

TEST_F(Limits, ReadOfCachedPagesWithoutWaiting) {
  const Fd fd = Open("file", O_RDONLY);
  char buffer[4];
  const iovec vector{buffer, sizeof buffer};
  Must(::pread(fd, buffer, sizeof buffer, 0));
  EXPECT_EQ(Did(::preadv2(fd, &vector, 1, 0, RWF_NOWAIT)), Gives(4));
}

TEST_F(Limits, NameThatIsKnownWithoutWaiting) {
  Must(Stat("file").st_size);
  open_how how{};
  how.resolve = RESOLVE_CACHED;
  const Fd fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof how)));
  EXPECT_GE(fd, 0);
}

}  // namespace
}  // namespace baton::parity
