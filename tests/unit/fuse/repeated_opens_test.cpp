// Rules C3, T9: a claim granted for a retired inode is kept until the open is repeated.
#include "fuse/ops/repeated_opens.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(RepeatedOpens, KeptForItsProcessAndFile) {
  RepeatedOpens repeated;
  repeated.Hold({.file = 1, .pid = 10, .handle = HandleId{100}});
  EXPECT_TRUE(repeated.Take(1, 11).empty());
  EXPECT_TRUE(repeated.Take(2, 10).empty());
  ASSERT_EQ(repeated.Take(1, 10).size(), 1u);
  EXPECT_TRUE(repeated.Take(HandleId{100}).empty());
}

TEST(RepeatedOpens, GoesWhenNobodyAsksAgain) {
  RepeatedOpens repeated;
  repeated.Hold({.file = 1, .pid = 10, .handle = HandleId{100}});
  repeated.Hold({.file = 1, .pid = 10, .handle = HandleId{101}});
  ASSERT_EQ(repeated.Take(HandleId{100}).size(), 1u);
  const auto left = repeated.Take(1, 10);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].handle, HandleId{101});
}

}  // namespace
}  // namespace baton
