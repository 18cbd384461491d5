// Replays tests/fuzz/corpus/arbiter.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/harness/arbiter_events.h"

namespace baton::fuzz {
namespace {

TEST(Replay, ArbiterEvents) {
  std::size_t granted = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(BATON_TESTS) + "/fuzz/corpus/arbiter")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    granted += ArbiterEvents(std::as_bytes(std::span(text)));
  }
  EXPECT_GT(granted, 100u);
}

}  // namespace
}  // namespace baton::fuzz
