#include "fuzz/harness/arbiter_events.h"

#include "support/arbiter_world.h"

namespace baton::fuzz {

std::size_t ArbiterEvents(std::span<const std::byte> input) {
  if (input.empty()) return 0;
  const auto chosen = static_cast<unsigned>(input[0]);
  ArbiterOptions options;
  if ((chosen & 1) != 0) options.scope = ReclaimScope::kFile;
  options.strict = (chosen & 2) != 0;
  if ((chosen & 4) != 0) options.reservation = Duration::zero();
  if ((chosen & 8) != 0) options.flap_limit = 0;
  if ((chosen & 16) != 0) {
    options.limits.handles = 7;
    options.limits.handles_per_session = 4;
    options.limits.locks = 5;
    options.limits.locks_per_session = 3;
    options.limits.waiting = 4;
    options.limits.waiting_per_session = 2;
  }
  std::size_t at = 1;
  test::ArbiterWorld world(options, [&](std::uint32_t n) {
    if (at + 1 >= input.size()) {
      at = input.size();
      return 0u;
    }
    const std::uint32_t value =
        static_cast<std::uint32_t>(input[at]) * 256 + static_cast<std::uint32_t>(input[at + 1]);
    at += 2;
    return value % n;
  });
  while (at < input.size()) world.RandomStep();
  world.Heal();
  return world.granted();
}

}  // namespace baton::fuzz
