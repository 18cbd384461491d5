// COPY_RANGE: long ones in pieces that each pass the gate (rule T4), and once only (rule T10).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kPiece = 4 << 20;

class CopyTest : public testing::Test {
 protected:
  CopyTest() {
    EXPECT_EQ(mount.Hello(), 0);
    EXPECT_EQ(other.Hello(), 0);
    from = Create("from").reply.handle;
    const auto made = Create("to");
    to = made.reply.handle;
    to_file = made.reply.file;
  }
  TestMount::Answer<protocol::OpenReply> Create(const std::string& name) {
    auto made = mount.Call<Operation::kCreate>({.directory = bench.Root(),
                                                .name = name,
                                                .flags = O_RDWR,
                                                .mode = 0644,
                                                .caller = MemberOf(GuidOf(1))});
    EXPECT_EQ(made.error, 0);
    return made;
  }
  std::filesystem::path At(const char* name) const { return std::filesystem::path(bench.dir.Path()) / name; }
  void Put(const std::string& text) { std::ofstream(At("from"), std::ios::trunc) << text; }
  std::string Stored() {
    std::ifstream file(At("to"));
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Bench bench;
  TestMount mount{bench, "a"};
  TestMount other{bench, "b"};
  HandleId from{};
  HandleId to{};
  FileRef to_file;
};

TEST_F(CopyTest, ATakeoverWaitsForOnePieceAndNothingIsCopiedAfterIt) {
  std::filesystem::resize_file(At("from"), 3 * kPiece);
  bench.faults->Stall(store::StoreOperation::kCopyFrom);
  std::uint32_t copy = 0;
  std::thread copying([&] { copy = mount.Send<Operation::kCopyRange>({from, 0, to, 0, 3 * kPiece}, 1); });
  ASSERT_TRUE(bench.faults->AwaitStalled(store::StoreOperation::kCopyFrom, 1, 10s));
  const auto open =
      other.Send<Operation::kOpen>({.file = to_file, .flags = O_RDWR, .caller = MemberOf(GuidOf(1))}, 0);
  const auto handle = bench.coordinator->handles().Find(to);
  ASSERT_TRUE(handle);
  EXPECT_TRUE(bench.Until([&] { return handle->Closed() != 0; }));
  EXPECT_FALSE(other.connection->ReplyTo(0, open)) << "granted while a piece was under way";
  bench.faults->Release(store::StoreOperation::kCopyFrom);
  copying.join();
  EXPECT_EQ(other.ErrorOf(0, open), 0);
  EXPECT_EQ(std::filesystem::file_size(At("to")), kPiece);
  EXPECT_EQ(mount.ErrorOf(1, copy), 0);  // a short count, as for a disk that is full
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 0, to, 0, 1}).error, ESTALE);
}

TEST_F(CopyTest, SentAgainItIsAnsweredAgainAndNotDoneAgain) {
  Put("first");
  const auto copy = mount.Send<Operation::kCopyRange>({from, 1, to, 2, 100}, 1);
  ASSERT_EQ(mount.ErrorOf(1, copy), 0);
  EXPECT_EQ(Stored(), std::string("\0\0irst", 6));
  Put("other");
  mount.Disconnect();
  ASSERT_EQ(mount.Hello(), 0);
  mount.SendAgain<Operation::kCopyRange>({from, 1, to, 2, 100}, 1, copy);
  ASSERT_EQ(mount.ErrorOf(1, copy), 0);
  const auto reply = protocol::Decode<protocol::CopyRangeReply>(mount.connection->ReplyTo(1, copy)->body);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->copied, 4u);
  EXPECT_EQ(Stored(), std::string("\0\0irst", 6));
}

TEST_F(CopyTest, RefusesToCopyARangeOntoItself) {
  Put("text");
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 0, from, 2, 3}).error, EINVAL);
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 2, from, 0, 3}).error, EINVAL);
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 0, from, 2, 2}).reply.copied, 2u);
}

TEST_F(CopyTest, TellsWhatWasDoneBeforeItFailed) {
  std::filesystem::resize_file(At("from"), 2 * kPiece);
  bench.faults->FailNext(store::StoreOperation::kCopyFrom, EDQUOT);
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 0, to, 0, 2 * kPiece}).error, EDQUOT);
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 0, to, 0, 2 * kPiece}).reply.copied, 2 * kPiece);
  EXPECT_EQ(mount.Call<Operation::kCopyRange>({from, 2 * kPiece, to, 0, 1}).reply.copied, 0u);
}

TEST_F(CopyTest, HandlesOfAnotherSessionAreNobodys) {
  EXPECT_EQ(other.Call<Operation::kCopyRange>({from, 0, to, 0, 1}).error, ESTALE);
  EXPECT_EQ(other.Call<Operation::kAllocate>({.handle = to, .length = 1}).error, ESTALE);
  EXPECT_EQ(other.Call<Operation::kSeek>({.handle = to}).error, ESTALE);
}

}  // namespace
}  // namespace baton::server
