// The algebra of one file's locks, case by case. That the cases are the kernel's is tests/oracle's business.
// L1, L3, T9.
#include "locks/lock_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace baton {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr LockType kR = LockType::kRead;
constexpr LockType kW = LockType::kWrite;
const ByteRange kWhole;
const SessionId kNode1{1};
const SessionId kNode2{2};
const Guid kX = *ParseGuid("11111111-1111-1111-1111-111111111111");
const Instant kSoon = std::chrono::seconds(10);
const Instant kLater = std::chrono::seconds(20);
const Guid kY = *ParseGuid("22222222-2222-2222-2222-222222222222");

// Owner n of a session, set through handle n.
Lock Make(SessionId session, std::uint64_t owner, LockType type, std::uint64_t start, std::uint64_t last,
          std::optional<Guid> instance = {}) {
  return {.owner = LockOwner(session, owner),
          .range = {start, last},
          .handle = HandleId{owner},
          .pid = static_cast<std::int32_t>(owner),
          .type = type,
          .instance = instance};
}
Lock Make(std::uint64_t owner, LockType type, std::uint64_t start, std::uint64_t last,
          std::optional<Guid> instance = {}) {
  return Make(kNode1, owner, type, start, last, instance);
}

// "1R0-9": owner 1 holds 0 to 9 for reading; "$" is the end of every file, "X" and "Y" a reservation.
std::string Text(const Lock& lock) {
  std::string owner = std::to_string(lock.owner.owner());
  if (lock.owner.IsReservation()) owner = lock.owner.instance() == kX ? "X" : "Y";
  const std::string last = lock.range.last == kRangeEnd ? "$" : std::to_string(lock.range.last);
  return owner + (lock.type == kR ? "R" : "W") + std::to_string(lock.range.start) + "-" + last;
}

class LockTableTest : public testing::Test {
 protected:
  void TearDown() override { table_.CheckInvariants(); }

  std::vector<std::string> Held() const {
    std::vector<std::string> held;
    for (const Lock& lock : table_.List()) held.push_back(Text(lock));
    return held;
  }
  std::string Blocker(const Lock& wish) const {
    const Lock* lock = table_.Conflict(wish);
    return lock == nullptr ? "" : Text(*lock);
  }

  LockTable table_;
};

// One owner holds `before`, then locks or unlocks 10-19; `after` is what it has then. Type U unlocks.
struct AlgebraCase {
  const char* name;
  std::vector<std::string> before;
  char type;
  std::vector<std::string> after;
};

class LockAlgebraTest : public LockTableTest, public testing::WithParamInterface<AlgebraCase> {};

Lock Parse(const std::string& text) {
  const auto dash = text.find('-');
  const std::string last = text.substr(dash + 1);
  return Make(1, text[1] == 'R' ? kR : kW, std::stoull(text.substr(2)),
              last == "$" ? kRangeEnd : std::stoull(last));
}

TEST_P(LockAlgebraTest, LeavesWhatTheKernelLeaves) {
  for (const std::string& lock : GetParam().before) table_.Apply(Parse(lock));
  ASSERT_EQ(Held(), GetParam().before);
  if (GetParam().type == 'U') {
    table_.Unlock(LockOwner(kNode1, 1), {10, 19});
  } else {
    table_.Apply(Parse(std::string("1") + GetParam().type + "10-19"));
  }
  EXPECT_EQ(Held(), GetParam().after);
}

