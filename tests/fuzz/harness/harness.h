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

// The same with the mount's reader, which takes frames of up to the protocol's greatest size.
void ClientFrame(std::span<const std::byte> input);

// The first byte chooses a message of the operations table (MessageCount of them), the rest are its bytes.
// What decodes must encode to the same bytes. Returns whether it decoded.
bool Message(std::span<const std::byte> input);
std::size_t MessageCount();

// In what follows the answer is whether the input was of use.

// One text as a GUID, a version, a registration, the ioctl's bytes, a program's xattr, a name pattern.
bool Identity(std::span<const std::byte> input);
// First byte: whether the environment was cut off; then the block.
bool Environment(std::span<const std::byte> input);
// First byte: /proc/TID/stat, status or cgroup; then its text.
bool Proc(std::span<const std::byte> input);
// Words with zero bytes between them: the mount's command line, each also as a duration and as addresses.
bool Options(std::span<const std::byte> input);
// First byte: the configuration file, or the command line as words.
bool Configuration(std::span<const std::byte> input);
// First byte: in what pieces the rest arrives at the operator's socket. All that comes back are objects.
bool ControlRequests(std::span<const std::byte> input);
// First byte: which command shows the rest, lines of answers. Nothing in it that a terminal obeys.
bool ControlAnswers(std::span<const std::byte> input);
// First byte: the file itself, a state file, a backup or a log with damages (offset, length, bytes), or a
// state file with numbers changed. What is opened is started from.
bool StateFile(std::span<const std::byte> input);
// Records of slots, then damages as above. Every request with an intent must get a fate.
bool Replies(std::span<const std::byte> input);
// A proof or a file reference: not taken unless it was sealed here.
bool Sealed(std::span<const std::byte> input);

// One valid input for each message, as seeds.
std::vector<std::vector<std::byte>> MessageSeeds();

}  // namespace baton::fuzz
