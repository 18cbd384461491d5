// What a program has written is not missed by its own node.
#include "fuse/ops/write_order.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "fuse/kernel/inode_table.h"

namespace baton {
namespace {

using Earlier = WriteOrder::Earlier;

class WriteOrderTest : public ::testing::Test {
 protected:
  // Whether the READ may go at once; what becomes of it if not is in results_.
  bool Read(const Inode& inode, ByteRange range, std::uint64_t token = 1, std::uint64_t number = 0) {
    WriteOrder::Waiter waiter = [this](Result<> result) {
      results_.push_back(result ? 0 : result.error().value);
    };
    return order_.Pass(inode, {range, number}, now_, client::CallToken{token}, waiter);
  }

  WriteOrder order_;
  Instant now_{std::chrono::hours(1)};
  Inode inode_{FileRef{}, 1};
  Inode other_{FileRef{}, 2};
  std::vector<int> results_;
};

TEST_F(WriteOrderTest, ReadWaitsForWritesOfItsBytesThatAreUnderWay) {
  const auto first = order_.Begin(inode_, {{10, 20}}, now_);
  const auto second = order_.Begin(inode_, {{30, 40}}, now_);
  EXPECT_TRUE(Read(inode_, {21, 29}));
  EXPECT_TRUE(Read(other_, {0, 100}));
  EXPECT_FALSE(Read(inode_, {0, 100}));
  order_.End(inode_, first);
  EXPECT_TRUE(results_.empty());
  const auto later = order_.Begin(inode_, {{10, 20}}, now_);
  order_.End(inode_, second);
  EXPECT_EQ(results_, std::vector<int>{0});
  order_.End(inode_, later);
  EXPECT_TRUE(Read(inode_, {0, 100}));
  EXPECT_EQ(results_.size(), 1u);
}

TEST_F(WriteOrderTest, OneThatIsGivenUpIsCalledOnce) {
  const auto write = order_.Begin(inode_, {{10, 20}}, now_);
  EXPECT_FALSE(Read(inode_, {0, 100}, 5));
  EXPECT_FALSE(order_.Withdraw(client::CallToken{6}, EINTR));
  EXPECT_TRUE(order_.Withdraw(client::CallToken{5}, EINTR));
  EXPECT_FALSE(order_.Withdraw(client::CallToken{5}, EINTR));
  order_.End(inode_, write);
  EXPECT_EQ(results_, std::vector<int>{EINTR});
}

TEST_F(WriteOrderTest, WriteKnowsOfReadsShortlyBefore) {
  EXPECT_TRUE(Read(inode_, {0, 4095}));
  EXPECT_EQ(order_.Begin(inode_, {{4096, 5000}}, now_).earlier, Earlier::kNone);
  EXPECT_EQ(order_.Begin(other_, {{0, 10}}, now_).earlier, Earlier::kNone);
  EXPECT_EQ(order_.Begin(inode_, {{0, 10}, 1}, now_).earlier, Earlier::kNone);
  EXPECT_EQ(order_.Begin(inode_, {{10, 5000}, 1}, now_).earlier, Earlier::kRead);
  now_ += WriteOrder::kRecent + std::chrono::milliseconds(1);
  EXPECT_EQ(order_.Begin(inode_, {{10, 5000}}, now_).earlier, Earlier::kNone);
}

TEST_F(WriteOrderTest, OnlyTheLastPageIsOvertaken) {
  EXPECT_TRUE(Read(inode_, {0, 4095}, 1, 9));
  EXPECT_EQ(order_.Begin(inode_, {{0, 5000}, 7}, now_).earlier, Earlier::kRead);
  EXPECT_EQ(order_.Begin(inode_, {{0, 1000}, 7}, now_).earlier, Earlier::kOvertaken);
  EXPECT_EQ(order_.Begin(inode_, {{0, 1000}, 11}, now_).earlier, Earlier::kNone);
}

TEST_F(WriteOrderTest, ManyReadsAreForgotten) {
  EXPECT_TRUE(Read(inode_, {0, 4095}));
  for (int i = 0; i < 5000; ++i) EXPECT_TRUE(Read(other_, {0, 4095}));
  EXPECT_EQ(order_.Begin(inode_, {{0, 5000}}, now_).earlier, Earlier::kNone);
  EXPECT_EQ(order_.Begin(other_, {{0, 5000}, 1}, now_).earlier, Earlier::kRead);
}

}  // namespace
}  // namespace baton