INSTANTIATE_TEST_SUITE_P(
    L1, LockAlgebraTest,
    testing::Values(AlgebraCase{"First", {}, 'R', {"1R10-19"}},
                    AlgebraCase{"Again", {"1R10-19"}, 'R', {"1R10-19"}},
                    AlgebraCase{"Upgrade", {"1R10-19"}, 'W', {"1W10-19"}},
                    AlgebraCase{"Downgrade", {"1W10-19"}, 'R', {"1R10-19"}},
                    AlgebraCase{"MergeLow", {"1R0-9"}, 'R', {"1R0-19"}},
                    AlgebraCase{"MergeHigh", {"1R20-29"}, 'R', {"1R10-29"}},
                    AlgebraCase{"MergeBoth", {"1R0-9", "1R20-29"}, 'R', {"1R0-29"}},
                    AlgebraCase{"GapLow", {"1R0-8"}, 'R', {"1R0-8", "1R10-19"}},
                    AlgebraCase{"GapHigh", {"1R21-29"}, 'R', {"1R10-19", "1R21-29"}},
                    AlgebraCase{"OverlapLow", {"1R0-14"}, 'R', {"1R0-19"}},
                    AlgebraCase{"OverlapHigh", {"1R15-29"}, 'R', {"1R10-29"}},
                    AlgebraCase{"Inside", {"1R0-$"}, 'R', {"1R0-$"}},
                    AlgebraCase{"Swallow", {"1R11-12", "1W13-13", "1R15-16"}, 'R', {"1R10-19"}},
                    AlgebraCase{
                        "OtherTypeBeside", {"1W0-9", "1W20-29"}, 'R', {"1W0-9", "1R10-19", "1W20-29"}},
                    AlgebraCase{"OtherTypeLow", {"1W0-14"}, 'R', {"1W0-9", "1R10-19"}},
                    AlgebraCase{"OtherTypeHigh", {"1W15-$"}, 'R', {"1R10-19", "1W20-$"}},
                    AlgebraCase{"OtherTypeAround", {"1W0-$"}, 'R', {"1W0-9", "1R10-19", "1W20-$"}},
                    AlgebraCase{"UpgradeInside", {"1R5-25"}, 'W', {"1R5-9", "1W10-19", "1R20-25"}},
                    AlgebraCase{"UpgradeThenMerge", {"1W0-9", "1R10-19", "1W20-29"}, 'W', {"1W0-29"}},
                    AlgebraCase{"CutAndMerge", {"1R0-9", "1W10-29"}, 'R', {"1R0-19", "1W20-29"}},
                    AlgebraCase{"UnlockNothing", {"1R0-9", "1R20-29"}, 'U', {"1R0-9", "1R20-29"}},
                    AlgebraCase{"UnlockAll", {"1R10-19"}, 'U', {}},
                    AlgebraCase{"UnlockSplits", {"1R0-$"}, 'U', {"1R0-9", "1R20-$"}},
                    AlgebraCase{"UnlockEnds", {"1R0-14", "1W15-29"}, 'U', {"1R0-9", "1W20-29"}},
                    AlgebraCase{"UnlockMany", {"1R8-10", "1W12-13", "1R15-15", "1W19-19"}, 'U', {"1R8-9"}}),
    [](const auto& each) { return each.param.name; });

TEST_F(LockTableTest, ReadersShareAWriterExcludes) {
  table_.Apply(Make(1, kR, 0, 9));
  EXPECT_EQ(Blocker(Make(2, kR, 0, 9)), "");
  EXPECT_EQ(Blocker(Make(2, kW, 9, 9)), "1R0-9");
  EXPECT_EQ(Blocker(Make(2, kW, 10, kRangeEnd)), "");
  EXPECT_EQ(Blocker(Make(1, kW, 0, 9)), "");
  table_.Apply(Make(1, kW, 0, 9));
  EXPECT_EQ(Blocker(Make(2, kR, 0, 0)), "1W0-9");
}

TEST_F(LockTableTest, TheSameLockOwnerInAnotherSessionIsAnother) {
  table_.Apply(Make(kNode1, 7, kW, 0, 9));
  EXPECT_EQ(Blocker(Make(kNode2, 7, kW, 0, 9)), "7W0-9");
}

