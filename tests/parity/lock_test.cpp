// flock, POSIX record locks and OFD locks between processes of one node.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <optional>

#include "parity/partner.h"

namespace baton::parity {
namespace {

Outcome Lock(int fd, int command, short type, off_t start, off_t length) {
  struct flock wish {};
  wish.l_type = type;
  wish.l_whence = SEEK_SET;
  wish.l_start = start;
  wish.l_len = length;
  return Did(::fcntl(fd, command, &wish));
}

// F_SETLKW, EINTR after so long.
Outcome LockWithin(std::chrono::seconds patience, int fd, short type, off_t start, off_t length) {
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGALRM, &nothing, &before);
  ::alarm(static_cast<unsigned>(patience.count()));
  const Outcome outcome = Lock(fd, F_SETLKW, type, start, length);
  ::alarm(0);
  ::sigaction(SIGALRM, &before, nullptr);
  return outcome;
}

// What stands in the way of the lock.
struct flock InTheWay(int fd, int command, short type, off_t start, off_t length) {
  struct flock wish {};
  wish.l_type = type;
  wish.l_whence = SEEK_SET;
  wish.l_start = start;
  wish.l_len = length;
  Must(::fcntl(fd, command, &wish));
  return wish;
}

Outcome OpenForBoth(Partner::State& state) {
  state.fd = ::open("file", O_RDWR);
  return state.fd < 0 ? Fails(errno) : kOk;
}

Outcome CloseIt(Partner::State& state) {
  return Did(::close(state.fd));
}

class Locks : public Parity {
 protected:
  void SetUp() override {
    Parity::SetUp();
    Make("file", "0123456789");
    ASSERT_EQ(partner_.emplace().Do(OpenForBoth), kOk);
    fd_ = Open("file", O_RDWR);  // now: the partner is to have no duplicate of it
  }
  void TearDown() override {
    partner_.reset();
    fd_.Close();
    Parity::TearDown();
  }
  Outcome Theirs(Partner::Step step) { return partner_->Do(step); }

  Fd fd_;
  std::optional<Partner> partner_;
};

class Flock : public Locks {};

Outcome FlockShared(Partner::State& state) {
  return Did(::flock(state.fd, LOCK_SH | LOCK_NB));
}
Outcome FlockExclusive(Partner::State& state) {
  return Did(::flock(state.fd, LOCK_EX | LOCK_NB));
}
Outcome FlockExclusiveWait(Partner::State& state) {
  return Did(::flock(state.fd, LOCK_EX));
}

TEST_F(Flock, ExclusiveExcludes) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  EXPECT_EQ(Theirs(FlockExclusive), Fails(EWOULDBLOCK));
  EXPECT_EQ(Theirs(FlockShared), Fails(EWOULDBLOCK));
  EXPECT_EQ(Did(::flock(fd_, LOCK_UN)), kOk);
  EXPECT_EQ(Theirs(FlockExclusive), kOk);
}

TEST_F(Flock, SharedIsShared) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_SH)), kOk);
  EXPECT_EQ(Theirs(FlockShared), kOk);
  EXPECT_EQ(Theirs(FlockExclusive), Fails(EWOULDBLOCK));
}

TEST_F(Flock, UpgradeAndDowngrade) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_SH)), kOk);
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX | LOCK_NB)), kOk);
  EXPECT_EQ(Theirs(FlockShared), Fails(EWOULDBLOCK));
  EXPECT_EQ(Did(::flock(fd_, LOCK_SH)), kOk);
  EXPECT_EQ(Theirs(FlockShared), kOk);
}

TEST_F(Flock, RefusedUpgradeLosesTheLock) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_SH)), kOk);
  EXPECT_EQ(Theirs(FlockShared), kOk);
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX | LOCK_NB)), Fails(EWOULDBLOCK));
  EXPECT_EQ(Theirs(FlockExclusive), kOk);
}

TEST_F(Flock, TwoOpensOfOneProcessConflict) {
  const Fd other = Open("file", O_RDONLY);
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  EXPECT_EQ(Did(::flock(other, LOCK_SH | LOCK_NB)), Fails(EWOULDBLOCK));
}

