// Rule X1: lock files that an earlier incarnation left behind.
#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

ServiceOptions WithPatterns() {
  ServiceOptions options;
  options.stale_locks = NamePatterns({"*.lock"});
  return options;
}

class StaleLocksTest : public testing::Test {
 protected:
  explicit StaleLocksTest(const ArbiterOptions& options = {}) : bench_(options, WithPatterns()) {
    EXPECT_EQ(one_.Hello(), 0);
    EXPECT_EQ(two_.Hello(), 0);
  }

  auto Create(TestMount& mount, const protocol::Caller& caller, const std::string& name = "a.lock",
              int flags = O_EXCL) {
    return mount.Call<Operation::kCreate>({.directory = bench_.Root(),
                                           .name = name,
                                           .flags = static_cast<std::uint32_t>(O_RDWR | O_CREAT | flags),
                                           .mode = 0644,
                                           .caller = caller});
  }
  int LookupError(TestMount& mount, const protocol::Caller& caller, const std::string& name = "a.lock") {
    return mount.Call<Operation::kLookup>({bench_.Root(), name, caller}).error;
  }
  std::string Stored(const std::string& name) const {
    std::array<char, 512> value;
    const ssize_t size =
        ::getxattr((bench_.dir.Path() / name).c_str(), "user.baton.creator", value.data(), value.size());
    return size < 0 ? "" : std::string(value.data(), static_cast<std::size_t>(size));
  }
  std::size_t Entries() const {
    return static_cast<std::size_t>(std::count_if(
        std::filesystem::directory_iterator(bench_.dir.Path()), {},
        [](const auto& entry) { return entry.path().filename() != ".baton"; }));  // of files that are open without a name
  }
  std::string Holder() {
    for (const auto& info :
         bench_.coordinator->WithArbiter([](Arbiter& arbiter) { return arbiter.ListInstances(); })) {
      if (info.record.guid == x_) return info.record.node;
    }
    return "";
  }

  const Guid x_ = GuidOf(1);
  const Guid y_ = GuidOf(2);
  Bench bench_;
  TestMount one_{bench_, "one"};
  TestMount two_{bench_, "two"};
};

TEST_F(StaleLocksTest, TheMountIsToldWhichNamesDepend) {
  EXPECT_EQ(one_.welcome.stale_locks, std::vector<std::string>{"*.lock"});
}

