// Rule O6 at the mount's end: nothing that was to be done later is dropped, with a program's request in it.
#include "fuse/ops/housekeeping.h"

#include <gtest/gtest.h>

#include <future>

namespace baton {
namespace {

using std::chrono::hours;

class HousekeepingTest : public testing::Test {
 protected:
  void Start() {
    housekeeping_.Start({.fast_wanted = [] { return false; }, .fast = [] {}, .slow = [] {}});
  }
  BootClock clock_;
  Housekeeping housekeeping_{clock_};
};

TEST_F(HousekeepingTest, DoesWhatIsDue) {
  Start();
  std::promise<void> done;
  housekeeping_.After({}, [&] { done.set_value(); });
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(HousekeepingTest, StopDoesWhatIsLeft) {
  Start();
  int done = 0;
  housekeeping_.After(hours(1), [&] { ++done; });
  housekeeping_.Stop();
  EXPECT_EQ(done, 1);
  housekeeping_.After(hours(1), [&] { ++done; });
  EXPECT_EQ(done, 2);
}

TEST_F(HousekeepingTest, StopWithoutStart) {
  int done = 0;
  housekeeping_.After(hours(1), [&] { ++done; });
  housekeeping_.Stop();
  EXPECT_EQ(done, 1);
}

}  // namespace
}  // namespace baton
