// Random: all chance of a simulation, from one seed (xoshiro256**, seeded with splitmix64). Not for secrets.
// One thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/clock.h"

namespace baton::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15ULL;
      std::uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
      word = mixed ^ (mixed >> 31);
    }
  }

  std::uint64_t Next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  // Below `bound`, which is not 0.
  std::uint64_t Below(std::uint64_t bound) { return Next() % bound; }
  bool Chance(double probability) { return static_cast<double>(Next() >> 11) * 0x1p-53 < probability; }
  Duration Between(Duration least, Duration most) {
    return least +
           Duration(static_cast<std::int64_t>(Below(static_cast<std::uint64_t>((most - least).count()) + 1)));
  }

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace baton::sim
