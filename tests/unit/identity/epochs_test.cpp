// Which epoch a process belongs to: rule T7 on a tree of fake processes.
#include "fixture.h"

namespace baton::testing {
namespace {

class Epochs : public ResolverTest {
 protected:
  // A supervisor without the id, in a session of its own.
  Epochs() { proc_.Add(5, 1, 50).sid = 5; }
};

TEST_F(Epochs, PinnedProcessBelongsToItsEpochForGood) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX, 0);
  Pin(10, 3);
  ExpectMember(10, kGuidX, 3);
  EXPECT_EQ(Raw(resolver_.TryResolve(10)->member.epoch), 3u);
  Pin(10, 4);
  ExpectMember(10, kGuidX, 3);
  Fence(3, 200);
  ExpectFenced(10);
  EXPECT_EQ(Raw(Resolve(10).member.epoch), 3u);
  Pin(10, 5);
  ExpectFenced(10);
}

TEST_F(Epochs, PinByNumberMeansTheProcessResolvedLast) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  resolver_.Pin(10, kGuidX, Epoch{2});  // nobody was resolved under this number
  ExpectMember(10, kGuidX, 0);
  resolver_.Pin(10, kGuidX, Epoch{3});
  ExpectMember(10, kGuidX, 3);
  proc_.Exit(10);
  proc_.Add(10, 5, 300, {kX});
  ExpectMember(10, kGuidX, 0);
}

TEST_F(Epochs, DescendantsBelongToTheirAncestorsEpoch) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  proc_.Fork(10, 11, 300);
  proc_.Add(12, 11, 400);  // without the id
  ExpectMember(12, kGuidX, 3);
  ExpectMember(11, kGuidX, 3);
}

TEST_F(Epochs, PreforkedWorkerThatNeverUsedTheMountIsOld) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  proc_.Fork(10, 11, 110);
  proc_.Exit(10);
  Fence(3, 200);
  ExpectFenced(11);
}

TEST_F(Epochs, ChildStartedAfterTheFenceOfAnOldParentIsOld) {
  // Rule T7: any living ancestor with the same id
  proc_.Add(10, 5, 100, {kX});
  proc_.Add(11, 10, 110, {kY});
  Fence(3, 200);
  proc_.Add(12, 11, 300, {kX});
  ExpectFenced(12);
  proc_.Add(13, 10, 310);  // dropped the id
  ExpectFenced(13);
  ExpectMember(11, kGuidY);  // another instance is not concerned
}

TEST_F(Epochs, OldParentSeenOnceMakesOldForGood) {
  // Rule T7: what was found old stays old when its parent dies
  proc_.Add(10, 5, 100, {kX});
  Fence(3, 200);
  proc_.Fork(10, 11, 300);
  ExpectFenced(11);
  proc_.Exit(10);
  ASSERT_TRUE(resolver_.Register(0, 1, {kGuidY, {}, 5}));  // every answer is found anew
  proc_.empty_groups.insert("/g");
  resolver_.Sweep();
  ExpectFenced(11);
}

TEST_F(Epochs, NewProcessOfTheSupervisorIsNew) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  Fence(3, 200);
  proc_.Add(11, 5, 201, {kX});
  ExpectMember(11, kGuidX, 0);
  Pin(11, 7);
  ExpectMember(11, kGuidX, 7);
  ExpectFenced(10);
}

TEST_F(Epochs, SameTickCountsAsOld) {
  // Rule T7: what cannot be proven new is old
  proc_.Add(10, 5, 200, {kX});
  proc_.Add(11, 5, 201, {kX});
  resolver_.Fence(kGuidX, Epoch{3}, std::nullopt, AtTick(200) + std::chrono::milliseconds(9));
  ExpectFenced(10);
  ExpectMember(11, kGuidX);
}

