#include "server/net/frame_reader.h"

#include <algorithm>
#include <cstring>

namespace baton::server {
namespace {

using protocol::FrameHeader;
using protocol::kFrameHeaderSize;

std::size_t SizeOf(const FrameHeader& header) {
  return kFrameHeaderSize + std::size_t{header.body_size} + header.data_size;
}

}  // namespace

FrameReader::State FrameReader::Look(FrameHeader& header) const {
  const std::size_t have = end_ - begin_;
  if (have < kFrameHeaderSize) return State::kNeedMore;
  const std::span<const std::byte, kFrameHeaderSize> bytes(buffer_.bytes.get() + begin_, kFrameHeaderSize);
  if (!protocol::DecodeFrameHeader(bytes, header) || SizeOf(header) > most_) return State::kMalformed;
  return have < SizeOf(header) ? State::kNeedMore : State::kFrame;
}

FrameReader::State FrameReader::Peek() const {
  FrameHeader header;
  return Look(header);
}

FrameReader::State FrameReader::Next(Frame& frame) {
  const State state = Look(frame.header);
  if (state != State::kFrame) return state;
  const std::byte* body = buffer_.bytes.get() + begin_ + kFrameHeaderSize;
  frame.body = {body, frame.header.body_size};
  frame.data = {body + frame.header.body_size, frame.header.data_size};
  begin_ += SizeOf(frame.header);
  if (begin_ == end_) {
    frame.buffer = Clear();
  } else {
    frame.buffer = buffer_;
  }
  return state;
}

std::size_t FrameReader::Needed() const {
  FrameHeader header;
  return end_ - begin_ < kFrameHeaderSize || Look(header) == State::kMalformed ? kFrameHeaderSize
                                                                               : SizeOf(header);
}

std::span<std::byte> FrameReader::Room() {
  const std::size_t have = end_ - begin_;
  const std::size_t needed = Needed();
  if (buffer_.size < begin_ + needed) {
    BufferPool::Buffer buffer = pool_->Get(std::max(needed, BufferPool::kSmall));
    if (buffer.size == 0) return {};
    // Only what arrived together with the header, at most one small buffer.
    if (have > 0) std::memcpy(buffer.bytes.get(), buffer_.bytes.get() + begin_, have);
    buffer_ = std::move(buffer);
    begin_ = 0;
    end_ = have;
  }
  const std::size_t limit = buffer_.size == BufferPool::kSmall ? buffer_.size : begin_ + needed;
  return {buffer_.bytes.get() + end_, limit - end_};
}

void FrameReader::Rest() {
  if (!IsMidFrame()) Clear();
}

BufferPool::Buffer FrameReader::Clear() {
  begin_ = end_ = 0;
  return std::exchange(buffer_, {});
}

}  // namespace baton::server
