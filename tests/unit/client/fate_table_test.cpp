// FateTable: rule S5, a file with a request of unknown fate admits no new open.
#include "fuse/client/fate_table.h"

#include <gtest/gtest.h>

namespace baton::client {
namespace {

TEST(FateTable, OpensWaitUntilEveryFateIsKnown) {
  FateTable table;
  std::vector<int> results;
  const auto waiter = [&] {
    return FateTable::Waiter([&](Result<> result) { results.push_back(result ? 0 : result.error().value); });
  };
  FateTable::Waiter first = waiter();
  EXPECT_TRUE(table.Pass(1, CallToken{1}, first));
  EXPECT_TRUE(first) << "untouched";
  table.Unknown(1);
  table.Unknown(1);
  EXPECT_FALSE(table.Pass(1, CallToken{1}, first));
  EXPECT_TRUE(table.Pass(2, CallToken{2}, first)) << "another file";
  FateTable::Waiter second = waiter();
  EXPECT_FALSE(table.Pass(1, CallToken{2}, second));
  table.Known(1);
  EXPECT_TRUE(results.empty());
  EXPECT_TRUE(table.Withdraw(CallToken{2}, EINTR));
  EXPECT_FALSE(table.Withdraw(CallToken{2}, EINTR));
  EXPECT_EQ(results, std::vector{EINTR});
  table.Known(1);
  EXPECT_EQ(results, (std::vector{EINTR, 0}));
  EXPECT_FALSE(table.IsUnknown(1));
}

}  // namespace
}  // namespace baton::client
