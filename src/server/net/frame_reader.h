// FrameReader: cuts the bytes of one connection into frames. Not the socket: the owner receives into Room().
// One thread at a time. Rule A4: every size is checked before memory is taken, and an idle connection holds
// none.
//
// File data is not copied: a frame larger than a small buffer gets a buffer of its own as soon as its header
// is known, and its rest is received straight into that. Small frames that arrive together share one buffer.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "protocol/frame.h"
#include "server/net/buffers.h"

namespace baton::server {

struct Frame {
  protocol::FrameHeader header;
  std::span<const std::byte> body;
  std::span<const std::byte> data;
  BufferPool::Buffer buffer;  // what the spans point into

  std::size_t Size() const { return protocol::kFrameHeaderSize + body.size() + data.size(); }
};

class FrameReader {
 public:
  enum class State { kFrame, kNeedMore, kMalformed };

  // `most`: the largest frame accepted, all in all.
  FrameReader(std::shared_ptr<BufferPool> pool, std::size_t most) : pool_(std::move(pool)), most_(most) {}
  void SetMost(std::size_t most) { most_ = most; }

  // The next complete frame of what was received, if any.
  State Next(Frame& frame);
  // What Next would say.
  State Peek() const;

  // Where to receive to; never more than the frame that is under way needs, unless that is small. Empty: no
  // memory now. Requires: Peek() is kNeedMore.
  std::span<std::byte> Room();
  void Received(std::size_t size) { end_ += size; }
  // Nothing more is there to receive at present: gives an empty buffer back.
  void Rest();
  // Drops what was received; the buffer goes to the caller.
  BufferPool::Buffer Clear();

  bool IsMidFrame() const { return end_ != begin_; }

 private:
  State Look(protocol::FrameHeader& header) const;
  std::size_t Needed() const;

  std::shared_ptr<BufferPool> pool_;
  std::size_t most_;
  BufferPool::Buffer buffer_;
  std::size_t begin_ = 0;  // received and not yet taken: [begin_, end_) of buffer_
  std::size_t end_ = 0;
};

}  // namespace baton::server