TEST_F(Flock, DuplicateSharesTheLock) {
  Fd copy(::dup(fd_));
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  EXPECT_EQ(Did(::flock(copy, LOCK_EX | LOCK_NB)), kOk);
  fd_.Close();
  EXPECT_EQ(Theirs(FlockShared), Fails(EWOULDBLOCK));
  copy.Close();
  EXPECT_EQ(Theirs(FlockExclusive), kOk);
}

TEST_F(Flock, ReleasedWhenTheHolderIsKilled) {
  EXPECT_EQ(Theirs(FlockExclusive), kOk);
  EXPECT_EQ(Did(::flock(fd_, LOCK_SH | LOCK_NB)), Fails(EWOULDBLOCK));
  partner_->Kill();
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
}

TEST_F(Flock, WaiterIsServedOnRelease) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  partner_->Begin(FlockExclusiveWait);
  EXPECT_TRUE(partner_->Waits());
  EXPECT_EQ(Did(::flock(fd_, LOCK_UN)), kOk);
  EXPECT_EQ(partner_->Result(), kOk);
}

TEST_F(Flock, WaiterIsServedOnClose) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  partner_->Begin(FlockExclusiveWait);
  EXPECT_TRUE(partner_->Waits());
  fd_.Close();
  EXPECT_EQ(partner_->Result(), kOk);
}

TEST_F(Flock, WaiterIsInterrupted) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  partner_->Begin(FlockExclusiveWait);
  EXPECT_TRUE(partner_->Waits());
  partner_->Interrupt();
  EXPECT_EQ(partner_->Result(), Fails(EINTR));
}

TEST_F(Flock, IndependentOfRecordLocks) {
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, 0, 0); }), kOk);
}

TEST_F(Flock, OnAReadOnlyOpenAndADirectory) {
  EXPECT_EQ(Did(::flock(Open("file", O_RDONLY), LOCK_EX | LOCK_NB)), kOk);
  EXPECT_EQ(Did(::flock(Open(".", O_RDONLY), LOCK_EX | LOCK_NB)), kOk);
}

TEST_F(Flock, DirectoryExcludes) {
  const Fd directory = Open(".", O_RDONLY);
  EXPECT_EQ(Did(::flock(directory, LOCK_EX | LOCK_NB)), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) {
              state.other = ::open(".", O_RDONLY);
              return Did(::flock(state.other, LOCK_SH | LOCK_NB));
            }),
            Fails(EWOULDBLOCK));
}

TEST_F(Flock, Errors) {
  EXPECT_EQ(Did(::flock(9999, LOCK_EX)), Fails(EBADF));
  EXPECT_EQ(Did(::flock(fd_, 16)), Fails(EINVAL));
  EXPECT_EQ(Did(::flock(fd_, LOCK_SH | LOCK_EX)), Fails(EINVAL));
  EXPECT_EQ(Did(::flock(Open("file", O_PATH), LOCK_EX)), Fails(EBADF));
}

class RecordLock : public Locks {};

Outcome ReadLockAll(Partner::State& state) {
  return Lock(state.fd, F_SETLK, F_RDLCK, 0, 0);
}
Outcome WriteLockAll(Partner::State& state) {
  return Lock(state.fd, F_SETLK, F_WRLCK, 0, 0);
}
Outcome WriteLockAllWait(Partner::State& state) {
  return Lock(state.fd, F_SETLKW, F_WRLCK, 0, 0);
}
Outcome WriteLockFirst(Partner::State& state) {
  return Lock(state.fd, F_SETLK, F_WRLCK, 0, 5);
}
Outcome WriteLockSecond(Partner::State& state) {
  return Lock(state.fd, F_SETLK, F_WRLCK, 5, 5);
}

TEST_F(RecordLock, WriteExcludes) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(WriteLockAll), Fails(EAGAIN));
  EXPECT_EQ(Theirs(ReadLockAll), Fails(EAGAIN));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_UNLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(WriteLockAll), kOk);
}

