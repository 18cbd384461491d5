#include "protocol/frame.h"

#include "protocol/codec.h"

namespace baton::protocol {

void EncodeFrameHeader(const FrameHeader& header, std::span<std::byte, kFrameHeaderSize> out) {
  std::byte* to = out.data();
  to = StoreLittle(to, header.body_size);
  to = StoreLittle(to, header.data_size);
  to = StoreLittle(to, header.operation);
  to = StoreLittle(to, static_cast<std::uint8_t>(header.kind));
  to = StoreLittle(to, header.flags);
  to = StoreLittle(to, header.slot);
  to = StoreLittle(to, header.sequence);
  to = StoreLittle(to, static_cast<std::uint32_t>(header.error));
  StoreLittle(to, header.epoch);
}

bool DecodeFrameHeader(std::span<const std::byte, kFrameHeaderSize> in, FrameHeader& header) {
  const std::byte* from = in.data();
  std::uint8_t kind = 0;
  std::uint32_t error = 0;
  from = LoadLittle(from, header.body_size);
  from = LoadLittle(from, header.data_size);
  from = LoadLittle(from, header.operation);
  from = LoadLittle(from, kind);
  from = LoadLittle(from, header.flags);
  from = LoadLittle(from, header.slot);
  from = LoadLittle(from, header.sequence);
  from = LoadLittle(from, error);
  LoadLittle(from, header.epoch);
  header.kind = static_cast<FrameKind>(kind);
  header.error = static_cast<std::int32_t>(error);
  return header.body_size <= kMaxBodySize && header.data_size <= kMaxDataSize && kind >= 1 && kind <= 3 &&
         (header.slot < kMaxSlots || header.slot == kNoSlot) && header.error >= 0 && header.error < 4096;
}

}  // namespace baton::protocol