TEST_F(Epochs, RestartBeforeTheAcknowledgementIsOldOnceMoreIsNew) {
  // Rule T7: a supervisor on the cut-off node
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  proc_.Exit(10);
  proc_.Add(11, 5, 150, {kX});
  ExpectMember(11, kGuidX, 0);
  Fence(3, 200);
  ExpectFenced(11);
  proc_.Exit(11);
  proc_.Add(12, 5, 300, {kX});
  ExpectMember(12, kGuidX, 0);
}

TEST_F(Epochs, HigherVersionIsNotMadeOldByItsStart) {
  // Rules T1, T7: a replacement on the same node starts before the old one is fenced
  proc_.Add(10, 5, 100, {kX, Version("1.0")});
  proc_.Add(11, 5, 150, {kX, Version("2.0")});
  proc_.Add(12, 5, 150, {kX, Version("1.0")});
  proc_.Add(13, 5, 150, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  Fence(3, 200, InstanceVersion{1, 0});
  ExpectFenced(10);
  ExpectMember(11, kGuidX, 0);
  ExpectFenced(12);
  ExpectFenced(13);
}

TEST_F(Epochs, VersionWhereTheFencedOneHadNoneIsNotMadeOldByItsStart) {
  // Rule T7
  proc_.Add(11, 5, 150, {kX, Version("0.1")});
  Fence(3, 200);
  ExpectMember(11, kGuidX, 0);
}

TEST_F(Epochs, ReplacementStartedByTheOldIncarnationItself) {
  // Rule T1: a strictly higher version takes over on the same node
  proc_.Add(10, 5, 100, {kX, Version("1.0")});
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  proc_.Add(11, 10, 150, {kX, Version("2.0")});
  proc_.Add(12, 10, 150, {kX, Version("1.0")});
  ExpectMember(11, kGuidX, 0);
  ExpectMember(12, kGuidX, 3);
  Fence(3, 200, InstanceVersion{1, 0});
  ExpectMember(11, kGuidX, 0);
  Pin(11, 4);
  proc_.Fork(11, 13, 250);
  ExpectMember(13, kGuidX, 4);
  ExpectFenced(12);
}

TEST_F(Epochs, PinnedAboveTheFencedEpochIsNotOld) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 4);
  Fence(3, 200);
  ExpectMember(10, kGuidX, 4);
  proc_.Fork(10, 11, 150);
  ExpectMember(11, kGuidX, 4);
}

TEST_F(Epochs, OnlyTheNewestFenceCountsForStartsAllForPins) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 2);
  Fence(2, 200);
  proc_.Add(11, 5, 250, {kX});
  ExpectMember(11, kGuidX, 0);
  Fence(5, 300);
  ExpectFenced(11);
  ExpectFenced(10);
  proc_.Add(12, 5, 350, {kX});
  Fence(5, 400);  // said again, as to every new session of the node
  Fence(2, 400);
  ExpectMember(12, kGuidX, 0);
}

TEST_F(Epochs, DoubleForkIntoAGroupThatHeldMembersIsOld) {
  // Rule T7: a process whose parent is the reaper
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Fence(3, 200);
  proc_.Fork(10, 11, 300);
  proc_.Fork(11, 12, 301);
  proc_.Exit(11);
  proc_.Exit(10);
  ASSERT_EQ(proc_.tasks[12].ppid, 1);
  ExpectFenced(12);
}

TEST_F(Epochs, ReapersChildInAGroupWithoutMembersIsNew) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX});
  ExpectMember(10, kGuidX);
  Fence(3, 200);
  FakeTask& fresh = proc_.Add(12, 1, 300, {kX});
  fresh.cgroup = "/other";
  ExpectMember(12, kGuidX, 0);
}

TEST_F(Epochs, FenceScansForCarriersThatNeverUsedTheMount) {
  // Rule T7: their groups held members too
  proc_.Add(10, 5, 100, {kX}).cgroup = "/unseen";
  Fence(3, 200);
  proc_.Fork(10, 11, 300);
  proc_.Exit(10);
  ExpectFenced(11);
}

