// Rules L1, C1: locks and attributes between the kernel's form and the protocol's; the pool's promise (I6).
#include "fuse/ops/convert.h"

#include <gtest/gtest.h>

#include <future>

#include "fuse/kernel/fuse_api.h"
#include "fuse/kernel/worker_pool.h"
#include "fuse/ops/lock_convert.h"
#include "fuse/ops/refusal_log.h"
#include "fuse/ops/registration.h"

namespace baton {
namespace {

TEST(LockConvert, RangesIncludeTheirLastByte) {  // L1
  struct flock lock {};
  lock.l_start = 10;
  lock.l_len = 5;
  EXPECT_EQ(RangeOf(lock), (ByteRange{10, 14}));
  lock.l_len = 0;
  EXPECT_EQ(RangeOf(lock), (ByteRange{10, kRangeEnd}));
}

TEST(LockConvert, FoundLockComesBack) {  // L1: pid 0 for another node's
  const struct flock to_end = ToFlock({protocol::LockMode::kWrite, 7, kRangeEnd, 0});
  EXPECT_EQ(to_end.l_type, F_WRLCK);
  EXPECT_EQ(to_end.l_start, 7);
  EXPECT_EQ(to_end.l_len, 0);
  EXPECT_EQ(to_end.l_pid, 0);
  const struct flock part = ToFlock({protocol::LockMode::kRead, 7, 9, 12});
  EXPECT_EQ(part.l_type, F_RDLCK);
  EXPECT_EQ(part.l_len, 3);
  EXPECT_EQ(part.l_pid, 12);
  EXPECT_EQ(ToFlock({}).l_type, F_UNLCK);
}

TEST(Convert, NowIsMeantInsteadOfTheTime) {
  struct stat attributes {};
  attributes.st_size = 5;
  const AttrChange now =
      ToAttrChange(attributes, FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_SIZE);
  EXPECT_EQ(now.mask, attr_mask::kMtimeNow | attr_mask::kSize);
  EXPECT_EQ(now.size, 5u);
  EXPECT_EQ(ToAttrChange(attributes, FUSE_SET_ATTR_MTIME).mask, attr_mask::kMtime);
}

TEST(Convert, ModeLosesItsType) {
  struct stat attributes {};
  attributes.st_mode = S_IFREG | 04755;
  EXPECT_EQ(ToAttrChange(attributes, FUSE_SET_ATTR_MODE).mode, 04755u);
}

TEST(Convert, AttributesSurvive) {
  const Attr attr{
      .ino = 9, .mode = S_IFREG | 0600, .nlink = 2, .uid = 3, .gid = 4, .size = 5, .mtime = {6, 7}};
  const struct stat to = ToStat(attr);
  EXPECT_EQ(to.st_ino, 9u);
  EXPECT_EQ(to.st_mode, static_cast<mode_t>(S_IFREG | 0600));
  EXPECT_EQ(to.st_size, 5);
  EXPECT_EQ(to.st_mtim.tv_nsec, 7);
}

TEST(WorkerPool, ABlockedJobHoldsUpNoOther) {  // I6
  WorkerPool pool("test", 3);
  std::promise<void> go;
  auto gate = go.get_future().share();
  std::atomic<int> blocked = 0;
  for (int i = 0; i < 2; ++i) {
    pool.Post([&] {
      ++blocked;
      gate.wait();
    });
  }
  std::promise<void> ran;
  pool.Post([&] { ran.set_value(); });
  EXPECT_EQ(ran.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  go.set_value();
  pool.Stop();
  EXPECT_EQ(blocked, 2);
}

TEST(WorkerPool, StopRunsWhatWasQueued) {
  std::atomic<int> ran = 0;
  WorkerPool pool("test", 1);
  for (int i = 0; i < 50; ++i) pool.Post([&] { ++ran; });
  pool.Stop();
  EXPECT_EQ(ran, 50);
  pool.Post([&] { ++ran; });
  EXPECT_EQ(ran, 51);
}

class HandClock final : public Clock {
 public:
  Instant Now() const override { return now; }
  Instant now{1};
};

TEST(RefusalLog, OneLinePerFileAndCaller) {  // O2
  HandClock clock;
  RefusalLog log(clock);
  EXPECT_TRUE(log.First(1, 10));
  EXPECT_FALSE(log.First(1, 10));
  EXPECT_TRUE(log.First(1, 11));
  EXPECT_TRUE(log.First(2, 10));
  clock.now += std::chrono::hours(1);
  EXPECT_TRUE(log.First(1, 10));
}

TEST(Registration, IdentityAsText) {  // I2 (a): the virtual xattr's value
  Resolution resolution;
  EXPECT_EQ(ops::IdentityText(resolution), std::nullopt);
  resolution.kind = Resolution::Kind::kInstance;
  resolution.member.guid = *ParseGuid("11111111-1111-1111-1111-111111111111");
  EXPECT_EQ(ops::IdentityText(resolution), "11111111-1111-1111-1111-111111111111 - new environment");
  resolution.member.version = InstanceVersion{3, 1};
  resolution.member.epoch = Epoch{8};
  resolution.member.source = IdentitySource::kRegistration;
  EXPECT_EQ(ops::IdentityText(resolution), "11111111-1111-1111-1111-111111111111 3.1 8 registration");
}

}  // namespace
}  // namespace baton
