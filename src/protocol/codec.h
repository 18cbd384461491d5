// The codec: messages to bytes and back, from each message's one field list (BATON_FIELDS). Integers and enums little-endian
// in their own width, bool as one byte (0 or 1), optional as a bool and the value, strings and vectors as a 32 bit count and
// the elements. Bounded: a count is checked against the bytes that are left before anything is allocated. Pure; any thread.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/fields.h"
#include "base/file_ref.h"
#include "base/guid.h"

namespace baton::protocol {

static_assert(std::endian::native == std::endian::little, "StoreLittle copies the machine's own order");

template <std::integral T>
std::byte* StoreLittle(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

template <std::integral T>
const std::byte* LoadLittle(const std::byte* from, T& value) {
  std::memcpy(&value, from, sizeof value);
  return from + sizeof value;
}

template <class T>
concept Message = requires(T& message) { message.Fields(); };

class Encoder {
 public:
  explicit Encoder(std::vector<std::byte>& out) : out_(out) {}

  template <class T>
  void Put(const T& value) {
    if constexpr (Message<T>) {
      std::apply([this](const auto&... field) { (Put(field), ...); }, value.Fields());
    } else if constexpr (std::is_enum_v<T>) {
      Put(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (std::is_same_v<T, bool>) {
      Put(static_cast<std::uint8_t>(value));
    } else {
      static_assert(std::integral<T>);
      std::array<std::byte, sizeof(T)> bytes;
      StoreLittle(bytes.data(), value);
      Append(bytes);
    }
  }
  void Put(const std::string& text) {
    Put(static_cast<std::uint32_t>(text.size()));
    Append(std::as_bytes(std::span(text)));
  }
  template <class T>
  void Put(const std::vector<T>& list) {
    Put(static_cast<std::uint32_t>(list.size()));
    if constexpr (std::is_same_v<T, std::byte>) {
      Append(list);
    } else {
      for (const T& element : list) Put(element);
    }
  }
  template <class T>
  void Put(const std::optional<T>& value) {
    Put(value.has_value());
    if (value) Put(*value);
  }
  void Put(const Guid& guid) { Append(std::as_bytes(std::span(guid.data))); }
  void Put(const InstanceVersion& version) {
    Put(version.high);
    Put(version.low);
  }
  void Put(const FileRef& ref) {
    const auto bytes = ref.Bytes();
    Put(static_cast<std::uint8_t>(bytes.size()));
    Append(bytes);
  }
  void Put(std::chrono::nanoseconds time) { Put(static_cast<std::int64_t>(time.count())); }

 private:
  void Append(std::span<const std::byte> bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }

  std::vector<std::byte>& out_;
};

// Reads one message. After the last field ask Done(): false means that the bytes were not exactly one such message.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> in) : in_(in) {}

  bool Done() const { return ok_ && in_.empty(); }

  template <class T>
  void Get(T& value) {
    if constexpr (Message<T>) {
      std::apply([this](auto&... field) { (Get(field), ...); }, value.Fields());
    } else if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> raw{};
      Get(raw);
      value = static_cast<T>(raw);
    } else if constexpr (std::is_same_v<T, bool>) {
      std::uint8_t raw = 0;
      Get(raw);
      if (raw > 1) ok_ = false;
      value = raw == 1;
    } else {
      static_assert(std::integral<T>);
      if (const std::byte* from = Take(sizeof(T))) LoadLittle(from, value);
    }
  }
  void Get(std::string& text) {
    const std::uint32_t size = GetCount(1);
    if (const std::byte* from = Take(size)) text.assign(reinterpret_cast<const char*>(from), size);
  }
  template <class T>
  void Get(std::vector<T>& list) {
    const std::uint32_t count = GetCount(1);
    list.clear();
    if constexpr (std::is_same_v<T, std::byte>) {
      if (const std::byte* from = Take(count)) list.assign(from, from + count);
    } else {
      // Grows as elements really arrive: a count alone allocates nothing.
      for (std::uint32_t i = 0; i < count && ok_; ++i) Get(list.emplace_back());
    }
  }
  template <class T>
  void Get(std::optional<T>& value) {
    bool present = false;
    Get(present);
    value.reset();
    if (present && ok_) Get(value.emplace());
  }
  void Get(Guid& guid) {
    if (const std::byte* from = Take(sizeof guid.data)) std::memcpy(guid.data, from, sizeof guid.data);
  }
  void Get(InstanceVersion& version) {
    Get(version.high);
    Get(version.low);
  }
  void Get(FileRef& ref) {
    std::uint8_t size = 0;
    Get(size);
    const std::byte* from = Take(size);
    if (from == nullptr) return;
    if (size > FileRef::kCapacity) {
      ok_ = false;
      return;
    }
    ref = FileRef(std::span(from, size));
  }
  void Get(std::chrono::nanoseconds& time) {
    std::int64_t count = 0;
    Get(count);
    time = std::chrono::nanoseconds(count);
  }

 private:
  const std::byte* Take(std::size_t size) {
    if (!ok_ || in_.size() < size) {
      ok_ = false;
      return nullptr;
    }
    const std::byte* from = in_.data();
    in_ = in_.subspan(size);
    return from;
  }
  std::uint32_t GetCount(std::size_t least_element_size) {
    std::uint32_t count = 0;
    Get(count);
    if (count > in_.size() / least_element_size) ok_ = false;
    return ok_ ? count : 0;
  }

  std::span<const std::byte> in_;
  bool ok_ = true;
};

// The message in `body`, or nothing if the bytes are not exactly one T.
template <class T>
std::optional<T> Decode(std::span<const std::byte> body) {
  T message;
  Decoder decoder(body);
  decoder.Get(message);
  if (!decoder.Done()) return std::nullopt;
  return message;
}

}  // namespace baton::protocol
