// What a descriptor is still good for when the name is gone or the rights have changed, and what changes
// times.
#include <dirent.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <ctime>

#include "parity/parity.h"

namespace baton::parity {
namespace {

// The clock of files' times has ticked: what changes from now on has another time.
void NextTick() {
  timespec first, now;
  Must(::clock_gettime(CLOCK_REALTIME, &first));
  do {
    Must(::clock_gettime(CLOCK_REALTIME_COARSE, &now));
  } while (std::pair(now.tv_sec, now.tv_nsec) <= std::pair(first.tv_sec, first.tv_nsec));
}

bool Later(const timespec& time, const timespec& other) {
  return std::pair(time.tv_sec, time.tv_nsec) > std::pair(other.tv_sec, other.tv_nsec);
}

// Of the entries, dots included; the position is the descriptor's.
Outcome CountEntries(int fd) {
  alignas(dirent64) char buffer[4096];
  const long size = ::syscall(SYS_getdents64, fd, buffer, sizeof buffer);
  if (size < 0) {
    return Fails(errno);
  }
  long count = 0;
  for (const char* at = buffer; at < buffer + size; at += reinterpret_cast<const dirent64*>(at)->d_reclen) {
    ++count;
  }
  return Gives(count);
}

class DirectoryDescriptor : public Parity {};
class DirectoryRights : public RootParity {};

TEST_F(DirectoryRights, IsReadByWhomItWasPassedTo) {
  MakeDir("dir", 0700);
  Make("dir/name");
  const Fd fd = Open("dir", O_RDONLY);
  EXPECT_EQ(As(kAlice, [&] { return CountEntries(fd); }), Gives(3));
}

TEST_F(DirectoryDescriptor, IsReadAlthoughTheRightIsGone) {
  MakeDir("dir", 0700);
  if (IsRoot()) {
    Must(::chown("dir", kAliceId, kAliceId));
  }
  EXPECT_EQ(As(IsRoot() ? kAlice : kCaller,
               [] {
                 const Fd fd = Open("dir", O_RDONLY);
                 Must(::chmod("dir", 0));
                 const Outcome counted = CountEntries(fd);
                 Must(::chmod("dir", 0700));
                 return counted;
               }),
            Gives(2));
}

TEST_F(DirectoryDescriptor, ReplacedByARename) {
  MakeDir("dir");
  MakeDir("other");
  Make("other/name");
  const Fd fd = Open("dir", O_RDONLY);
  Must(::rename("other", "dir"));
  EXPECT_EQ(Fstat(fd).st_nlink, 0u);
  EXPECT_EQ(Did(::faccessat(fd, "name", F_OK, 0)), Fails(ENOENT));
  EXPECT_EQ(Did(::openat(fd, "new", O_WRONLY | O_CREAT, 0644)), Fails(ENOENT));
  EXPECT_EQ(Names("dir").size(), 1u);
}

TEST_F(DirectoryDescriptor, RemovalMovesTheChangeTime) {
  MakeDir("dir");
  const Fd fd = Open("dir", O_RDONLY);
  const timespec before = Fstat(fd).st_ctim;
  NextTick();
  Must(::rmdir("dir"));
  EXPECT_TRUE(Later(Fstat(fd).st_ctim, before));
}

TEST_F(DirectoryRights, RemovedIsSearchedByItsGroup) {
  MakeDir("dir", 0070);
  Must(::chown("dir", 0, kTeam));
  const Fd fd = Open("dir", O_RDONLY);
  Must(::rmdir("dir"));
  EXPECT_EQ(As(kAliceInTeam, [&] { return Did(::faccessat(fd, "name", F_OK, 0)); }), Fails(ENOENT));
}

TEST_F(DirectoryDescriptor, RemovedStillHasXattrs) {
  MakeDir("dir");
  Must(::setxattr("dir", "user.a", "x", 1, 0));
  const Fd fd = Open("dir", O_RDONLY);
  Must(::rmdir("dir"));
  char value;
  EXPECT_EQ(Did(::fgetxattr(fd, "user.a", &value, 1)), Gives(1));
}

class Nameless : public Parity {};

TEST_F(Nameless, OpenFifo) {
  Must(::mkfifo("fifo", 0600));
  const Fd fd = Open("fifo", O_RDWR | O_NONBLOCK);
  Must(::unlink("fifo"));
  struct stat is;
  EXPECT_EQ(Did(::fstat(fd, &is)), kOk);
}

TEST_F(Nameless, FifoStillPassesData) {
  Must(::mkfifo("fifo", 0600));
  const Fd fd = Open("fifo", O_RDWR | O_NONBLOCK);
  Must(::unlink("fifo"));
  EXPECT_EQ(Did(::write(fd, "text", 4)), Gives(4));
  char text[8];
  EXPECT_EQ(Did(::read(fd, text, sizeof text)), Gives(4));
}

TEST_F(Nameless, FileOpenForItsPathOnly) {
  Make("file");
  const Fd fd = Open("file", O_PATH);
  Must(::unlink("file"));
  struct stat is;
  EXPECT_EQ(Did(::fstat(fd, &is)), kOk);
}

class MovedTimes : public Parity {};

TEST_F(MovedTimes, WritingToAFifo) {
  Must(::mkfifo("fifo", 0600));
  const Fd fd = Open("fifo", O_RDWR | O_NONBLOCK);
  const timespec before = Fstat(fd).st_mtim;
  NextTick();
  Must(::write(fd, "x", 1));
  EXPECT_TRUE(Later(Fstat(fd).st_mtim, before));
}

TEST_F(MovedTimes, ReadingAtTheEnd) {
  Make("file", "");
  const Fd fd = Open("file", O_RDONLY);
  const timespec old[2] = {{1000, 0}, {2000, 0}};
  Must(::futimens(fd, old));
  char byte;
  EXPECT_EQ(Did(::read(fd, &byte, 1)), Gives(0));
  EXPECT_GT(Fstat(fd).st_atim.tv_sec, 1'600'000'000);
}

TEST_F(MovedTimes, ChownThatNamesNeither) {
  Make("file");
  MakeDir("dir");
  for (const char* name : {"file", "dir"}) {
    const timespec before = Stat(name).st_ctim;
    NextTick();
    EXPECT_EQ(Did(::chown(name, -1, -1)), kOk);
    EXPECT_TRUE(Later(Stat(name).st_ctim, before)) << name;
  }
}

class ChownOfNeither : public RootParity {
 protected:
  void SetUp() override {
    RootParity::SetUp();
    if (IsRoot()) {
      Make("program", "x", 06755);
    }
  }
};

TEST_F(ChownOfNeither, TakesSetIdBits) {
  EXPECT_EQ(Did(::chown("program", -1, -1)), kOk);
  EXPECT_EQ(Mode("program"), 0755u);
}

TEST_F(ChownOfNeither, TakesTheOwnersSetIdBits) {
  Must(::chown("program", kAliceId, kAliceId));
  Must(::chmod("program", 06755));
  EXPECT_EQ(As(kAlice, [] { return Did(::chown("program", -1, -1)); }), kOk);
  EXPECT_EQ(Mode("program"), 0755u);
}

TEST_F(ChownOfNeither, IsRefusedToOthersWhereThereAreSetIdBits) {
  EXPECT_EQ(As(kAlice, [] { return Did(::chown("program", -1, -1)); }), Fails(EPERM));
  EXPECT_EQ(Mode("program"), 06755u);
}

TEST_F(ChownOfNeither, OthersKeepTheirBitsWhereItIsRefused) {
  As(kAlice, [] { return Did(::chown("program", -1, -1)); });
  EXPECT_EQ(Mode("program"), 06755u);
}

TEST_F(ChownOfNeither, WritingToASetIdFileOfAnotherStillWorks) {
  Make("others", "x", 06777);
  EXPECT_EQ(As(kAlice,
               [] {
                 const Fd fd = Open("others", O_WRONLY);
                 return Did(::write(fd, "y", 1));
               }),
            Gives(1));
  EXPECT_EQ(Mode("others"), 0777u);
}

}  // namespace
}  // namespace baton::parity
