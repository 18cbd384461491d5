#include "fuse/net/frame_reader.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace baton {

using protocol::kFrameHeaderSize;

FrameReader::FrameReader() : buffer_(std::make_unique_for_overwrite<std::byte[]>(kCapacity)) {}

std::span<std::byte> FrameReader::Space() {
  const std::size_t have = end_ - begin_;
  if (have == 0) {
    begin_ = end_ = 0;
  } else if (begin_ + wanted_ > kCapacity) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, have);
    begin_ = 0;
    end_ = have;
  }
  // A large frame is read exactly to its end, so that the next one begins at the front and is not moved
  // either.
  const std::size_t missing = wanted_ - have;
  return {buffer_.get() + end_, std::min(std::max(missing, kChunk), kCapacity - end_)};
}

void FrameReader::Filled(std::size_t size) {
  end_ += size;
  BATON_CHECK(end_ <= kCapacity);
}

FrameReader::Next FrameReader::Take(protocol::FrameHeader& header, std::span<const std::byte>& body,
                                    std::span<const std::byte>& data) {
  const std::size_t have = end_ - begin_;
  const std::byte* at = buffer_.get() + begin_;
  wanted_ = kFrameHeaderSize;
  if (have < wanted_) return Next::kIncomplete;
  if (!DecodeFrameHeader(std::span<const std::byte, kFrameHeaderSize>(at, kFrameHeaderSize), header)) {
    return Next::kMalformed;
  }
  wanted_ += std::size_t{header.body_size} + header.data_size;
  if (have < wanted_) return Next::kIncomplete;
  body = {at + kFrameHeaderSize, header.body_size};
  data = {at + kFrameHeaderSize + header.body_size, header.data_size};
  begin_ += wanted_;
  wanted_ = kFrameHeaderSize;
  return Next::kFrame;
}

void FrameReader::Reset() {
  begin_ = end_ = 0;
  wanted_ = kFrameHeaderSize;
}

}  // namespace baton