TEST_F(RecordLock, ReadIsShared) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_RDLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(ReadLockAll), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), Fails(EAGAIN));
}

TEST_F(RecordLock, RangesApart) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 5), kOk);
  EXPECT_EQ(Theirs(WriteLockSecond), kOk);
  EXPECT_EQ(Theirs(WriteLockFirst), Fails(EAGAIN));
}

TEST_F(RecordLock, UpgradeAndDowngrade) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_RDLCK, 0, 10), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 10), kOk);
  EXPECT_EQ(Theirs(ReadLockAll), Fails(EAGAIN));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_RDLCK, 0, 10), kOk);
  EXPECT_EQ(Theirs(ReadLockAll), kOk);
}

TEST_F(RecordLock, PartlyDowngraded) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 10), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_RDLCK, 5, 5), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_RDLCK, 5, 5); }), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_RDLCK, 4, 1); }),
            Fails(EAGAIN));
}

TEST_F(RecordLock, SplitByAnUnlockInTheMiddle) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 10), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_UNLCK, 4, 2), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, 4, 2); }), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, 3, 1); }),
            Fails(EAGAIN));
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, 6, 1); }),
            Fails(EAGAIN));
}

TEST_F(RecordLock, MergedRangesAreToldAsOne) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 5), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 5, 5), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) {
              const struct flock found = InTheWay(state.fd, F_GETLK, F_WRLCK, 7, 1);
              return Gives(found.l_start * 100 + found.l_len);
            }),
            Gives(10));
}

TEST_F(RecordLock, GetLockTellsTheHolder) {
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, 2, 3); }), kOk);
  const struct flock found = InTheWay(fd_, F_GETLK, F_RDLCK, 0, 0);
  EXPECT_EQ(found.l_type, F_WRLCK);
  EXPECT_EQ(found.l_whence, SEEK_SET);
  EXPECT_EQ(found.l_start, 2);
  EXPECT_EQ(found.l_len, 3);
  EXPECT_EQ(found.l_pid, partner_->pid());
}

TEST_F(RecordLock, GetLockWithoutHolder) {
  EXPECT_EQ(InTheWay(fd_, F_GETLK, F_WRLCK, 0, 0).l_type, F_UNLCK);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(InTheWay(fd_, F_GETLK, F_WRLCK, 0, 0).l_type, F_UNLCK);
}

TEST_F(RecordLock, GetLockOfAReadLock) {
  EXPECT_EQ(Theirs(ReadLockAll), kOk);
  EXPECT_EQ(InTheWay(fd_, F_GETLK, F_RDLCK, 0, 0).l_type, F_UNLCK);
  const struct flock found = InTheWay(fd_, F_GETLK, F_WRLCK, 0, 0);
  EXPECT_EQ(found.l_type, F_RDLCK);
  EXPECT_EQ(found.l_len, 0);
}

TEST_F(RecordLock, ClosingAnyDescriptorReleases) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  Open("file", O_RDONLY).Close();
  EXPECT_EQ(Theirs(WriteLockAll), kOk);
}

TEST_F(RecordLock, NotInheritedByAChild) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Apart([&] { return Lock(fd_, F_SETLK, F_WRLCK, 0, 0); }), Fails(EAGAIN));
  EXPECT_EQ(Theirs(WriteLockAll), Fails(EAGAIN));
}

TEST_F(RecordLock, ChildsEndDoesNotReleaseTheParents) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Apart([&] { return Did(::close(::dup(fd_))); }), kOk);
  EXPECT_EQ(Theirs(ReadLockAll), Fails(EAGAIN));
}

TEST_F(RecordLock, ReleasedWhenTheHolderIsKilled) {
  EXPECT_EQ(Theirs(WriteLockAll), kOk);
  partner_->Kill();
  EXPECT_EQ(Lock(fd_, F_SETLKW, F_WRLCK, 0, 0), kOk);
}