TEST_F(LockTableTest, TheFirstConflictIsOfTheOwnerThatCameFirst) {
  table_.Apply(Make(9, kR, 50, 59));
  table_.Apply(Make(3, kR, 0, 9));
  table_.Apply(Make(9, kW, 20, 29));
  EXPECT_EQ(Blocker(Make(5, kW, 0, kRangeEnd)), "9W20-29");
  EXPECT_EQ(Blocker(Make(5, kW, 0, 19)), "3R0-9");
  EXPECT_THAT(Held(), ElementsAre("9W20-29", "9R50-59", "3R0-9"));
  table_.Unlock(LockOwner(kNode1, 9), kWhole);
  table_.Apply(Make(9, kR, 0, 0));
  EXPECT_THAT(Held(), ElementsAre("3R0-9", "9R0-0")) << "who lost all comes anew";
}

TEST_F(LockTableTest, AllConflictsComeInTheOrderOfAnswers) {
  table_.Apply(Make(2, kR, 30, 39));
  table_.Apply(Make(1, kR, 0, 39));
  table_.Apply(Make(2, kW, 40, 49));
  std::vector<std::string> conflicts;
  for (const Lock* lock : table_.AllConflicts(Make(3, kW, 35, 45))) conflicts.push_back(Text(*lock));
  EXPECT_THAT(conflicts, ElementsAre("2R30-39", "2W40-49", "1R0-39"));
  EXPECT_THAT(table_.AllConflicts(Make(3, kR, 0, 39)), IsEmpty());
}

TEST_F(LockTableTest, HeldByOthersSeesOnlyOthers) {
  EXPECT_FALSE(table_.HeldByOthers(LockOwner(kNode1, 1)));
  table_.Apply(Make(1, kR, 0, 0));
  table_.Apply(Make(1, kW, 2, 2));
  EXPECT_FALSE(table_.HeldByOthers(LockOwner(kNode1, 1)));
  EXPECT_TRUE(table_.HeldByOthers(LockOwner(kNode1, 2)));
  table_.Apply(Make(2, kR, 0, 0));
  EXPECT_TRUE(table_.HeldByOthers(LockOwner(kNode1, 1)));
}

TEST_F(LockTableTest, FirstHeldIsTheOwnersOwn) {
  table_.Apply(Make(1, kW, 10, 19));
  table_.Apply(Make(2, kW, 0, 9));
  table_.Apply(Make(2, kR, 30, 39));
  const LockOwner two(kNode1, 2);
  EXPECT_EQ(Text(*table_.FirstHeld(two, {5, 35})), "2W0-9");
  EXPECT_EQ(Text(*table_.FirstHeld(two, {10, 30})), "2R30-39");
  EXPECT_EQ(table_.FirstHeld(two, {10, 29}), nullptr);
  EXPECT_EQ(table_.FirstHeld(LockOwner(kNode1, 3), kWhole), nullptr);
}

TEST_F(LockTableTest, UnlockSaysWhetherThereWasALock) {
  table_.Apply(Make(1, kR, 0, 9));
  EXPECT_FALSE(table_.Unlock(LockOwner(kNode1, 1), {10, 19}));
  EXPECT_FALSE(table_.Unlock(LockOwner(kNode1, 2), kWhole));
  EXPECT_TRUE(table_.Unlock(LockOwner(kNode1, 1), {9, 19}));
  EXPECT_THAT(Held(), ElementsAre("1R0-8"));
}

TEST_F(LockTableTest, AMergedRangeBelongsToTheHandleAndPidThatCameLast) {
  Lock low = Make(1, kW, 0, 9);
  Lock high = Make(1, kW, 10, 19);
  low.handle = HandleId{100};
  high.handle = HandleId{200};
  high.pid = 77;
  table_.Apply(low);
  table_.Apply(high);
  ASSERT_EQ(table_.size(), 1u);
  EXPECT_EQ(table_.List()[0].pid, 77);
  EXPECT_EQ(table_.DropHandle(HandleId{100}), 0u);
  EXPECT_THAT(Held(), ElementsAre("1W0-19"));
  EXPECT_EQ(table_.DropHandle(HandleId{200}), 1u);
  EXPECT_TRUE(table_.empty());
}

