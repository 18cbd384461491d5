// The simulation finds what is wrong: each bug that is planted in the server is noticed within a few seeds,
// and none where nothing is planted. And it is the same each time.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sim/runner.h"
#include "sim/test/planted.h"

namespace baton::sim {
namespace {

Totals RunPlanted(const char* name, std::uint64_t seeds, std::vector<std::string>& found) {
  Plant(name);
  Batch batch;
  batch.last = seeds;
  batch.stop_after = 1;
  batch.seeds_per_child = 1;
  batch.length = std::chrono::milliseconds(6000);
  const Totals totals = RunBatch(batch, [&](std::uint64_t seed, const std::string& violation) {
    found.push_back("seed " + std::to_string(seed) + ": " + violation);
  });
  Plant("");
  return totals;
}

class PlantedBug : public testing::TestWithParam<const char*> {};

TEST_P(PlantedBug, IsFound) {
  std::vector<std::string> found;
  const Totals totals = RunPlanted(GetParam(), 60, found);
  EXPECT_EQ(totals.failed, 1U) << totals.seeds << " seeds";
  for (const std::string& one : found) RecordProperty("found", one);
}

INSTANTIATE_TEST_SUITE_P(Sim, PlantedBug,
                         testing::Values("gates stay open", "drain not awaited", "late handles served",
                                         "epoch not checked", "fence not durable", "reservation dropped",
                                         "claims ignored", "lock conflicts ignored", "replies not kept",
                                         "intents not looked at", "no grace", "nameless files dropped",
                                         "fsync forgotten", "reboot not told"),
                         [](const auto& bug) {
                           std::string name = bug.param;
                           for (char& c : name) c = c == ' ' ? '_' : c;
                           return name;
                         });

TEST(Sim, FindsNothingWhereNothingIsWrong) {
  std::vector<std::string> found;
  const Totals totals = RunPlanted("", 8, found);
  EXPECT_EQ(totals.seeds, 8U);
  EXPECT_EQ(found, std::vector<std::string>());
}

std::string TraceOf(std::uint64_t seed) {
  std::string trace;
  Options options;
  options.seed = seed;
  options.length = std::chrono::seconds(4);
  options.trace = [&](const std::string& line) { trace += line + "\n"; };
  RunSeed(options);
  return trace;
}

TEST(Sim, IsTheSameEachTime) {
  const std::string first = TraceOf(3);
  EXPECT_GT(first.size(), 10'000U);
  EXPECT_TRUE(first == TraceOf(3));
  EXPECT_FALSE(first == TraceOf(4));
}

}  // namespace
}  // namespace baton::sim
