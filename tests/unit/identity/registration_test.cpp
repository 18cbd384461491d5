#include "fuse/identity/registration.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

constexpr char kGuid[] = "11111111-1111-1111-1111-111111111111";

Result<Registration> Parse(const std::string& rest) {
  return ParseRegistration(kGuid + rest);
}

TEST(Registration, GuidWithOptionalVersionAndPid) {
  // Rule I2 (a), I3
  Guid guid = *ParseGuid(kGuid);
  EXPECT_EQ(Parse("").value(), (Registration{guid, {}, 0}));
  EXPECT_EQ(Parse("\n").value(), (Registration{guid, {}, 0}));
  EXPECT_EQ(Parse(" 3.4").value(), (Registration{guid, InstanceVersion{3, 4}, 0}));
  EXPECT_EQ(Parse(" 4711").value(), (Registration{guid, {}, 4711}));
  EXPECT_EQ(Parse(" 3.4 4711\n").value(), (Registration{guid, InstanceVersion{3, 4}, 4711}));
  EXPECT_EQ(Parse(" 3  4711").value(), (Registration{guid, InstanceVersion{3, 0}, 4711}));
}

TEST(Registration, AnythingElseIsRefused) {
  // Rule I4
  for (const char* rest : {" x", " 3.4.5", " 3.x 1", " 1 2 3", " -1", " 0", " 3.4 0", " 3.4 -7",
                           " 99999999999", "\n\n", "\t3.4", " 1.2 3.4", "x"}) {
    Result<Registration> result = Parse(rest);
    ASSERT_FALSE(result) << rest;
    EXPECT_EQ(result.error(), Errno{EINVAL});
  }
  EXPECT_FALSE(ParseRegistration(""));
  EXPECT_FALSE(ParseRegistration(" \n"));
  EXPECT_FALSE(ParseRegistration("00000000-0000-0000-0000-000000000000"));
}

}  // namespace
}  // namespace baton
