// FileRef: the opaque bytes by which clients name a file. Only the store that made one knows what is inside
// (a persistent file handle and a code that a client cannot forge, rule A3); everybody else copies, compares
// and hashes it. It outlives a restart of either side. A value without heap; any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "base/check.h"

namespace baton {

class FileRef {
 public:
  static constexpr std::size_t kCapacity = 159;

  FileRef() = default;  // names nothing
  // Requires bytes.size() <= kCapacity.
  explicit FileRef(std::span<const std::byte> bytes) : size_(static_cast<std::uint8_t>(bytes.size())) {
    BATON_CHECK(bytes.size() <= kCapacity);
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  FileRef(const FileRef& other) : size_(other.size_) {
    std::copy_n(other.bytes_.begin(), other.size_, bytes_.begin());
  }
  FileRef& operator=(const FileRef& other) {
    size_ = other.size_;
    std::copy_n(other.bytes_.begin(), other.size_, bytes_.begin());
    return *this;
  }

  std::span<const std::byte> Bytes() const { return std::span(bytes_).first(size_); }
  bool Empty() const { return size_ == 0; }

  friend bool operator==(const FileRef& a, const FileRef& b) {
    return std::ranges::equal(a.Bytes(), b.Bytes());
  }
  friend bool operator<(const FileRef& a, const FileRef& b) {
    return std::ranges::lexicographical_compare(a.Bytes(), b.Bytes());
  }

 private:
  std::uint8_t size_ = 0;
  std::array<std::byte, kCapacity> bytes_;  // only the first size_ are ever read
};

static_assert(sizeof(FileRef) == 160);

}  // namespace baton

template <>
struct std::hash<baton::FileRef> {
  std::size_t operator()(const baton::FileRef& ref) const noexcept {
    const auto bytes = ref.Bytes();
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
};
