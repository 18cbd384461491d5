// The frame's header: its bytes, and its bounds (rule A4).
#include "protocol/frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace baton::protocol {
namespace {

using HeaderBytes = std::array<std::byte, kFrameHeaderSize>;

HeaderBytes Encoded(const FrameHeader& header) {
  HeaderBytes bytes;
  EncodeFrameHeader(header, bytes);
  return bytes;
}

bool IsAccepted(const FrameHeader& header) {
  FrameHeader again;
  return DecodeFrameHeader(Encoded(header), again) && Encoded(again) == Encoded(header);
}

TEST(FrameHeader, LaysOutLittleEndian) {
  const FrameHeader header{0x0001'0203, 0x0004'0506, 0x0708,      FrameKind::kReply,    9,
                           0x0000'0302, 0x0d0e'0f10, 0x0000'0112, 0x1516'1718'191a'1b1c};
  const unsigned char expected[] = {3, 2, 1,    0,    6,    5,    4,    0,    8,    7,    2,
                                    9, 2, 3,    0,    0,    16,   15,   14,   13,   0x12, 1,
                                    0, 0, 0x1c, 0x1b, 0x1a, 0x19, 0x18, 0x17, 0x16, 0x15};
  const HeaderBytes bytes = Encoded(header);
  EXPECT_TRUE(std::ranges::equal(bytes, std::as_bytes(std::span(expected))));
  EXPECT_TRUE(IsAccepted(header));
}

TEST(FrameHeader, EachBoundIsTheLastValueAccepted) {
  EXPECT_TRUE(IsAccepted({.body_size = kMaxBodySize, .data_size = kMaxDataSize}));
  EXPECT_FALSE(IsAccepted({.body_size = kMaxBodySize + 1}));
  EXPECT_FALSE(IsAccepted({.data_size = kMaxDataSize + 1}));
  EXPECT_FALSE(IsAccepted({.body_size = 0xffffffff, .data_size = 0xffffffff}));
  EXPECT_TRUE(IsAccepted({.slot = kMaxSlots - 1}));
  EXPECT_FALSE(IsAccepted({.slot = kMaxSlots}));
  EXPECT_TRUE(IsAccepted({.slot = kNoSlot}));
  EXPECT_TRUE(IsAccepted({.error = 4095}));
  EXPECT_FALSE(IsAccepted({.error = 4096}));
  EXPECT_FALSE(IsAccepted({.error = -1}));
}

TEST(FrameHeader, KnowsThreeKinds) {
  for (int kind = 0; kind < 256; ++kind) {
    EXPECT_EQ(IsAccepted({.kind = static_cast<FrameKind>(kind)}), kind >= 1 && kind <= 3) << kind;
  }
}

}  // namespace
}  // namespace baton::protocol