TEST_F(LockTableTest, DropHandleTakesOnlyWhatIsItsOwn) {
  Lock low = Make(1, kW, 0, 9);
  Lock high = Make(1, kR, 10, 19);
  low.handle = high.handle = HandleId{100};
  table_.Apply(low);
  table_.Apply(high);
  table_.Apply(Make(1, kW, 30, 39));
  table_.Apply(Make(2, kR, 12, 13));
  EXPECT_EQ(table_.DropHandle(HandleId{100}), 2u);
  EXPECT_THAT(Held(), ElementsAre("1W30-39", "2R12-13"));
}

TEST_F(LockTableTest, DropOwnerAndDropSession) {
  table_.Apply(Make(kNode1, 1, kR, 0, 9));
  table_.Apply(Make(kNode2, 2, kR, 0, 9));
  table_.Apply(Make(kNode1, 3, kR, 0, 9));
  table_.Apply(Make(kNode1, 3, kW, 20, 29));
  EXPECT_EQ(table_.DropOwner(LockOwner(kNode1, 1)), 1u);
  EXPECT_EQ(table_.DropSession(kNode1), 2u);
  EXPECT_THAT(Held(), ElementsAre("2R0-9"));
  EXPECT_EQ(table_.DropSession(SessionId{3}), 0u);
}

TEST_F(LockTableTest, RangesOfTwoInstancesOfOneOwnerStayApart) {
  Lock x = Make(1, kW, 0, 9, kX);
  Lock y = Make(1, kW, 10, 19, kY);
  y.handle = HandleId{2};
  table_.Apply(x);
  table_.Apply(y);
  EXPECT_THAT(Held(), ElementsAre("1W0-9", "1W10-19"));
  y.range = {5, 19};
  table_.Apply(y);
  EXPECT_THAT(Held(), ElementsAre("1W0-4", "1W5-19"));
  EXPECT_EQ(table_.Reserve(HandleId{1}, kX, kSoon), 1u);
  EXPECT_THAT(Held(), ElementsAre("1W5-19", "XW0-4"));
}

TEST_F(LockTableTest, AReservationStopsEveryoneButItsInstance) {
  table_.Apply(Make(1, kW, 0, 9, kX));
  EXPECT_EQ(table_.Reserve(HandleId{1}, kX, kSoon), 1u);
  EXPECT_EQ(Blocker(Make(kNode2, 1, kR, 0, 9)), "XW0-9");
  EXPECT_EQ(Blocker(Make(kNode2, 1, kR, 0, 9, kY)), "XW0-9");
  EXPECT_EQ(Blocker(Make(kNode2, 1, kW, 0, 9, kX)), "");
  EXPECT_EQ(Blocker(Make(1, kR, 0, 9)), "XW0-9") << "the old owner without its instance is a stranger";
  EXPECT_TRUE(table_.HasReservations(kX));
  EXPECT_FALSE(table_.HasReservations(kY));
  EXPECT_EQ(table_.DropHandle(HandleId{1}), 0u) << "the handle has nothing left";
}

TEST_F(LockTableTest, AReservationForReadingLetsReadersIn) {
  table_.Apply(Make(1, kR, 0, 9, kX));
  table_.Reserve(HandleId{1}, kX, kSoon);
  EXPECT_EQ(Blocker(Make(kNode2, 1, kR, 0, 9)), "");
  EXPECT_EQ(Blocker(Make(kNode2, 1, kW, 0, 9)), "XR0-9");
}

TEST_F(LockTableTest, TheNewIncarnationTakesAndReleases) {
  table_.Apply(Make(1, kW, 0, 19, kX));
  table_.Reserve(HandleId{1}, kX, kSoon);
  table_.Apply(Make(kNode2, 5, kW, 0, 9, kX));
  EXPECT_THAT(Held(), ElementsAre("XW0-19", "5W0-9"));
  table_.Unlock(LockOwner(kNode2, 5), {0, 9});
  EXPECT_EQ(table_.DropReservations(kX, {0, 9}), 1u);
  EXPECT_THAT(Held(), ElementsAre("XW10-19"));
  EXPECT_EQ(table_.DropReservations(kX, {0, 9}), 0u);
  EXPECT_EQ(table_.DropReservations(kX), 1u);
  EXPECT_TRUE(table_.empty());
}