TEST_F(RecordLock, WaiterIsServedOnRelease) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  partner_->Begin(WriteLockAllWait);
  EXPECT_TRUE(partner_->Waits());
  EXPECT_EQ(Lock(fd_, F_SETLK, F_UNLCK, 0, 0), kOk);
  EXPECT_EQ(partner_->Result(), kOk);
}

TEST_F(RecordLock, WaiterIsInterrupted) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  partner_->Begin(WriteLockAllWait);
  EXPECT_TRUE(partner_->Waits());
  partner_->Interrupt();
  EXPECT_EQ(partner_->Result(), Fails(EINTR));
}

TEST_F(RecordLock, Deadlock) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 5), kOk);
  EXPECT_EQ(Theirs(WriteLockSecond), kOk);
  partner_->Begin([](Partner::State& state) { return Lock(state.fd, F_SETLKW, F_WRLCK, 0, 5); });
  EXPECT_TRUE(partner_->Waits());
  const Outcome mine = LockWithin(std::chrono::seconds(5), fd_, F_WRLCK, 5, 5);
  if (mine == Fails(EINTR)) {  // the partner was in the kernel, but its wish came second
    EXPECT_EQ(partner_->Result(), Fails(EDEADLK));
    return;
  }
  EXPECT_EQ(mine, Fails(EDEADLK));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_UNLCK, 0, 0), kOk);
  EXPECT_EQ(partner_->Result(), kOk);
}

TEST_F(RecordLock, BeyondTheEndAndTheLargestRange) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 1L << 62, 0), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, 0, 1L << 62); }), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Lock(state.fd, F_SETLK, F_WRLCK, (1L << 62) + 1, 1); }),
            Fails(EAGAIN));
}

TEST_F(RecordLock, RelativeToTheOffset) {
  Must(::lseek(fd_, 5, SEEK_SET));
  struct flock wish {};
  wish.l_type = F_WRLCK;
  wish.l_whence = SEEK_CUR;
  wish.l_start = -2;
  wish.l_len = 2;
  EXPECT_EQ(Did(::fcntl(fd_, F_SETLK, &wish)), kOk);
  EXPECT_EQ(
      Theirs([](Partner::State& state) { return Gives(InTheWay(state.fd, F_GETLK, F_WRLCK, 0, 0).l_start); }),
      Gives(3));
}

TEST_F(RecordLock, Errors) {
  EXPECT_EQ(Lock(Open("file", O_RDONLY), F_SETLK, F_WRLCK, 0, 0), Fails(EBADF));
  EXPECT_EQ(Lock(Open("file", O_WRONLY), F_SETLK, F_RDLCK, 0, 0), Fails(EBADF));
  EXPECT_EQ(Lock(fd_, F_SETLK, 99, 0, 0), Fails(EINVAL));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, -1, 1), Fails(EINVAL));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 5, -6), Fails(EINVAL));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 5, -5), kOk);
  EXPECT_EQ(Lock(fd_, F_GETLK, F_UNLCK, 0, 0), Fails(EINVAL));
}

class OpenLock : public Locks {};

Outcome OfdWriteLockAll(Partner::State& state) {
  return Lock(state.fd, F_OFD_SETLK, F_WRLCK, 0, 0);
}

