#include "server/service/intent.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "protocol/codec.h"
#include "protocol/frame.h"
#include "protocol/operations.h"
#include "server/state/reply_file.h"

namespace baton::server {
namespace {

constexpr std::size_t kMostName = 255;  // NAME_MAX, XATTR_NAME_MAX
constexpr std::uint64_t kPage = 4096;   // a write that is killed ends between two of them

// The most bytes that a message is encoded to, if its strings and lists are no longer than said.
template <class T>
constexpr std::size_t MostBytes(std::size_t string, std::size_t elements);

template <class T>
struct Bound {
  static constexpr std::size_t Of(std::size_t string, std::size_t elements) {
    if constexpr (protocol::Message<T>) {
      return OfFields(static_cast<decltype(std::declval<const T&>().Fields())*>(nullptr), string, elements);
    } else {
      return sizeof(T);  // at least
    }
  }
  template <class... Fields>
  static constexpr std::size_t OfFields(std::tuple<Fields...>*, [[maybe_unused]] std::size_t string,
                                        [[maybe_unused]] std::size_t elements) {
    return (0 + ... + MostBytes<std::remove_cvref_t<Fields>>(string, elements));
  }
};
template <>
struct Bound<std::string> {
  static constexpr std::size_t Of(std::size_t string, std::size_t) { return sizeof(std::uint32_t) + string; }
};
template <>
struct Bound<FileRef> {
  static constexpr std::size_t Of(std::size_t, std::size_t) { return 1 + FileRef::kCapacity; }
};
template <class T>
struct Bound<std::optional<T>> {
  static constexpr std::size_t Of(std::size_t string, std::size_t elements) {
    return 1 + MostBytes<T>(string, elements);
  }
};
template <class T>
struct Bound<std::vector<T>> {
  static constexpr std::size_t Of(std::size_t string, std::size_t elements) {
    return sizeof(std::uint32_t) + elements * MostBytes<T>(string, elements);
  }
};
template <class T>
constexpr std::size_t MostBytes(std::size_t string, std::size_t elements) {
  return Bound<T>::Of(string, elements);
}

constexpr std::size_t kMostPages = protocol::kMaxDataSize / kPage + 1;
static_assert(MostBytes<NameIntent>(kMostName, 0) <= ReplyRecord::kMostNotes);
static_assert(MostBytes<XattrIntent>(kMostName, 0) <= ReplyRecord::kMostNotes);
static_assert(MostBytes<AppendIntent>(0, kMostPages) <= ReplyRecord::kMostNotes);
// CREATE has one name, and notes what it made behind it.
static_assert(MostBytes<NameIntent>(kMostName, 0) - (FileRef::kCapacity + kMostName) +
                  MostBytes<MadeFile>(0, 0) <=
              ReplyRecord::kMostNotes);

// The one string in a recorded reply is OPEN's proof.
template <protocol::Operation kOperation>
constexpr bool ReplyFits() {
  using Reply = typename protocol::MessagesOf<kOperation>::Reply;
  return protocol::PropertiesOf(kOperation)->replay != protocol::Replay::kFirstReply ||
         MostBytes<Reply>(protocol::kMaxProofSize, 0) <= ReplyRecord::kMostReply;
}
#define X(number, name, ...) static_assert(ReplyFits<protocol::Operation::k##name>());
BATON_OPERATIONS(X)
#undef X

// The hash of all that was added, part by part.
class RunningHash {
 public:
  void Add(std::span<const std::byte> part) {
    std::array<unsigned char, crypto_shorthash_KEYBYTES> key{};
    std::memcpy(key.data(), &value_, sizeof value_);
    std::array<unsigned char, sizeof value_> out;
    ::crypto_shorthash(out.data(), reinterpret_cast<const unsigned char*>(part.data()), part.size(),
                       key.data());
    std::memcpy(&value_, out.data(), sizeof value_);
  }
  std::uint64_t Value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};
static_assert(crypto_shorthash_BYTES == sizeof(std::uint64_t));

}  // namespace

AppendIntent IntentToAppend(const FileRef& file, std::uint64_t offset, std::span<const std::byte> data) {
  AppendIntent intent{file, offset, static_cast<std::uint32_t>(data.size()), 0, {}};
  RunningHash hash;
  std::size_t size = kPage - offset % kPage;
  while (data.size() > size) {
    hash.Add(data.first(size));
    intent.parts.push_back(static_cast<std::uint16_t>(hash.Value()));
    data = data.subspan(size);
    size = kPage;
  }
  hash.Add(data);
  intent.hash = hash.Value();
  return intent;
}

std::optional<FileRef> MadeBy(std::span<const std::byte> notes) {
  if (notes.empty()) return std::nullopt;
  NameIntent intent;
  MadeFile made;
  protocol::Decoder decoder(notes);
  decoder.Get(intent);
  decoder.Get(made);
  return decoder.Done() ? std::optional(made.file) : std::nullopt;
}

}  // namespace baton::server
