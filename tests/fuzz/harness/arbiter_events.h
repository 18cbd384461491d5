// What the fuzz target of the arbiter and the replay of its corpus run. A broken promise is a BATON_CHECK.
// Rule A4.
#pragma once

#include <cstddef>
#include <span>

namespace baton::fuzz {

// The first byte chooses the options, the rest are the choices of an ArbiterWorld (support/arbiter_world.h),
// one step after another until they are used up; then all must come to its end. Returns how much was granted.
std::size_t ArbiterEvents(std::span<const std::byte> input);

}  // namespace baton::fuzz