TEST_F(LockTableTest, ReservationsMergeAndWritingPrevails) {
  table_.Apply(Make(1, kR, 0, 29, kX));
  table_.Apply(Make(2, kR, 20, 39, kX));
  table_.Apply(Make(3, kW, 40, 49, kX));
  table_.Apply(Make(4, kW, 50, 59, kX));
  const auto of_x = [](const Lock& lock) { return lock.instance == kX; };
  EXPECT_EQ(table_.ReserveIf(of_x, kX, kSoon), 4u);
  EXPECT_THAT(Held(), ElementsAre("XR0-39", "XW40-59"));
  table_.Apply(Make(kNode2, 1, kR, 35, 70, kX));
  EXPECT_EQ(table_.ReserveIf(of_x, kX, kSoon), 1u) << "reservations themselves are not chosen";
  EXPECT_THAT(Held(), ElementsAre("XR0-39", "XW40-59", "XR60-70"));
  table_.Apply(Make(kNode2, 1, kW, 10, 19, kX));
  table_.Reserve(HandleId{1}, kX, kSoon);
  EXPECT_THAT(Held(), ElementsAre("XR0-9", "XW10-19", "XR20-39", "XW40-59", "XR60-70"));
}

TEST_F(LockTableTest, WhatWasLostLaterLapsesLater) {
  table_.Apply(Make(1, kW, 0, 19, kX));
  table_.Apply(Make(2, kW, 30, 39, kY));
  table_.Reserve(HandleId{1}, kX, kSoon);
  table_.Apply(Make(kNode2, 3, kR, 10, 29, kX));
  EXPECT_EQ(table_.Reserve(HandleId{3}, kX, kLater), 1u);
  EXPECT_THAT(Held(), ElementsAre("2W30-39", "XW0-19", "XR10-29"));
  EXPECT_EQ(Blocker(Make(kNode2, 4, kR, 10, 19)), "XW0-19");
  EXPECT_EQ(table_.DropReservationsUntil(kX, kSoon - Duration(1)), 0u);
  EXPECT_EQ(table_.DropReservationsUntil(kX, kSoon), 1u);
  EXPECT_THAT(Held(), ElementsAre("2W30-39", "XR10-29"));
  EXPECT_TRUE(table_.HasReservations(kX));
  EXPECT_EQ(table_.DropReservationsUntil(kX, kLater), 1u);
  EXPECT_FALSE(table_.HasReservations(kX));
  EXPECT_THAT(Held(), ElementsAre("2W30-39"));
}

TEST_F(LockTableTest, WhatIsReleasedGoesFromAllThatIsReserved) {
  table_.Apply(Make(1, kW, 0, 19, kX));
  table_.Reserve(HandleId{1}, kX, kSoon);
  table_.Apply(Make(kNode2, 3, kW, 10, 29, kX));
  table_.Reserve(HandleId{3}, kX, kLater);
  EXPECT_EQ(table_.DropReservations(kX, {15, 24}), 2u);
  EXPECT_THAT(Held(), ElementsAre("XW0-14", "XW10-14", "XW25-29"));
}

TEST_F(LockTableTest, ReservationsOfTwoInstancesAreTwo) {
  table_.Apply(Make(1, kR, 0, 9, kX));
  table_.Apply(Make(2, kR, 0, 9, kY));
  table_.Reserve(HandleId{1}, kX, kSoon);
  table_.Reserve(HandleId{2}, kY, kSoon);
  EXPECT_EQ(Blocker(Make(kNode2, 1, kW, 0, 9, kX)), "YR0-9");
  EXPECT_EQ(table_.DropSession(SessionId{}), 0u) << "no session owns a reservation";
  EXPECT_EQ(table_.DropReservations(kX), 1u);
  EXPECT_THAT(Held(), ElementsAre("YR0-9"));
}

