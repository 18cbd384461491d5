// The arbiter among random events (support/arbiter_world.h), from one seed each. BATON_SEED=N in the
// environment plays one seed.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <random>

#include "support/arbiter_world.h"

namespace baton::test {
namespace {

const ArbiterWorld* playing = nullptr;
std::uint64_t playing_seed = 0;

void ShowTrace(int) {
  std::cerr << "seed " << playing_seed << "; the end of its trace:\n";
  if (playing == nullptr) return;
  const auto& trace = playing->trace();
  for (std::size_t i = trace.size() > 200 ? trace.size() - 200 : 0; i < trace.size(); ++i)
    std::cerr << trace[i] << "\n";
}

void Play(const ArbiterOptions& options, std::uint64_t seeds, int steps) {
  std::signal(SIGABRT, ShowTrace);
  const char* only = std::getenv("BATON_SEED");
  std::size_t granted = 0;
  const std::uint64_t first = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
  for (std::uint64_t seed = first; seed < first + (only == nullptr ? seeds : 1); ++seed) {
    std::mt19937_64 random(seed);
    ArbiterWorld world(options, [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); });
    playing = &world;
    playing_seed = seed;
    for (int i = 0; i < steps; ++i) world.RandomStep();
    world.Heal();
    granted += world.granted();
    playing = nullptr;
  }
  if (only != nullptr) return;
  EXPECT_GT(granted, seeds * static_cast<std::uint64_t>(steps) / 20)
      << "too little happened for the test to mean anything";
}

TEST(ArbiterRandom, DefaultOptions) {
  Play({}, 40, 800);
}

TEST(ArbiterRandom, FileScope) {
  ArbiterOptions options;
  options.scope = ReclaimScope::kFile;
  Play(options, 25, 800);
}

TEST(ArbiterRandom, StrictWithoutReservationOrFlapLimit) {
  ArbiterOptions options;
  options.strict = true;
  options.reservation = Duration::zero();
  options.flap_limit = 0;
  Play(options, 25, 800);
}

TEST(ArbiterRandom, AtItsLimits) {
  ArbiterOptions options;
  options.limits.handles = 7;
  options.limits.handles_per_session = 4;
  options.limits.locks = 5;
  options.limits.locks_per_session = 3;
  options.limits.waiting = 4;
  options.limits.waiting_per_session = 2;
  Play(options, 40, 800);
}

}  // namespace
}  // namespace baton::test
