// Runner: makes simulations, one in this process or many in children of it. A real thread; not inside a
// simulation.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "sim/world.h"

namespace baton::sim {

// In this process; `options.directory` is made and removed here.
Report RunSeed(Options options);

struct Batch {
  std::uint64_t first = 1;
  std::uint64_t last = 1;
  Duration length = Options().length;
  int jobs = 1;
  std::uint64_t stop_after = 0;        // seeds with violations; 0: never
  std::uint64_t seeds_per_child = 50;  // so much is leaked at most before a child makes way for the next
};
struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t failed = 0;
  std::uint64_t first_failed = 0;
  std::uint64_t operations = 0;
  Duration simulated{};
};
// `tell` hears of the first violation of each seed. A child that crashes is one, too.
Totals RunBatch(const Batch& batch, const std::function<void(std::uint64_t seed, const std::string&)>& tell);

}  // namespace baton::sim
