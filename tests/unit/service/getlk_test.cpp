// GETLK: what lock is in the way of a record lock (rules L1, O5, T6).
#include <fcntl.h>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using namespace std::chrono_literals;

struct GetlkTest : testing::Test {
  GetlkTest() {
    EXPECT_EQ(asker.Hello(), 0);
    EXPECT_EQ(holder.Hello(), 0);
    EXPECT_EQ(elsewhere.Hello(), 0);
    const auto made = asker.Call<Operation::kCreate>(
        {.directory = bench.Root(), .name = "f", .flags = O_RDWR, .mode = 0644, .caller = MemberOf(GuidOf(1))});
    EXPECT_EQ(made.error, 0);
    file = made.reply.file;
    asks_with = made.reply.handle;
    const auto opened = holder.Call<Operation::kOpen>({.file = file, .flags = O_RDONLY, .caller = Anonymous()});
    EXPECT_EQ(opened.error, 0);
    held = opened.reply.handle;
    EXPECT_EQ(holder.Call<Operation::kLock>({.handle = held, .mode = protocol::LockMode::kRead, .owner = 7}).error, 0);
  }
  std::uint32_t Ask() {
    return asker.Send<Operation::kGetlk>({.handle = asks_with, .mode = protocol::LockMode::kWrite, .owner = 1}, 3);
  }
  // By another process: the lock stays.
  void Flush() { ASSERT_EQ((holder.Call<Operation::kFlush>({.handle = held, .lock_owner = 99}).error), 0); }

  Bench bench;
  TestMount asker{bench, "a"};
  TestMount holder{bench, "b"};
  TestMount elsewhere{bench, "c"};
  FileRef file;
  HandleId asks_with{};
  HandleId held{};
};

TEST_F(GetlkTest, NamesTheLockInTheWay) {
  const auto sequence = Ask();
  EXPECT_EQ(asker.ErrorOf(3, sequence), 0);
}

TEST_F(GetlkTest, WaitsForAHandleThatIsBeingClosed) {
  Flush();
  const auto sequence = Ask();
  EXPECT_FALSE(asker.connection->ReplyTo(3, sequence));
  ASSERT_EQ(holder.Call<Operation::kClose>({.handle = held}).error, 0);
  bench.Advance(2ms);
  ASSERT_EQ(asker.ErrorOf(3, sequence), 0);
  const auto reply = protocol::Decode<protocol::GetlkReply>(asker.connection->ReplyTo(3, sequence)->body);
  EXPECT_EQ(reply->mode, protocol::LockMode::kUnlock);
}

TEST_F(GetlkTest, DoesNotWaitForEverForOneThatIsFlushedAgainAndAgain) {
  Flush();
  const auto sequence = Ask();
  for (auto passed = 0ms; passed < 200ms; passed += 50ms) {
    bench.Advance(50ms);
    Flush();
  }
  EXPECT_TRUE(asker.connection->ReplyTo(3, sequence));
}

TEST_F(GetlkTest, OfAnIncarnationThatIsFencedMeanwhileGetsNoAnswerButThat) {
  Flush();
  const auto sequence = Ask();
  ASSERT_EQ(elsewhere.Call<Operation::kOpen>({.file = file, .flags = O_RDWR, .caller = MemberOf(GuidOf(1))}).error, 0);
  bench.Advance(2ms);
  EXPECT_EQ(asker.ErrorOf(3, sequence), ESTALE);
}

}  // namespace
}  // namespace baton::server