TEST_F(LockTableTest, AnOwnerOfAReservationKeepsTheGuid) {
  EXPECT_EQ(LockOwner::Reservation(kX, kSoon).instance(), kX);
  EXPECT_NE(LockOwner::Reservation(kX, kSoon), LockOwner::Reservation(kY, kSoon));
  EXPECT_TRUE(LockOwner(kNode1, 1).instance().is_nil());
}

Lock Flock(std::uint64_t handle, LockType type) {
  return {.owner = LockOwner::Flock(kNode1, HandleId{handle}), .handle = HandleId{handle}, .type = type};
}

TEST_F(LockTableTest, FlockConversionGivesUpTheOldLockFirst) {
  EXPECT_EQ(table_.SetFlock(Flock(1, kR)).conflict, nullptr);
  EXPECT_EQ(table_.SetFlock(Flock(2, kR)).conflict, nullptr);
  const FlockAnswer same = table_.SetFlock(Flock(1, kR));
  EXPECT_EQ(same.conflict, nullptr);
  EXPECT_FALSE(same.released);
  const FlockAnswer upgrade = table_.SetFlock(Flock(1, kW));
  ASSERT_NE(upgrade.conflict, nullptr);
  EXPECT_EQ(upgrade.conflict->handle, HandleId{2});
  EXPECT_TRUE(upgrade.released);
  EXPECT_THAT(Held(), ElementsAre("2R0-$"));
  const FlockAnswer alone = table_.SetFlock(Flock(2, kW));
  EXPECT_EQ(alone.conflict, nullptr);
  EXPECT_TRUE(alone.released);
  EXPECT_THAT(Held(), ElementsAre("2W0-$"));
}

TEST_F(LockTableTest, MovesWithItsLocks) {
  table_.Apply(Make(1, kW, 0, 9));
  table_.Apply(Make(2, kR, 10, 19));
  LockTable moved = std::move(table_);
  EXPECT_EQ(moved.size(), 2u);
  EXPECT_EQ(Text(*moved.Conflict(Make(3, kR, 0, 99))), "1W0-9");
  moved.CheckInvariants();
}

// Ten thousand owners, each in its own place, set, asked for and dropped: all that is quadratic takes minutes
// here.
TEST_F(LockTableTest, TenThousandOwnersAreNothingSpecial) {
  constexpr std::uint64_t kOwners = 10'000;
  for (std::uint64_t n = 1; n <= kOwners; ++n) {
    const Lock lock = Make(SessionId{1 + n % 10}, n, n % 2 == 0 ? kR : kW, n * 10, n * 10 + 5);
    ASSERT_EQ(table_.Conflict(lock), nullptr);
    table_.Apply(lock);
  }
  EXPECT_EQ(Blocker(Make(kOwners + 1, kW, kOwners * 10, kRangeEnd)), "10000R100000-100005");
  table_.CheckInvariants();
  for (std::uint64_t n = 1; n <= kOwners; n += 2) EXPECT_EQ(table_.DropHandle(HandleId{n}), 1u);
  std::size_t dropped = 0;
  for (std::uint64_t session = 1; session <= 10; ++session) dropped += table_.DropSession(SessionId{session});
  EXPECT_EQ(dropped, kOwners / 2);
  EXPECT_TRUE(table_.empty());
}

TEST_F(LockTableTest, TenThousandReadersOfOneRangeAreNothingSpecial) {
  for (std::uint64_t n = 1; n <= 10'000; ++n) {
    ASSERT_EQ(table_.Conflict(Make(n, kR, 0, 9)), nullptr);
    table_.Apply(Make(n, kR, 0, 9));
  }
  EXPECT_EQ(Blocker(Make(20'000, kW, 0, 0)), "1R0-9");
  for (std::uint64_t n = 1; n <= 10'000; ++n) table_.DropOwner(LockOwner(kNode1, n));
  EXPECT_TRUE(table_.empty());
}

TEST(LockMemory, BelowTwoHundredBytesALock) {
  EXPECT_LE(sizeof(LockNode), 184u);
}

}  // namespace
}  // namespace baton