TEST_F(Epochs, WithoutAScanEveryGroupCounts) {
  // Rule T7: what cannot be proven new is old
  proc_.list_fails = true;
  Fence(3, 200);
  proc_.Add(11, 1, 300, {kX});
  ExpectFenced(11);
}

TEST_F(Epochs, GroupSeenEmptyAfterTheFenceHoldsNoOrphans) {
  // Rule T7: a service manager (the reaper itself) starts the unit once more in the same group
  proc_.Add(10, 1, 100, {kX});
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  Fence(3, 200);
  proc_.Add(11, 1, 300, {kX});
  ExpectFenced(11);
  proc_.Exit(10);
  proc_.Exit(11);
  proc_.empty_groups.insert("/g");
  resolver_.Sweep();
  proc_.empty_groups.clear();
  proc_.Add(12, 1, 400, {kX});
  ExpectMember(12, kGuidX, 0);
}

TEST_F(Epochs, ReaperOfANestedNamespaceIsAReaper) {
  // Rule T7: a container's pid 1
  proc_.Add(7, 1, 60).is_reaper = true;
  proc_.Add(10, 5, 100, {kX});
  Fence(3, 200);
  proc_.Add(11, 7, 300, {kX});
  ExpectFenced(11);
}

TEST_F(Epochs, LeftToASubreaperIsSeenByItsSession) {
  // Rule T7: neither session leader nor of its parent's session
  proc_.Add(6, 1, 60).sid = 6;  // the subreaper
  proc_.Add(10, 5, 100, {kX});
  Fence(3, 200);
  proc_.Add(11, 6, 300, {kX}).sid = 10;
  ExpectFenced(11);
  proc_.Add(12, 6, 300, {kX}).sid = 12;  // a service of that manager
  ExpectMember(12, kGuidX, 0);
  proc_.Add(13, 6, 300, {kX}).sid = 6;  // a plain child of it
  ExpectMember(13, kGuidX, 0);
}

TEST_F(Epochs, ChangedParentIsAnOrphan) {
  // Rule T7: seen with another parent before
  proc_.Add(6, 5, 60);
  proc_.Add(10, 5, 100, {kX});
  proc_.Add(11, 10, 300);
  proc_.tasks[10].readable = false;  // so that the id did not pass on
  ExpectKind(11, Kind::kAnonymous);
  proc_.Exit(10, 6);
  Fence(3, 200);
  proc_.Add(20, 5, 100, {kX});  // a member in the same group
  ExpectFenced(20);
  proc_.Exec(11, {kX});
  ExpectFenced(11);
}

TEST_F(Epochs, TopmostOfTheNamespaceHasNoParentInIt) {
  // Rule T7: a container's own pid 1, started after the fence
  proc_.tasks[1].environment = FakeProc::Env({kX});
  proc_.tasks[1].start = 300;
  Fence(3, 200);
  ExpectMember(1, kGuidX, 0);
}

TEST_F(Epochs, FenceAllFencesEveryIncarnationOfTheNode) {
  // Rule T7: the server forgot the session
  proc_.Add(10, 5, 100, {kX});
  proc_.Add(11, 5, 100, {kY});
  proc_.Add(12, 5, 100, {kX});
  Resolve(10);
  Resolve(11);
  Pin(10, 3);
  Pin(11, 8, kGuidY);
  resolver_.FenceAll(AtTick(200));
  ExpectFenced(10);
  ExpectFenced(11);
  ExpectFenced(12);
  proc_.Add(13, 5, 300, {kX});
  ExpectMember(13, kGuidX, 0);
  resolver_.FenceAll(AtTick(400));  // nothing new was granted
  ExpectMember(13, kGuidX, 0);
}

