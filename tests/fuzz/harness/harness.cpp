#include "fuzz/harness/harness.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "protocol/codec.h"
#include "protocol/operations.h"
#include "server/net/frame_reader.h"
#include "support/sample_messages.h"

namespace baton::fuzz {
namespace {

using Bytes = std::vector<std::byte>;
using server::BufferPool;
using server::FrameReader;

struct Cut {
  std::vector<Bytes> frames;
  bool is_malformed = false;
};

void Append(Bytes& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

Bytes Encoded(const server::Frame& frame) {
  std::array<std::byte, protocol::kFrameHeaderSize> head;
  protocol::EncodeFrameHeader(frame.header, head);
  Bytes bytes(head.begin(), head.end());
  Append(bytes, frame.body);
  Append(bytes, frame.data);
  return bytes;
}

Cut CutIntoFrames(std::span<const std::byte> stream, std::size_t piece) {
  const auto pool = std::make_shared<BufferPool>(4 * BufferPool::kLarge, nullptr);
  FrameReader reader(pool, BufferPool::kLarge);
  Cut cut;
  std::vector<server::Frame> kept;  // still in execution: their bytes must stay
  while (true) {
    server::Frame frame;
    const FrameReader::State state = reader.Next(frame);
    if (state == FrameReader::State::kMalformed) {
      cut.is_malformed = true;
      break;
    }
    if (state == FrameReader::State::kFrame) {
      BATON_CHECK(frame.Size() <= BufferPool::kLarge && frame.body.size() == frame.header.body_size);
      kept.push_back(std::move(frame));
      continue;
    }
    if (stream.empty()) break;
    const std::span<std::byte> room = reader.Room();
    if (room.empty()) break;  // the frames kept took what memory there is
    const std::size_t size = std::min({piece, room.size(), stream.size()});
    std::memcpy(room.data(), stream.data(), size);
    reader.Received(size);
    stream = stream.subspan(size);
  }
  for (const server::Frame& frame : kept) cut.frames.push_back(Encoded(frame));
  return cut;
}

template <class T>
bool DecodeAndCompare(std::span<const std::byte> bytes) {
  const auto message = protocol::Decode<T>(bytes);
  if (!message) return false;
  Bytes again;
  protocol::Encoder(again).Put(*message);
  BATON_CHECK(std::ranges::equal(again, bytes));
  return true;
}

using Decoding = bool (*)(std::span<const std::byte>);
constexpr Decoding kMessages[] = {
#define X(number, name, request, reply, ...) \
  &DecodeAndCompare<protocol::request>, &DecodeAndCompare<protocol::reply>,
    BATON_OPERATIONS(X)
#undef X
#define X(number, name, message) &DecodeAndCompare<protocol::message>,
        BATON_NOTICES(X)
#undef X
};

template <class T>
Bytes Seed(std::size_t index) {
  Bytes bytes{static_cast<std::byte>(index)};
  protocol::Encoder(bytes).Put(test::Sample<T>(test::Values::kTypical));
  return bytes;
}

}  // namespace

void Frame(std::span<const std::byte> input) {
  if (input.empty()) return;
  const auto piece = static_cast<std::size_t>(input[0]) + 1;
  const std::span<const std::byte> stream = input.subspan(1);
  const Cut whole = CutIntoFrames(stream, stream.size());
  const Cut pieces = CutIntoFrames(stream, piece);
  BATON_CHECK(whole.frames == pieces.frames && whole.is_malformed == pieces.is_malformed);
  Bytes again;
  for (const Bytes& frame : whole.frames) Append(again, frame);
  BATON_CHECK(again.size() <= stream.size() && std::ranges::equal(again, stream.first(again.size())));
}

bool Message(std::span<const std::byte> input) {
  return !input.empty() && kMessages[static_cast<std::size_t>(input[0]) % MessageCount()](input.subspan(1));
}

std::size_t MessageCount() {
  return std::size(kMessages);
}

std::vector<Bytes> MessageSeeds() {
  std::vector<Bytes> seeds;
#define X(number, name, request, reply, ...)              \
  seeds.push_back(Seed<protocol::request>(seeds.size())); \
  seeds.push_back(Seed<protocol::reply>(seeds.size()));
  BATON_OPERATIONS(X)
#undef X
#define X(number, name, message) seeds.push_back(Seed<protocol::message>(seeds.size()));
  BATON_NOTICES(X)
#undef X
  return seeds;
}

}  // namespace baton::fuzz
