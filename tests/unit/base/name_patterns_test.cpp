// Rule X1: which names the patterns mean.
#include "base/name_patterns.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(NamePatterns, MatchAsFnmatchDoes) {
  const NamePatterns patterns({"*.lock", "LOCK", "[ab]?"});
  for (const auto* name : {"index.lock", ".lock", ".hidden.lock", "LOCK", "a1", "\xff.lock"})
    EXPECT_TRUE(patterns.Match(name)) << name;
  for (const auto* name : {"", "lock", "index.lock2", "LOCKED", "c1", "a12"})
    EXPECT_FALSE(patterns.Match(name)) << name;
  EXPECT_FALSE(NamePatterns().Match("index.lock"));
}

TEST(NamePatterns, AreChecked) {
  EXPECT_EQ(NamePatterns::Check("*.lock"), "");
  EXPECT_EQ(NamePatterns::Check(std::string(255, 'a')), "");
  for (const std::string& wrong : {std::string(), std::string("a/b"), std::string(256, 'a'), std::string("a\0b", 3)})
    EXPECT_NE(NamePatterns::Check(wrong), "");
}

}  // namespace
}  // namespace baton