TEST_F(Epochs, FenceAllKeepsTheVersionOfWhatItFences) {
  // Rule T7
  proc_.Add(10, 5, 100, {kX, Version("2.0")});
  Resolve(10);
  Pin(10, 3);
  proc_.Add(11, 5, 150, {kX, Version("2.0")});
  proc_.Add(12, 5, 150, {kX, Version("2.1")});
  resolver_.FenceAll(AtTick(200));
  ExpectFenced(11);
  ExpectMember(12, kGuidX, 0);
}

TEST_F(Epochs, UnregisteredAndRegisteredAgainIsStillFenced) {
  // Rules I2 (a), T7
  proc_.Add(10, 5, 100);
  ASSERT_TRUE(resolver_.Register(0, 10, {kGuidX, {}, 0}));
  ExpectMember(10, kGuidX);
  Pin(10, 3);
  Fence(3, 200);
  ExpectFenced(10);
  ASSERT_TRUE(resolver_.Unregister(0, 10));
  ExpectKind(10, Kind::kAnonymous);
  ASSERT_TRUE(resolver_.Register(0, 10, {kGuidX, {}, 0}));
  ExpectFenced(10);
}

class Sweeping : public Epochs {
 protected:
  using Lost = std::vector<std::pair<Guid, Epoch>>;
};

TEST_F(Sweeping, ReportsAnIncarnationWithoutLivingProcessOnce) {
  // Rule T3
  proc_.Add(10, 5, 100, {kX});
  proc_.Fork(10, 11, 110);
  Resolve(10);
  Pin(10, 3);
  Resolve(11);
  EXPECT_EQ(resolver_.Sweep(), Lost{});
  proc_.Exit(10, 5);
  EXPECT_EQ(resolver_.Sweep(), Lost{});
  proc_.Exit(11);
  EXPECT_EQ(resolver_.Sweep(), (Lost{{kGuidX, Epoch{3}}}));
  EXPECT_EQ(resolver_.Sweep(), Lost{});
}

TEST_F(Sweeping, WorkerThatNeverUsedTheMountIsALivingProcess) {
  // Rule T3
  proc_.Add(10, 5, 100, {kX});
  Resolve(10);
  Pin(10, 3);
  proc_.Fork(10, 11, 110);
  proc_.Exit(10, 5);
  EXPECT_EQ(resolver_.Sweep(), Lost{});
  EXPECT_EQ(resolver_.Sweep(), Lost{});
  proc_.Exit(11);
  EXPECT_EQ(resolver_.Sweep(), (Lost{{kGuidX, Epoch{3}}}));
}

TEST_F(Sweeping, ZombieAndLaterProcessOfTheNumberAreNotAlive) {
  // Rule T3
  proc_.Add(10, 5, 100, {kX});
  proc_.Add(11, 5, 100, {kY});
  Resolve(10);
  Resolve(11);
  Pin(10, 3);
  Pin(11, 4, kGuidY);
  proc_.tasks[10].dead = true;
  proc_.tasks[10].environment.clear();
  proc_.Exit(11);
  proc_.Add(11, 5, 300);
  Lost lost = resolver_.Sweep();
  std::sort(lost.begin(), lost.end());
  EXPECT_EQ(lost, (Lost{{kGuidX, Epoch{3}}, {kGuidY, Epoch{4}}}));
}

TEST_F(Sweeping, FencedIncarnationIsNotReported) {
  // Rule T3
  proc_.Add(10, 5, 100, {kX});
  Resolve(10);
  Pin(10, 3);
  Fence(3, 200);
  proc_.Exit(10);
  EXPECT_EQ(resolver_.Sweep(), Lost{});
}

TEST_F(Sweeping, WithoutAListNothingIsTakenForGone) {
  // Rule T3
  proc_.Add(10, 5, 100, {kX});
  Resolve(10);
  Pin(10, 3);
  proc_.list_fails = true;
  EXPECT_EQ(resolver_.Sweep(), Lost{});
  ExpectMember(10, kGuidX, 3);
}

}  // namespace
}  // namespace baton::testing
