#include "fuse/identity/environment.h"

#include <gtest/gtest.h>

#include "fixture.h"

namespace baton::testing {
namespace {

using Own = OwnId::Kind;
constexpr VariableNames kNames{"APP_INSTANCE_ID", "APP_INSTANCE_VERSION", "APP_INSTANCE_TAKEOVER"};

OwnId Read(std::string text) {
  return ReadOwnId({std::move(text), false}, kNames);
}
OwnId ReadVariables(const std::vector<std::string>& variables) {
  return Read(FakeProc::Env(variables));
}

TEST(Environment, IdAndVersion) {
  // Rules I2 (b), I3
  OwnId own = ReadVariables({kX, Version("7.2"), "HOME=/"});
  EXPECT_EQ(own.kind, Own::kId);
  EXPECT_EQ(own.guid, kGuidX);
  EXPECT_EQ(own.version, (InstanceVersion{7, 2}));
  EXPECT_EQ(ReadVariables({kX}).version, std::nullopt);
  EXPECT_EQ(ReadVariables({kX, kY}).guid, kGuidX) << "the first counts, as for getenv";
  EXPECT_EQ(ReadVariables({"MY_" + kX}).kind, Own::kNone);
  EXPECT_EQ(ReadVariables({}).kind, Own::kNone);
}

TEST(Environment, MalformedIsNeverIgnored) {
  // Rule I4
  for (const char* value :
       {"", "x", "00000000-0000-0000-0000-000000000000", " 11111111-1111-1111-1111-111111111111"}) {
    OwnId own = ReadVariables({std::string("APP_INSTANCE_ID=") + value});
    EXPECT_EQ(own.kind, Own::kMalformed) << value;
    EXPECT_EQ(own.what, std::string("APP_INSTANCE_ID='") + value + "'");
  }
  EXPECT_EQ(ReadVariables({kX, Version("")}).kind, Own::kMalformed);
  EXPECT_EQ(ReadVariables({kX, Version("1.2.3")}).kind, Own::kMalformed);
  EXPECT_EQ(ReadVariables({Version("1.2.3")}).kind, Own::kNone) << "a version without a GUID is ignored";
}

TEST(Environment, DestroyedIsUnknownAndNotAbsent) {
  // Rule I2 (b): redis leaves zeros, PostgreSQL's children nothing, others a title
  EXPECT_EQ(Read("").kind, Own::kDestroyed);
  EXPECT_EQ(Read(std::string(1483, '\0')).kind, Own::kDestroyed);
  EXPECT_EQ(Read(std::string("nginx: master process\0\0\0\0", 25)).kind, Own::kDestroyed);
  EXPECT_EQ(Read("worker: shard=7").kind, Own::kDestroyed) << "a title with = is no variable";
  std::string half("title\0ERM=xterm\0HOME=/\0", 23);
  EXPECT_EQ(Read(half).kind, Own::kDestroyed) << "the id may have stood where the title is";
  EXPECT_EQ(Read(half + kX + '\0').kind, Own::kId) << "but an id that is left counts";
  EXPECT_EQ(ReadOwnId({FakeProc::Env({}), true}, kNames).kind, Own::kDestroyed) << "beyond what was read";
}

TEST(Environment, TakeoverVariable) {
  // Rule T1
  EXPECT_EQ(ReadVariables({kX}).may_take_over, true);
  EXPECT_EQ(ReadVariables({kX, "APP_INSTANCE_TAKEOVER=yes"}).may_take_over, true);
  EXPECT_EQ(ReadVariables({kX, "APP_INSTANCE_TAKEOVER="}).may_take_over, true);
  for (const char* value : {"no", "No", "false", "0", "n"}) {
    EXPECT_EQ(ReadVariables({kX, std::string("APP_INSTANCE_TAKEOVER=") + value}).may_take_over, false)
        << value;
  }
  EXPECT_EQ(ReadVariables({"APP_INSTANCE_TAKEOVER=no"}).may_take_over, false);
  EXPECT_EQ(Read("").may_take_over, std::nullopt);
}

TEST(Environment, ProgramXattr) {
  // Rule I2 (c), I4
  EXPECT_EQ(ReadProgramId({}).kind, Own::kNone);
  EXPECT_EQ(ReadProgramId({"{11111111-1111-1111-1111-111111111111}"}).guid, kGuidX);
  EXPECT_EQ(ReadProgramId({""}).kind, Own::kMalformed);
  EXPECT_EQ(ReadProgramId({std::string("x\0y\n", 4)}).what,
            "the program's xattr user.app_instance_id='x\\x00y\\x0a'");
}

}  // namespace
}  // namespace baton::testing
