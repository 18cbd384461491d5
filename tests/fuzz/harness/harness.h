// What the fuzz targets and the replay of their corpus run: one input each. A broken promise is a
// BATON_CHECK. Rule A4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace baton::fuzz {

// The first byte says in what pieces the rest arrives. The frames cut from it must be the same as from one
// piece, lie within what arrived, and encode to the bytes they came from; nothing follows a malformed header.
void Frame(std::span<const std::byte> input);

// The first byte chooses a message of the operations table (MessageCount of them), the rest are its bytes.
// What decodes must encode to the same bytes. Returns whether it decoded.
bool Message(std::span<const std::byte> input);
std::size_t MessageCount();

// One valid input for each message, as seeds.
std::vector<std::vector<std::byte>> MessageSeeds();

}  // namespace baton::fuzz
