// The codec, for every message of the operations table. Rule A4: what is not exactly one message is refused.
#include <gtest/gtest.h>

#include "protocol/operations.h"
#include "support/sample_messages.h"

namespace baton::protocol {
namespace {

using Bytes = std::vector<std::byte>;
using test::Sample;
using test::Values;

template <class T>
Bytes Encoded(const T& message) {
  Bytes bytes;
  Encoder(bytes).Put(message);
  return bytes;
}

template <class T>
class MessageTest : public ::testing::Test {};

#define X(number, name, request, reply, ...) request, reply,
#define Y(number, name, message) message,
// Caller, a part of many, also ends the list.
using Messages = ::testing::Types<BATON_OPERATIONS(X) BATON_NOTICES(Y) Caller>;
#undef X
#undef Y
TYPED_TEST_SUITE(MessageTest, Messages);

TYPED_TEST(MessageTest, ComesBackAsItWas) {
  for (const Values values : {Values::kEmpty, Values::kTypical, Values::kExtreme}) {
    const auto message = Sample<TypeParam>(values);
    const auto again = Decode<TypeParam>(Encoded(message));
    ASSERT_TRUE(again);
    EXPECT_TRUE(test::Same(message, *again));
  }
}

TYPED_TEST(MessageTest, IsRefusedWhenCutAnywhere) {
  for (const Values values : {Values::kEmpty, Values::kTypical}) {
    const Bytes bytes = Encoded(Sample<TypeParam>(values));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(Decode<TypeParam>(std::span(bytes).first(size))) << size << " of " << bytes.size();
    }
  }
}

TYPED_TEST(MessageTest, IsRefusedWithBytesBehindIt) {
  for (const Values values : {Values::kEmpty, Values::kTypical, Values::kExtreme}) {
    Bytes bytes = Encoded(Sample<TypeParam>(values));
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(Decode<TypeParam>(bytes));
  }
}

// Wherever a count stands, a huge one there is refused, and nothing decodes to other bytes than it came from.
TYPED_TEST(MessageTest, SurvivesHugeCountsAnywhere) {
  const Bytes bytes = Encoded(Sample<TypeParam>(Values::kTypical));
  for (std::size_t at = 0; at + 4 <= bytes.size(); ++at) {
    Bytes changed = bytes;
    std::fill_n(changed.begin() + static_cast<std::ptrdiff_t>(at), 4, std::byte{0xff});
    if (const auto message = Decode<TypeParam>(changed)) {
      EXPECT_EQ(Encoded(*message), changed);
    }
  }
}

struct Lists {
  std::string text;
  std::vector<std::uint64_t> numbers;
  std::vector<std::byte> bytes;
  std::optional<std::uint16_t> maybe;
  bool flag = false;
  BATON_FIELDS(text, numbers, bytes, maybe, flag)
};

TEST(Codec, LaysOutAsDescribed) {
  const Lists lists{"ab", {1}, {std::byte{9}}, 0x0102, true};
  const unsigned char expected[] = {2, 0, 0, 0, 'a', 'b', 1, 0, 0, 0, 1, 0, 0, 0,
                                    0, 0, 0, 0, 1,   0,   0, 0, 9, 1, 2, 1, 1};
  const Bytes bytes = Encoded(lists);
  EXPECT_TRUE(std::ranges::equal(bytes, std::as_bytes(std::span(expected))));
}

TEST(Codec, RefusesCountsBeyondTheBytesThatAreThere) {
  const Bytes good = Encoded(Lists{});
  for (const std::size_t at : {0u, 4u, 8u}) {  // the three counts
    Bytes bytes = good;
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 4, std::byte{0xff});
    EXPECT_FALSE(Decode<Lists>(bytes)) << at;
  }
}

TEST(Codec, RefusesBoolsThatAreNeitherZeroNorOne) {
  Bytes bytes = Encoded(Lists{});
  bytes.back() = std::byte{2};
  EXPECT_FALSE(Decode<Lists>(bytes));
  bytes.back() = std::byte{0};
  bytes[bytes.size() - 2] = std::byte{2};  // the optional's
  EXPECT_FALSE(Decode<Lists>(bytes));
}

TEST(Codec, RefusesFileRefsBeyondTheirCapacity) {
  Bytes bytes(1 + 255, std::byte{255});
  EXPECT_FALSE(Decode<LookupRequest>(bytes));
  FileRef ref;
  Decoder decoder(bytes);
  decoder.Get(ref);
  EXPECT_FALSE(decoder.Done());
  EXPECT_TRUE(ref.Empty());
}

}  // namespace
}  // namespace baton::protocol
