// Rule T7: a fence is acknowledged after every request that may still call an old process new.
#include "fuse/ops/member_requests.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

class MemberRequestsTest : public testing::Test {
 protected:
  void Fence() {
    requests_.WhenNone(mine_, [this] { ++acknowledged_; });
  }
  const Guid mine_ = *ParseGuid("11111111-1111-1111-1111-111111111111");
  const Guid other_ = *ParseGuid("22222222-2222-2222-2222-222222222222");
  MemberRequests requests_;
  int acknowledged_ = 0;
};

TEST_F(MemberRequestsTest, NothingUnderWay) {
  Fence();
  EXPECT_EQ(acknowledged_, 1);
}

TEST_F(MemberRequestsTest, WaitsForItsOwnRequests) {
  auto first = requests_.Begin();
  auto second = requests_.Begin();
  first->IsOf(mine_);
  second->IsOf(mine_);
  Fence();
  first.reset();
  EXPECT_EQ(acknowledged_, 0);
  second.reset();
  EXPECT_EQ(acknowledged_, 1);
}

TEST_F(MemberRequestsTest, NotForThoseOfOthers) {
  auto others = requests_.Begin();
  others->IsOf(other_);
  Fence();
  EXPECT_EQ(acknowledged_, 1);
}

TEST_F(MemberRequestsTest, WhoIsBeingJudgedMayBeOne) {
  auto another = requests_.Begin();
  auto own = requests_.Begin();
  auto nobody = requests_.Begin();
  Fence();
  another->IsOf(other_);
  nobody.reset();
  own->IsOf(mine_);
  EXPECT_EQ(acknowledged_, 0);
  own.reset();
  EXPECT_EQ(acknowledged_, 1);
}

TEST_F(MemberRequestsTest, LaterRequestsWereJudgedByTheFence) {
  auto early = requests_.Begin();
  early->IsOf(mine_);
  Fence();
  auto late = requests_.Begin();
  late->IsOf(mine_);
  early.reset();
  EXPECT_EQ(acknowledged_, 1);
}

}  // namespace
}  // namespace baton
