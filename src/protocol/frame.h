// The frame: what travels on a connection. A header of 32 bytes, a body (one message, see messages.h) and, for READ's reply
// and WRITE's request, raw file data that the codec never touches. Little-endian, explicit widths.
//
// A connection begins with HELLO and its reply. Requests then flow to the server, replies to the mount, in any order.
// Exactly once (rules S1, T10): each request occupies a *slot* of its session, as in NFSv4.1 sessions (RFC 8881 section
// 2.10.6): a slot has one request outstanding, `sequence` rises by one with each. The server keeps the last reply of each
// slot, so a request that is sent again after a broken connection gets its first reply and no second effect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace baton::protocol {

inline constexpr std::uint32_t kMagic = 0x4e544142;  // "BATN"
inline constexpr std::uint16_t kProtocolVersion = 3;

enum class FrameKind : std::uint8_t { kRequest = 1, kReply = 2, kNotice = 3 };

// No slot: HELLO, notices, and requests whose loss is harmless (PING).
inline constexpr std::uint32_t kNoSlot = 0xffffffff;

struct FrameHeader {
  std::uint32_t body_size = 0;  // bytes of the message
  std::uint32_t data_size = 0;  // bytes of file data behind it
  std::uint16_t operation = 0;  // Operation (operations.h); a reply repeats the request's
  FrameKind kind = FrameKind::kRequest;
  std::uint8_t flags = 0;  // kFrameResent
  std::uint32_t slot = kNoSlot;
  std::uint32_t sequence = 0;
  std::int32_t error = 0;   // replies: 0, or the errno; the body is then empty
  std::uint64_t epoch = 0;  // replies: the incarnation the request was counted to; 0 if none
};

inline constexpr std::size_t kFrameHeaderSize = 32;
inline constexpr std::uint8_t kFrameResent = 1;  // sent before, on a connection that broke

// Bounds, checked before anything is allocated (rule A4).
inline constexpr std::uint32_t kMaxBodySize = 256 * 1024;
inline constexpr std::uint32_t kMaxDataSize = 1024 * 1024;
inline constexpr std::uint32_t kMaxSlots = 1024;

void EncodeFrameHeader(const FrameHeader& header, std::span<std::byte, kFrameHeaderSize> out);

// False if the bytes are no header of this protocol or break a bound: the connection is to be closed.
bool DecodeFrameHeader(std::span<const std::byte, kFrameHeaderSize> in, FrameHeader& header);

}  // namespace baton::protocol
