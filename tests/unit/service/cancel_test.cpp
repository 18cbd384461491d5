// CANCEL against the request that it names: before it, while it registers, while it waits (rules O5, L2).
#include <fcntl.h>

#include <future>
#include <thread>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using namespace std::chrono_literals;

struct CancelTest : testing::Test {
  CancelTest() {
    EXPECT_EQ(holder.Hello(), 0);
    EXPECT_EQ(other.Hello(), 0);
    const auto made = holder.Call<Operation::kCreate>(
        {.directory = bench.Root(), .name = "f", .flags = O_RDWR, .mode = 0644, .caller = MemberOf(GuidOf(1))});
    EXPECT_EQ(made.error, 0);
    file = made.reply.file;
  }
  protocol::OpenRequest Blocked() const {
    return {.file = file, .flags = O_RDWR, .claim_wait = 60s, .caller = Anonymous()};
  }

  Bench bench;
  TestMount holder{bench, "a"};
  TestMount other{bench, "b"};
  FileRef file;
};

TEST_F(CancelTest, EndsAnOpenThatWaits) {
  const auto sequence = other.Send<Operation::kOpen>(Blocked(), 5);
  ASSERT_FALSE(other.connection->ReplyTo(5, sequence));
  other.Cancel(5, sequence);
  EXPECT_EQ(other.ErrorOf(5, sequence), EINTR);
}

// Frames of one connection run at the same time: the CANCEL may be looked at first.
TEST_F(CancelTest, MayComeBeforeTheOpen) {
  other.Cancel(5, 1);
  const auto sequence = other.Send<Operation::kOpen>(Blocked(), 5);
  EXPECT_EQ(other.ErrorOf(5, sequence), EINTR);
}

TEST_F(CancelTest, MayComeWhileTheOpenIsOnItsWayToTheArbiter) {
  bench.faults->Stall(store::StoreOperation::kOpen);
  std::thread opener([&] { other.Send<Operation::kOpen>(Blocked(), 5); });
  ASSERT_TRUE(bench.faults->AwaitStalled(store::StoreOperation::kOpen, 1, 10s));
  other.Cancel(5, 1);
  bench.faults->Release(store::StoreOperation::kOpen);
  opener.join();
  EXPECT_EQ(other.ErrorOf(5, 1), EINTR);
}

// Nobody is in its way: on a disk no signal ends such an open.
TEST_F(CancelTest, DoesNotEndAnOpenThatWaitsForItsInstancesRecordOnly) {
  std::promise<void> release;
  std::promise<void> held;
  std::thread holds_commits([&] {
    bench.coordinator->WithStateStore([&](StateStore&) {
      held.set_value();
      release.get_future().wait();
    });
  });
  held.get_future().wait();
  protocol::OpenRequest fresh = Blocked();
  fresh.flags = O_RDONLY;
  fresh.caller = MemberOf(GuidOf(2));
  const auto sequence = other.Send<Operation::kOpen>(fresh, 5);
  other.Cancel(5, sequence);
  bench.executor.RunPosted();
  EXPECT_FALSE(other.connection->ReplyTo(5, sequence));
  release.set_value();
  holds_commits.join();
  EXPECT_EQ(other.ErrorOf(5, sequence), 0);
}

TEST_F(CancelTest, OfOneRequestDoesNotTouchTheNextOnItsSlot) {
  ASSERT_EQ(other.Call<Operation::kGetattr>({.file = file, .caller = Anonymous()}).error, 0);
  other.Cancel(0, 1);
  const auto sequence = other.Send<Operation::kOpen>(Blocked(), 0);
  bench.executor.RunPosted();
  EXPECT_FALSE(other.connection->ReplyTo(0, sequence));
}

TEST_F(CancelTest, OfWhatNobodyMaySendIsHarmless) {
  other.Cancel(0xfffffff0, 1);
  other.Cancel(7, 0);
  other.Cancel(8, 1000);
  EXPECT_EQ(other.Call<Operation::kGetattr>({.file = file, .caller = Anonymous()}).error, 0);
}

}  // namespace
}  // namespace baton::server