TEST_F(OpenLock, Excludes) {
  EXPECT_EQ(Lock(fd_, F_OFD_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(OfdWriteLockAll), Fails(EAGAIN));
  EXPECT_EQ(Lock(fd_, F_OFD_SETLK, F_UNLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(OfdWriteLockAll), kOk);
}

TEST_F(OpenLock, TwoOpensOfOneProcessConflict) {
  const Fd other = Open("file", O_RDWR);
  EXPECT_EQ(Lock(fd_, F_OFD_SETLK, F_WRLCK, 0, 5), kOk);
  EXPECT_EQ(Lock(other, F_OFD_SETLK, F_WRLCK, 4, 1), Fails(EAGAIN));
  EXPECT_EQ(Lock(other, F_OFD_SETLK, F_WRLCK, 5, 1), kOk);
}

TEST_F(OpenLock, ConflictsWithRecordLocks) {
  EXPECT_EQ(Lock(fd_, F_OFD_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(WriteLockAll), Fails(EAGAIN));
  EXPECT_EQ(Lock(Open("file", O_RDWR), F_SETLK, F_WRLCK, 0, 0), Fails(EAGAIN));
}

TEST_F(OpenLock, AnotherDescriptorsCloseDoesNotRelease) {
  EXPECT_EQ(Lock(fd_, F_OFD_SETLK, F_WRLCK, 0, 0), kOk);
  Open("file", O_RDWR).Close();
  EXPECT_EQ(Theirs(OfdWriteLockAll), Fails(EAGAIN));
}

TEST_F(OpenLock, BelongsToTheOpenNotTheProcess) {
  EXPECT_EQ(Apart([&] { return Lock(fd_, F_OFD_SETLK, F_WRLCK, 0, 0); }), kOk);
  EXPECT_EQ(Theirs(OfdWriteLockAll), Fails(EAGAIN));
  fd_.Close();
  EXPECT_EQ(Theirs(OfdWriteLockAll), kOk);
}

TEST_F(OpenLock, GetLockTellsNoProcess) {
  EXPECT_EQ(Theirs(OfdWriteLockAll), kOk);
  const struct flock found = InTheWay(fd_, F_OFD_GETLK, F_WRLCK, 0, 0);
  EXPECT_EQ(found.l_type, F_WRLCK);
  EXPECT_EQ(found.l_pid, -1);
}

TEST_F(OpenLock, GetLockOfARecordLockTellsItsProcess) {
  EXPECT_EQ(Theirs(WriteLockAll), kOk);
  EXPECT_EQ(InTheWay(fd_, F_OFD_GETLK, F_WRLCK, 0, 0).l_pid, partner_->pid());
}

TEST_F(OpenLock, RecordLocksGetLockTellsNoProcess) {
  EXPECT_EQ(Theirs(OfdWriteLockAll), kOk);
  EXPECT_EQ(InTheWay(fd_, F_GETLK, F_WRLCK, 0, 0).l_pid, -1);
}

TEST_F(OpenLock, WaiterIsServedOnClose) {
  EXPECT_EQ(Lock(fd_, F_OFD_SETLK, F_WRLCK, 0, 0), kOk);
  partner_->Begin([](Partner::State& state) { return Lock(state.fd, F_OFD_SETLKW, F_WRLCK, 0, 0); });
  EXPECT_TRUE(partner_->Waits());
  fd_.Close();
  EXPECT_EQ(partner_->Result(), kOk);
}

TEST_F(OpenLock, PidMustBeZero) {
  struct flock wish {};
  wish.l_type = F_WRLCK;
  wish.l_pid = 1;
  EXPECT_EQ(Did(::fcntl(fd_, F_OFD_SETLK, &wish)), Fails(EINVAL));
}

TEST_F(Locks, OnARemovedFile) {
  Must(::unlink("file"));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs(WriteLockAll), Fails(EAGAIN));
  EXPECT_EQ(Did(::flock(fd_, LOCK_EX)), kOk);
  EXPECT_EQ(Theirs(FlockExclusive), Fails(EWOULDBLOCK));
}

TEST_F(Locks, ByAnyNameOfTheFile) {
  Must(::link("file", "other"));
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) {
              state.other = ::open("other", O_RDWR);
              return Lock(state.other, F_SETLK, F_WRLCK, 0, 0);
            }),
            Fails(EAGAIN));
}

TEST_F(Locks, DoNotStopReadingAndWriting) {
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
  EXPECT_EQ(Theirs([](Partner::State& state) { return Did(::pwrite(state.fd, "X", 1, 0)); }), Gives(1));
  EXPECT_EQ(At(fd_, 0, 2), "X1");
}

TEST_F(Locks, ReleasedByTheirClose) {
  EXPECT_EQ(Theirs(WriteLockAll), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), Fails(EAGAIN));
  EXPECT_EQ(Theirs(CloseIt), kOk);
  EXPECT_EQ(Lock(fd_, F_SETLK, F_WRLCK, 0, 0), kOk);
}

}  // namespace
}  // namespace baton::parity