TEST_F(StaleLocksTest, TheNewIncarnationReplacesWhatTheEarlierOneLeft) {
  const auto old = Create(one_, MemberOf(x_));
  ASSERT_EQ(old.error, 0);
  EXPECT_EQ(LookupError(one_, MemberOf(x_)), 0);
  EXPECT_EQ(LookupError(two_, MemberOf(x_)), ENOENT) << "it would fence the creator";
  EXPECT_EQ(Holder(), "one") << "a look takes nothing over";
  const auto fresh = Create(two_, MemberOf(x_));
  ASSERT_EQ(fresh.error, 0);
  EXPECT_NE(fresh.reply.attr.ino, old.reply.attr.ino);
  EXPECT_EQ(Holder(), "two");
  EXPECT_EQ(LookupError(two_, MemberOf(x_)), 0) << "its own now";
  EXPECT_EQ(Create(two_, MemberOf(x_)).error, EEXIST) << "never within one incarnation";
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(StaleLocksTest, TheReplacedFileLivesOnForWhoHasItOpen) {
  const auto old = Create(one_, MemberOf(x_));
  const auto reader =
      two_.Call<Operation::kOpen>({.file = old.reply.file, .flags = O_RDONLY, .caller = Anonymous()});
  one_.Call<Operation::kWrite>({.handle = old.reply.handle}, "1234");
  ASSERT_EQ(Create(two_, MemberOf(x_)).error, 0);
  EXPECT_EQ(two_.Call<Operation::kRead>({.handle = reader.reply.handle, .size = 10}).data.size(), 4u);
  EXPECT_EQ(one_.Call<Operation::kWrite>({.handle = old.reply.handle}, "late").error, ESTALE);
}

TEST_F(StaleLocksTest, StrangersFindTheFileThere) {
  ASSERT_EQ(Create(one_, MemberOf(x_)).error, 0);
  for (const auto& caller : {Anonymous(), MemberOf(y_)}) {
    EXPECT_EQ(LookupError(two_, caller), 0);
    EXPECT_EQ(Create(two_, caller).error, EEXIST);
  }
  EXPECT_EQ(Holder(), "one");
}

TEST_F(StaleLocksTest, WhatStrangersCreatedIsInTheWayOfEverybody) {
  ASSERT_EQ(Create(one_, Anonymous()).error, 0);
  ASSERT_EQ(Create(one_, MemberOf(y_), "b.lock").error, 0);
  ASSERT_EQ(Create(one_, MemberOf(x_), "of-x").error, 0);
  for (const auto* name : {"a.lock", "b.lock"}) {
    EXPECT_EQ(LookupError(two_, MemberOf(x_), name), 0);
    EXPECT_EQ(Create(two_, MemberOf(x_), name).error, EEXIST);
  }
  EXPECT_EQ(Holder(), "one") << "a request that fails takes nothing over (rule T2)";
}

TEST_F(StaleLocksTest, ANameThatDoesNotMatchIsAnOrdinaryOne) {
  ASSERT_EQ(Create(one_, MemberOf(x_), "a.lck").error, 0);
  EXPECT_EQ(Stored("a.lck"), "");
  EXPECT_EQ(LookupError(two_, MemberOf(x_), "a.lck"), 0);
  EXPECT_EQ(Create(two_, MemberOf(x_), "a.lck").error, EEXIST);
}

TEST_F(StaleLocksTest, WithoutExclNothingIsMarkedAndNothingReplaced) {
  ASSERT_EQ(Create(one_, MemberOf(x_), "a.lock", 0).error, 0);
  EXPECT_EQ(Stored("a.lock"), "");
  const auto old = Create(one_, MemberOf(x_), "b.lock");
  ASSERT_NE(Stored("b.lock"), "");
  const auto again = Create(two_, MemberOf(x_), "b.lock", 0);
  ASSERT_EQ(again.error, 0);
  EXPECT_EQ(again.reply.attr.ino, old.reply.attr.ino);
  EXPECT_EQ(LookupError(two_, MemberOf(x_), "b.lock"), 0) << "it is used: an ordinary file from now on";
}

TEST_F(StaleLocksTest, ARenamedOrLinkedFileIsNoLockAnyMore) {
  const auto lock = Create(one_, MemberOf(x_));
  const auto rename = one_.Call<Operation::kRename>({.directory = bench_.Root(),
                                                     .name = "a.lock",
                                                     .new_directory = bench_.Root(),
                                                     .new_name = "b.lock",
                                                     .caller = MemberOf(x_)});
  ASSERT_EQ(rename.error, 0);
  const auto link = one_.Call<Operation::kLink>(
      {.file = lock.reply.file, .directory = bench_.Root(), .name = "c.lock", .caller = MemberOf(x_)});
  ASSERT_EQ(link.error, 0);
  for (const auto* name : {"b.lock", "c.lock"}) {
    EXPECT_EQ(LookupError(two_, MemberOf(x_), name), 0);
    EXPECT_EQ(Create(two_, MemberOf(x_), name).error, EEXIST);
  }
}

TEST_F(StaleLocksTest, ARefusedTakeoverSeesAndReplacesNothing) {
  ASSERT_EQ(Create(one_, MemberOf(x_)).error, 0);
  protocol::Caller probe = MemberOf(x_);
  probe.member->may_take_over = false;
  EXPECT_EQ(LookupError(two_, probe), 0);
  EXPECT_EQ(Create(two_, probe).error, EEXIST);
  EXPECT_EQ(Holder(), "one");
}

TEST_F(StaleLocksTest, PermissionIsCheckedBeforeAnybodyIsFenced) {
  ASSERT_EQ(Create(one_, MemberOf(x_)).error, 0);
  bench_.faults->FailNext(store::StoreOperation::kProbe, EACCES, 2);
  EXPECT_EQ(Create(two_, MemberOf(x_)).error, EACCES);
  EXPECT_EQ(Holder(), "one");
  EXPECT_EQ(LookupError(one_, MemberOf(x_)), 0);
}

TEST_F(StaleLocksTest, TheMarkIsTheServersOwn) {
  const auto lock = Create(one_, MemberOf(x_));
  const FileRef file = lock.reply.file;
  const std::string name = "user.baton.creator";
  EXPECT_EQ((one_.Call<Operation::kSetxattr>({file, name, Stored("a.lock"), 0, MemberOf(x_)}).error), EPERM);
  EXPECT_EQ((one_.Call<Operation::kRemovexattr>({file, name, MemberOf(x_)}).error), EPERM);
  EXPECT_EQ((one_.Call<Operation::kGetxattr>({file, name, MemberOf(x_)}).error), ENODATA);
  ASSERT_EQ((one_.Call<Operation::kSetxattr>({file, "user.other", "1", 0, MemberOf(x_)}).error), 0);
  const auto listed = one_.Call<Operation::kListxattr>({file, MemberOf(x_)});
  EXPECT_THAT(listed.reply.value, testing::HasSubstr("user.other"));
  EXPECT_THAT(listed.reply.value, testing::Not(testing::HasSubstr(name)));
}

TEST_F(StaleLocksTest, AnAbsenceIsNeverKept) {
  TestMount keeper(bench_, "three");
  keeper.features = protocol::kFeatureKeepsNames;
  ASSERT_EQ(keeper.Hello(), 0);
  EXPECT_EQ(LookupError(keeper, Anonymous(), "nothing"), 0) << "watched instead";
  EXPECT_EQ(LookupError(keeper, Anonymous(), "nothing.lock"), ENOENT);
}

class StaleLocksByFileTest : public StaleLocksTest {
 protected:
  StaleLocksByFileTest() : StaleLocksTest({.scope = ReclaimScope::kFile}) {}
};

TEST_F(StaleLocksByFileTest, WhileItsCreatorLivesOnALockIsNotStale) {
  ASSERT_EQ(Create(one_, MemberOf(x_)).error, 0);
  ASSERT_EQ(Create(two_, MemberOf(x_), "other").error, 0)
      << "a second incarnation, which fences nothing of the first";
  EXPECT_EQ(LookupError(two_, MemberOf(x_)), 0);
  EXPECT_EQ(Create(two_, MemberOf(x_)).error, EEXIST);
}

}  // namespace
}  // namespace baton::server
