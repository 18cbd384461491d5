// FrameReader: any stream of frames, cut into any pieces, comes out as it was sent; bad headers are refused
// (rule A4).
#include "fuse/net/frame_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace baton {
namespace {

using protocol::FrameHeader;
using protocol::kFrameHeaderSize;

std::byte ByteAt(std::uint32_t frame, std::size_t i) {
  return static_cast<std::byte>(frame * 31 + i * 7 + (i >> 11));
}

// Frames of `size` bytes of data each, back to back; each says its number as its sequence.
std::vector<std::byte> Stream(const std::vector<std::uint32_t>& sizes) {
  std::vector<std::byte> stream;
  for (std::uint32_t frame = 0; frame < sizes.size(); ++frame) {
    std::byte head[kFrameHeaderSize];
    protocol::EncodeFrameHeader({.data_size = sizes[frame], .operation = 32, .slot = 0, .sequence = frame},
                                head);
    stream.insert(stream.end(), std::begin(head), std::end(head));
    for (std::size_t i = 0; i < sizes[frame]; ++i) stream.push_back(ByteAt(frame, i));
  }
  return stream;
}

// Feeds at most `most` bytes at a time, as a socket would; the number of frames that came out right.
std::uint32_t Feed(const std::vector<std::byte>& stream, std::size_t most) {
  FrameReader reader;
  std::uint32_t right = 0;
  for (std::size_t at = 0; at < stream.size();) {
    const auto space = reader.Space();
    if (space.empty()) return right;
    const std::size_t size = std::min({space.size(), most, stream.size() - at});
    std::memcpy(space.data(), stream.data() + at, size);
    reader.Filled(size);
    at += size;
    FrameHeader header;
    std::span<const std::byte> body;
    std::span<const std::byte> data;
    for (;;) {
      const auto next = reader.Take(header, body, data);
      if (next == FrameReader::Next::kMalformed) return right;
      if (next == FrameReader::Next::kIncomplete) break;
      bool same = header.sequence == right && data.size() == header.data_size;
      for (std::size_t i = 0; same && i < data.size(); ++i) same = data[i] == ByteAt(right, i);
      EXPECT_TRUE(same) << "frame " << right;
      if (!same) return right;
      ++right;
    }
  }
  return right;
}

TEST(FrameReader, FramesInPiecesOfAnySize) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> sizes;
  for (int i = 0; i < 12; ++i) sizes.push_back(random() % 300);
  // Large ones close behind each other reach the buffer's end, where a begun frame has to be moved to the
  // front.
  for (int i = 0; i < 12; ++i) sizes.push_back(protocol::kMaxDataSize - random() % 1000);
  const auto stream = Stream(sizes);
  for (const std::size_t most :
       {std::size_t{1000}, std::size_t{4099}, std::size_t{60000}, std::size_t{1} << 30}) {
    EXPECT_EQ(Feed(stream, most), sizes.size()) << most;
  }
  const std::vector<std::uint32_t> small(sizes.begin(), sizes.begin() + 12);
  EXPECT_EQ(Feed(Stream(small), 1), small.size());
}

TEST(FrameReader, HeaderBeyondTheBoundsIsMalformed) {
  FrameReader reader;
  std::byte head[kFrameHeaderSize];
  protocol::EncodeFrameHeader({.data_size = protocol::kMaxDataSize + 1, .operation = 32}, head);
  std::memcpy(reader.Space().data(), head, sizeof head);
  reader.Filled(sizeof head);
  FrameHeader header;
  std::span<const std::byte> body;
  std::span<const std::byte> data;
  EXPECT_EQ(reader.Take(header, body, data), FrameReader::Next::kMalformed);
}

}  // namespace
}  // namespace baton
