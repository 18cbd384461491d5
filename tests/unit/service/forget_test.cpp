// Records that nobody uses any more (rule T12), and what is written to the state store in which order.
#include <fcntl.h>

#include "server/service/operator_backend.h"
#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using namespace std::chrono_literals;
constexpr auto kMonth = std::chrono::hours(24 * 30);

WallTime Later(Duration by) {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now() + by);
}

struct ForgetTest : testing::Test {
  ForgetTest() {
    EXPECT_EQ(mount.Hello(), 0);
    for (unsigned char i : {1, 2}) {
      const auto made = mount.Call<Operation::kCreate>({.directory = bench.Root(),
                                                        .name = std::string(1, static_cast<char>('a' + i)),
                                                        .flags = O_RDWR,
                                                        .mode = 0644,
                                                        .caller = MemberOf(GuidOf(i))});
      EXPECT_EQ(made.error, 0);
      if (i == 2) continue;
      EXPECT_EQ(mount.Call<Operation::kClose>({made.reply.handle}).error, 0);
      const auto record = RecordOf(GuidOf(i));
      EXPECT_EQ(mount.Call<Operation::kInstanceGone>({GuidOf(i), record ? record->epoch : Epoch{}}).error, 0);
    }
  }
  std::optional<InstanceRecord> RecordOf(const Guid& guid) {
    for (const auto& info : bench.coordinator->WithArbiter([](Arbiter& arbiter) { return arbiter.ListInstances(); })) {
      if (info.record.guid == guid) return info.record;
    }
    return std::nullopt;
  }
  std::vector<Guid> Stored() {
    std::vector<Guid> guids;
    const auto records = bench.state.Load();
    for (const InstanceRecord& record : *records) guids.push_back(record.guid);
    return guids;
  }

  Bench bench;
  TestMount mount{bench, "a"};
};

TEST_F(ForgetTest, ErasesWhatWasNotUsedAndKeepsWhatLives) {
  bench.coordinator->ForgetUnused(Later(kMonth + 24h), kMonth);
  ASSERT_TRUE(bench.Until([&] { return Stored().size() == 1; }));
  EXPECT_THAT(Stored(), testing::ElementsAre(GuidOf(2)));
  EXPECT_TRUE(bench.Until([&] { return !RecordOf(GuidOf(1)); }));
  EXPECT_TRUE(RecordOf(GuidOf(2)));
}

// As every record is after a restart of the server, and after a fence by hand.
TEST_F(ForgetTest, ErasesWhatHasNoLifeAnyMore) {
  bool fenced = false;
  bench.coordinator->FenceByHand(GuidOf(1), [&](Coordinator::Answer& answer) { fenced = answer.error == 0; });
  ASSERT_TRUE(bench.Until([&] { return fenced; }));
  bench.coordinator->ForgetUnused(Later(kMonth + 24h), kMonth);
  EXPECT_TRUE(bench.Until([&] { return !RecordOf(GuidOf(1)); }));
}

TEST_F(ForgetTest, KeepsWhatWasUsedLately) {
  bool asked = false;
  bench.coordinator->ForgetUnused(Later(kMonth - 24h), kMonth);
  bench.coordinator->WithStateStore([&](StateStore&) { asked = true; });
  EXPECT_TRUE(asked);  // behind it in the queue
  EXPECT_THAT(Stored(), testing::ElementsAre(GuidOf(1), GuidOf(2)));
}

TEST_F(ForgetTest, ByHandErasesTheRecordEverywhere) {
  OperatorBackend backend({}, *bench.coordinator, *bench.store, bench.state, bench.clock, [] { return 0; });
  EXPECT_TRUE(backend.Forget(GuidOf(1)).has_value());
  EXPECT_THAT(Stored(), testing::ElementsAre(GuidOf(2)));
  EXPECT_FALSE(backend.Forget(GuidOf(2)).has_value());  // in use
}

}  // namespace
}  // namespace baton::server
