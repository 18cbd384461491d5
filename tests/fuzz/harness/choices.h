// Choices: an input as numbers and pieces, one after the other; zeros and nothing when it is used up. What it
// is not: random. A value; one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace baton::fuzz {

inline std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The pieces between zero bytes.
inline std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  for (; !text.empty(); text.remove_prefix(std::min(text.size(), words.back().size() + 1)))
    words.emplace_back(text.substr(0, text.find('\0')));
  return words;
}

class Choices {
 public:
  explicit Choices(std::span<const std::byte> input) : left_(input) {}

  bool Done() const { return left_.empty(); }
  std::span<const std::byte> Rest() const { return left_; }

  std::span<const std::byte> Bytes(std::size_t size) {
    const auto bytes = left_.first(std::min(size, left_.size()));
    left_ = left_.subspan(bytes.size());
    return bytes;
  }
  template <class T>
  T Number() {
    T number{};
    const auto bytes = Bytes(sizeof number);
    if (!bytes.empty()) std::memcpy(&number, bytes.data(), bytes.size());
    return number;
  }
  std::uint8_t Byte() { return Number<std::uint8_t>(); }
  // As long as the byte before it says.
  std::string_view Text() { return TextOf(Bytes(Byte())); }

 private:
  std::span<const std::byte> left_;
};

}  // namespace baton::fuzz
