// Where an id comes from: rules I2, I4, I5, T1, T3 on a tree of fake processes.
#include "fixture.h"

namespace baton::testing {
namespace {

class Sources : public ResolverTest {};

TEST_F(Sources, EnvironmentGivesIdVersionOwnerAndProgram) {
  // Rules I1, I2 (b), I3, T3
  proc_.Add(10, 1, 100, {kX, Version("3.1")}).uid = 77;
  Resolution answer = Resolve(10);
  EXPECT_EQ(answer.kind, Kind::kInstance);
  EXPECT_EQ(answer.member.guid, kGuidX);
  EXPECT_EQ(answer.member.version, (InstanceVersion{3, 1}));
  EXPECT_EQ(answer.member.epoch, kNewEpoch);
  EXPECT_EQ(answer.member.owner_uid, 77u);
  EXPECT_TRUE(answer.member.may_take_over);
  EXPECT_EQ(answer.member.source, IdentitySource::kEnvironment);
  EXPECT_EQ(answer.pid, 10);
  EXPECT_EQ(answer.program, "prog");
  proc_.Add(11, 1, 100);
  ExpectKind(11, Kind::kAnonymous);
}

TEST_F(Sources, ThreadStandsForItsProcess) {
  // Rule I5
  proc_.Add(10, 1, 100, {kX});
  proc_.Thread(10, 12, 150);
  EXPECT_EQ(Resolve(12).pid, 10);
  ExpectMember(12, kGuidX);
  proc_.Thread(10, 13, 160);
  std::optional<Resolution> second = resolver_.TryResolve(13);
  ASSERT_TRUE(second) << "a new thread of a known process needs no slow path";
  EXPECT_EQ(second->pid, 10);
}

TEST_F(Sources, UnidentifiedIsNotAnonymous) {
  // Rule I5
  EXPECT_EQ(resolver_.TryResolve(0)->kind, Kind::kUnidentified);
  ExpectKind(0, Kind::kUnidentified);
  ExpectKind(4242, Kind::kUnidentified);
  proc_.Add(10, 1, 100, {kX}).readable = false;
  ExpectKind(10, Kind::kUnidentified);
  proc_.Add(11, 1, 100).kernel_thread = true;
  ExpectKind(11, Kind::kUnidentified);
  EXPECT_EQ(resolver_.Count().unidentified, 5u);
}

TEST_F(Sources, IdOnceSeenStaysUntilExec) {
  // Rule I2 (b): redis overwrites its environment
  proc_.Add(10, 1, 100, {kX});
  ExpectMember(10, kGuidX);
  proc_.tasks[10].environment = std::string(1483, '\0');
  EXPECT_EQ(resolver_.TryResolve(10)->member.guid, kGuidX);
  ExpectMember(10, kGuidX);
  proc_.Exec(10, {kY});
  EXPECT_FALSE(resolver_.TryResolve(10)) << "exec: must be read anew";
  ExpectMember(10, kGuidY);
}

TEST_F(Sources, AnonymousOnceSeenStaysUntilExec) {
  // Rule I2 (b): a program without an id may set its title too
  proc_.Add(10, 1, 100);
  ExpectKind(10, Kind::kAnonymous);
  proc_.tasks[10].environment.clear();
  ExpectKind(10, Kind::kAnonymous);
}

TEST_F(Sources, DestroyedEnvironmentTakesTheNearestAncestorsId) {
  // Rule I2 (b)
  proc_.Add(10, 1, 100, {kY});
  proc_.Add(11, 10, 110, {kX, Version("5.0")});
  proc_.Add(12, 11, 120);
  proc_.Add(13, 12, 130).environment = std::string(100, '\0');
  Resolution answer = Resolve(13);
  EXPECT_EQ(answer.member.guid, kGuidX);
  EXPECT_EQ(answer.member.version, (InstanceVersion{5, 0})) << "the version comes with the GUID";
}

TEST_F(Sources, DestroyedEnvironmentWithoutAncestorIdIsUnknown) {
  // Rule I2 (b): EACCES for writing, a counter
  proc_.Add(10, 1, 100);
  proc_.Add(11, 10, 110).environment.clear();
  ExpectKind(11, Kind::kUnknown);
  EXPECT_EQ(resolver_.TryResolve(11)->kind, Kind::kUnknown);
  EXPECT_EQ(resolver_.Count().unknown, 2u);
}

TEST_F(Sources, ForkedChildHasItsParentsEnvironment) {
  // Rule I2 (b): PostgreSQL's children show nothing, whether the parent has an id or none
  proc_.Add(10, 1, 100, {kX});
  proc_.Add(20, 1, 100);
  ExpectMember(10, kGuidX);
  ExpectKind(20, Kind::kAnonymous);
  proc_.Fork(10, 11, 200).environment.clear();
  proc_.Fork(20, 21, 200).environment.clear();
  ExpectMember(11, kGuidX);
  ExpectKind(21, Kind::kAnonymous);
}

TEST_F(Sources, ChildWithoutTheIdIsStillAMember) {
  // Rule T7: env -u
  proc_.Add(10, 1, 100, {kX});
  proc_.Add(11, 10, 110);
  ExpectMember(11, kGuidX);
  proc_.Exit(10);
  ExpectMember(11, kGuidX);  // once a member, whoever of its ancestors dies
}

TEST_F(Sources, ExecWithoutTheIdIsStillAMember) {
  // Rule T7: env -u, the process itself
  proc_.Add(10, 1, 100, {kX});
  ExpectMember(10, kGuidX);
  proc_.Exec(10, {});
  ExpectMember(10, kGuidX);
  proc_.Exec(10, {});
  ExpectMember(10, kGuidX);
}

TEST_F(Sources, ExecOfAnAncestorThatWasOnlyPassedBy) {
  // Rule T7: what a parent was when its child was resolved is remembered too
  proc_.Add(10, 1, 100, {kX});
  proc_.Add(11, 10, 110, {kY});
  ExpectMember(11, kGuidY);
  proc_.Exec(10, {});
  ExpectMember(10, kGuidX);
}

TEST_F(Sources, AnotherGuidIsAnotherInstance) {
  // Rules I2, T7
  proc_.Add(10, 1, 100, {kX});
  proc_.Add(11, 10, 110, {kY});
  ExpectMember(11, kGuidY);
}

TEST_F(Sources, ProgramXattrComesAfterTheEnvironment) {
  // Rule I2 (c)
  proc_.Add(10, 1, 100);
  proc_.Add(11, 1, 100, {kX});
  xattrs_[10] = xattrs_[11] = "22222222-2222-2222-2222-222222222222";
  Resolution answer = Resolve(10);
  EXPECT_EQ(answer.member.guid, kGuidY);
  EXPECT_EQ(answer.member.source, IdentitySource::kProgram);
  ExpectMember(11, kGuidX);
  proc_.Add(12, 11, 120).environment.clear();
  xattrs_[12] = xattrs_[10];
  ExpectMember(12, kGuidX);  // unknown: the ancestor's environment comes before the xattr
}

TEST_F(Sources, MalformedIsAnErrorAndIsNotInheritedAsAnId) {
  // Rule I4
  proc_.Add(10, 1, 100, {"APP_INSTANCE_ID="});
  Resolution answer = Resolve(10);
  EXPECT_EQ(answer.kind, Kind::kMalformed);
  EXPECT_EQ(answer.what, "APP_INSTANCE_ID=''");
  EXPECT_EQ(resolver_.Count().malformed, 1u);
  proc_.Add(11, 1, 100);
  xattrs_[11] = "no guid";
  ExpectKind(11, Kind::kMalformed);
  proc_.Add(12, 10, 110).environment.clear();
  ExpectKind(12, Kind::kMalformed);  // it may have had the same value: not merely unknown
  proc_.Add(13, 1, 100, {kX});
  proc_.Add(14, 13, 110, {"APP_INSTANCE_ID=x"});
  ExpectKind(14, Kind::kMalformed);  // never its ancestor's instead
}

TEST_F(Sources, NamesOfTheVariablesAreOptions) {
  // Rule I4
  IdentityResolver resolver(proc_, clock_, nullptr, {"MY_ID", "MY_VERSION", "MY_TAKEOVER"});
  proc_.Add(
      10, 1, 100,
      {"MY_ID=11111111-1111-1111-1111-111111111111", "MY_VERSION=4", "MY_TAKEOVER=no", "APP_INSTANCE_ID=x"});
  Resolution answer = resolver.Resolve(10);
  EXPECT_EQ(answer.member.guid, kGuidX);
  EXPECT_EQ(answer.member.version, (InstanceVersion{4, 0}));
  EXPECT_FALSE(answer.member.may_take_over);
}

TEST_F(Sources, TakeoverNoIsItsOwnAndElseInherited) {
  // Rule T1
  proc_.Add(10, 1, 100, {kX, "APP_INSTANCE_TAKEOVER=no"});
  EXPECT_FALSE(Resolve(10).member.may_take_over);
  proc_.Fork(10, 11, 110).environment.clear();
  EXPECT_FALSE(Resolve(11).member.may_take_over);
  proc_.Add(20, 1, 100, {kX});
  proc_.Add(21, 20, 110, {"APP_INSTANCE_TAKEOVER=no"});
  EXPECT_FALSE(Resolve(21).member.may_take_over);
  proc_.Add(22, 20, 110).environment.clear();
  EXPECT_TRUE(Resolve(22).member.may_take_over);
}

TEST_F(Sources, OwnerIsTheTopmostCarriersRealUid) {
  // Rule T3: a server that starts as root and drops
  proc_.Add(5, 1, 50).uid = 500;
  proc_.Add(10, 5, 100, {kX}).uid = 0;
  proc_.Fork(10, 11, 110).uid = 33;
  EXPECT_EQ(Resolve(11).member.owner_uid, 0u);
  proc_.tasks[10].uid = 33;
  EXPECT_EQ(Resolve(10).member.owner_uid, 0u) << "as it was when the incarnation first appeared";
  proc_.Exit(10);
  proc_.Fork(11, 12, 120);
  EXPECT_EQ(Resolve(12).member.owner_uid, 0u) << "also after the topmost one is gone";
  proc_.Exec(11, {kX});
  EXPECT_EQ(Resolve(11).member.owner_uid, 0u);
  proc_.Add(30, 5, 100, {kX}).uid = 44;
  EXPECT_EQ(Resolve(30).member.owner_uid, 44u) << "not of the family: its own";
}

TEST_F(Sources, RegistrationCoversTheProcessAndLaterDescendants) {
  // Rule I2 (a)
  clock_.now = AtTick(200);
  proc_.Add(10, 1, 100, {kY});
  proc_.Fork(10, 11, 150);
  proc_.Fork(10, 12, 200);  // in the same tick, but already there
  ExpectMember(11, kGuidY);
  ASSERT_TRUE(resolver_.Register(1000, 10, {kGuidX, InstanceVersion{2, 0}, 0}));
  proc_.Fork(10, 13, 200);
  proc_.Fork(11, 14, 250);
  Resolution answer = Resolve(10);
  EXPECT_EQ(answer.member.guid, kGuidX) << "before the environment";
  EXPECT_EQ(answer.member.version, (InstanceVersion{2, 0}));
  EXPECT_EQ(answer.member.source, IdentitySource::kRegistration);
  ExpectMember(11, kGuidY);
  ExpectMember(12, kGuidY);
  ExpectMember(13, kGuidX);
  ExpectMember(14, kGuidX);
  EXPECT_EQ(resolver_.RegistrationOf(10)->guid, kGuidX);
  EXPECT_FALSE(resolver_.RegistrationOf(13));
}

TEST_F(Sources, RegistrationHoldsAtOnceAndUntilRemoved) {
  // Rule I2 (a)
  proc_.Add(10, 1, 100);
  ExpectKind(10, Kind::kAnonymous);
  ASSERT_TRUE(resolver_.Register(1000, 10, {kGuidX, {}, 0}));
  EXPECT_FALSE(resolver_.TryResolve(10)) << "the earlier answer does not stand";
  ExpectMember(10, kGuidX);
  Ticks later = proc_.TickOf(clock_.now) + 10;
  proc_.Fork(10, 11, later);
  proc_.Fork(11, 12, later + 1);
  ExpectMember(12, kGuidX);
  proc_.Exit(11);
  ExpectMember(12, kGuidX);
  ASSERT_TRUE(resolver_.Unregister(1000, 10));
  ExpectKind(10, Kind::kAnonymous);
  ExpectKind(12, Kind::kAnonymous);
  EXPECT_EQ(resolver_.Unregister(1000, 10).error(), Errno{ENODATA});
}

TEST_F(Sources, RegisteredDescendantKeepsItsIdWhenTheRegisteredProcessIsGone) {
  // Rule I2 (a)
  proc_.Add(10, 1, 100);
  ASSERT_TRUE(resolver_.Register(0, 1, {kGuidX, {}, 10}));
  proc_.Fork(10, 11, proc_.TickOf(clock_.now) + 10);
  ExpectMember(11, kGuidX);
  proc_.Exit(10);
  resolver_.Sweep();
  ExpectMember(11, kGuidX);
}

TEST_F(Sources, RegistrationNeedsTheSameUidOrRoot) {
  // Rule I2 (a)
  proc_.Add(10, 1, 100).uid = 1000;
  EXPECT_EQ(resolver_.Register(1001, 10, {kGuidX, {}, 10}).error(), Errno{EPERM});
  EXPECT_EQ(resolver_.Register(1001, 10, {kGuidX, {}, 99}).error(), Errno{ESRCH});
  EXPECT_EQ(resolver_.Unregister(1001, 10, 10).error(), Errno{EPERM});
  EXPECT_TRUE(resolver_.Register(1000, 10, {kGuidX, {}, 10}));
  EXPECT_TRUE(resolver_.Register(0, 1, {kGuidX, {}, 10}));
  proc_.tasks[10].dead = true;
  EXPECT_EQ(resolver_.Register(0, 1, {kGuidX, {}, 10}).error(), Errno{ESRCH});
}

TEST_F(Sources, LaterProcessOfTheSameNumberIsAnother) {
  // Rule I2 (b): tgid and start time
  proc_.Add(10, 1, 100, {kX});
  ExpectMember(10, kGuidX);
  proc_.Exit(10);
  proc_.Add(10, 1, 300);
  EXPECT_FALSE(resolver_.TryResolve(10));
  ExpectKind(10, Kind::kAnonymous);
}

TEST_F(Sources, FastPathReadsStatOnceAndNothingElse) {
  // Rule I6
  proc_.Add(10, 1, 100, {kX});
  EXPECT_FALSE(resolver_.TryResolve(10));
  EXPECT_EQ(proc_.environs, 0);
  ExpectMember(10, kGuidX);
  proc_.stats = proc_.statuses = proc_.environs = 0;
  EXPECT_EQ(resolver_.TryResolve(10)->member.guid, kGuidX);
  EXPECT_EQ(proc_.stats, 1);
  EXPECT_EQ(proc_.statuses + proc_.environs, 0);
  EXPECT_EQ(resolver_.Count().fast_hits, 1u);
  EXPECT_EQ(resolver_.Count().slow, 1u);
}

TEST_F(Sources, ObserveSeesTheIdBeforeTheProgramDestroysIt) {
  // Rule I2 (b): redis does a LOOKUP first
  proc_.Add(10, 1, 100, {kX});
  EXPECT_TRUE(resolver_.Observe(10));
  Resolve(10);
  proc_.tasks[10].environment = std::string(1483, '\0');
  EXPECT_FALSE(resolver_.Observe(10));
  ExpectMember(10, kGuidX);
}

TEST_F(Sources, ObserveIsCheapForATaskJustSeenAndStillNoticesExec) {
  // Rules I2 (b), I6
  proc_.Add(10, 1, 100).comm = "sh";
  Resolve(10);
  proc_.stats = proc_.environs = 0;
  clock_.now += std::chrono::milliseconds(50);
  EXPECT_FALSE(resolver_.Observe(10));
  EXPECT_EQ(proc_.stats, 0);
  EXPECT_EQ(proc_.comms, 1);
  proc_.Exec(10, {kX});
  proc_.tasks[10].comm = "redis-server";
  EXPECT_TRUE(resolver_.Observe(10));
  Resolve(10);
  clock_.now += std::chrono::milliseconds(150);
  proc_.Exec(10, {kY});
  EXPECT_TRUE(resolver_.Observe(10)) << "the same name, but not seen for longer";
  EXPECT_FALSE(resolver_.Observe(0));
  EXPECT_FALSE(resolver_.Observe(4242));
}

TEST_F(Sources, FatalSignals) {
  // Rule S5
  FakeTask& task = proc_.Add(10, 1, 100);
  auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
  auto pending = [&] { return FatalSignalPending(proc_, 10).value(); };
  EXPECT_FALSE(pending());
  task.signals.shared_pending = bit(SIGCHLD) | bit(SIGWINCH) | bit(SIGTSTP);
  EXPECT_FALSE(pending());
  task.signals.pending = bit(SIGTERM);
  EXPECT_TRUE(pending());
  task.signals.blocked = bit(SIGTERM);
  EXPECT_FALSE(pending());
  task.signals = {.pending = bit(SIGINT), .caught = bit(SIGINT)};
  EXPECT_FALSE(pending());
  task.signals = {.pending = bit(SIGHUP), .ignored = bit(SIGHUP)};
  EXPECT_FALSE(pending());
  task.signals = {.shared_pending = bit(SIGKILL), .blocked = ~std::uint64_t{0}};
  EXPECT_TRUE(pending());
  EXPECT_EQ(FatalSignalPending(proc_, 99).error(), Errno{ESRCH});
  EXPECT_EQ(SupplementaryGroups(proc_, 10).value(), (std::vector<gid_t>{1000, 42}));
}

}  // namespace
}  // namespace baton::testing
