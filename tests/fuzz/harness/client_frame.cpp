// Frames as the mount cuts them.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "fuse/net/frame_reader.h"
#include "fuzz/harness/harness.h"

namespace baton::fuzz {
namespace {

using Bytes = std::vector<std::byte>;
struct Cut {
  Bytes frames;
  bool is_malformed = false;
  friend bool operator==(const Cut&, const Cut&) = default;
};

Cut CutIntoFrames(std::span<const std::byte> stream, std::size_t piece) {
  static FrameReader reader;
  reader.Reset();
  Cut cut;
  while (true) {
    protocol::FrameHeader header;
    std::span<const std::byte> body, data;
    const FrameReader::Next next = reader.Take(header, body, data);
    cut.is_malformed = next == FrameReader::Next::kMalformed;
    if (cut.is_malformed) return cut;
    if (next == FrameReader::Next::kFrame) {
      std::array<std::byte, protocol::kFrameHeaderSize> head;
      protocol::EncodeFrameHeader(header, head);
      for (const auto part : {std::span<const std::byte>(head), body, data})
        cut.frames.insert(cut.frames.end(), part.begin(), part.end());
      continue;
    }
    if (stream.empty()) return cut;
    const std::span<std::byte> space = reader.Space();
    const std::size_t size = std::min({piece, space.size(), stream.size()});
    BATON_CHECK(size > 0);
    std::memcpy(space.data(), stream.data(), size);
    reader.Filled(size);
    stream = stream.subspan(size);
  }
}

}  // namespace

void ClientFrame(std::span<const std::byte> input) {
  if (input.empty()) return;
  const auto stream = input.subspan(1);
  const Cut whole = CutIntoFrames(stream, stream.size());
  BATON_CHECK(whole == CutIntoFrames(stream, static_cast<std::size_t>(input[0]) + 1));
  BATON_CHECK(whole.frames.size() <= stream.size() &&
              std::ranges::equal(whole.frames, stream.first(whole.frames.size())));
}

}  // namespace baton::fuzz
