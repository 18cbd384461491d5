// Replays tests/fuzz/corpus, so that what the fuzzers found stays found without them. BATON_WRITE_SEEDS=DIR
// writes one valid input for each message there instead.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz/harness/harness.h"

namespace baton::fuzz {
namespace {

std::vector<std::vector<std::byte>> Corpus(const std::string& name) {
  std::vector<std::vector<std::byte>> inputs;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(BATON_TESTS) + "/fuzz/corpus/" + name)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = std::as_bytes(std::span(text));
    inputs.emplace_back(bytes.begin(), bytes.end());
  }
  return inputs;
}

TEST(Replay, Frames) {
  const auto inputs = Corpus("frame");
  EXPECT_FALSE(inputs.empty());
  for (const auto& input : inputs) Frame(input);
}

TEST(Replay, Messages) {
  const auto inputs = Corpus("message");
  EXPECT_FALSE(inputs.empty());
  std::size_t decoded = 0;
  for (const auto& input : inputs) decoded += Message(input) ? 1 : 0;
  EXPECT_GT(decoded, 0u);
}

struct Target {
  const char* corpus;
  bool (*run)(std::span<const std::byte>);
};

class Corpora : public testing::TestWithParam<Target> {};

// Among what no parser takes there is also what it does take: a harness that has lost its parser fails.
TEST_P(Corpora, AreReplayed) {
  std::size_t useful = 0;
  const auto inputs = Corpus(GetParam().corpus);
  for (const auto& input : inputs) useful += GetParam().run(input) ? 1 : 0;
  EXPECT_GT(useful, 0u);
  EXPECT_GT(inputs.size(), useful);
}

constexpr Target kTargets[] = {{"identity", Identity},
                               {"environment", Environment},
                               {"proc", Proc},
                               {"options", Options},
                               {"configuration", Configuration},
                               {"control", ControlRequests},
                               {"answers", ControlAnswers},
                               {"state", StateFile},
                               {"replies", Replies},
                               {"sealed", Sealed}};
INSTANTIATE_TEST_SUITE_P(Replay, Corpora, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.corpus); });

TEST(Replay, ClientFrames) {
  const auto inputs = Corpus("client_frame");
  EXPECT_FALSE(inputs.empty());
  for (const auto& input : inputs) ClientFrame(input);
}

TEST(Replay, SeedsAreValid) {
  const auto seeds = MessageSeeds();
  EXPECT_EQ(seeds.size(), MessageCount());
  EXPECT_LE(seeds.size(), 256u);  // the first byte chooses
  const char* folder = std::getenv("BATON_WRITE_SEEDS");
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    EXPECT_TRUE(Message(seeds[i])) << i;
    if (folder == nullptr) continue;
    std::ofstream file(std::string(folder) + "/seed-" + std::to_string(i), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seeds[i].data()), static_cast<std::streamsize>(seeds[i].size()));
  }
}

}  // namespace
}  // namespace baton::fuzz
