// FrameReader: bytes of a stream into frames, in one buffer of fixed size. A frame is handed out where it was
// received: its data is moved at most once, when a frame does not fit behind the one before. One thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "protocol/frame.h"

namespace baton {

class FrameReader {
 public:
  FrameReader();

  // Where the next bytes of the stream belong; never empty. Calling it ends the validity of frames handed
  // out.
  std::span<std::byte> Space();
  // So many bytes have been put there.
  void Filled(std::size_t size);

  enum class Next { kFrame, kIncomplete, kMalformed };
  // Hands out the next complete frame. After kMalformed only Reset may follow.
  Next Take(protocol::FrameHeader& header, std::span<const std::byte>& body,
            std::span<const std::byte>& data);

  // For a new stream.
  void Reset();

 private:
  static constexpr std::size_t kMaxFrame =
      protocol::kFrameHeaderSize + protocol::kMaxBodySize + protocol::kMaxDataSize;
  static constexpr std::size_t kCapacity = 2 * kMaxFrame;
  static constexpr std::size_t kChunk = 64 * 1024;  // how far to read ahead of the frame that is wanted

  std::unique_ptr<std::byte[]> buffer_;
  std::size_t begin_ = 0;  // of what is not handed out yet
  std::size_t end_ = 0;
  std::size_t wanted_ = protocol::kFrameHeaderSize;  // size of the frame at begin_, as far as it is known
};

}  // namespace baton
