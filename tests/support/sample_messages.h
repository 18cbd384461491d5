// Messages with chosen values in every field, made from their field lists, and their comparison. For tests of
// the codec.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "protocol/codec.h"

namespace baton::test {

enum class Values { kEmpty, kTypical, kExtreme };

// Writes `values` into every field, each field another typical value.
class Filler {
 public:
  explicit Filler(Values values) : values_(values) {}

  template <class T>
  void Fill(T& value) {
    if constexpr (protocol::Message<T>) {
      std::apply([this](auto&... field) { (Fill(field), ...); }, value.Fields());
    } else if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> raw{};
      Fill(raw);
      value = static_cast<T>(raw);
    } else if constexpr (std::is_same_v<T, bool>) {
      value = values_ != Values::kEmpty;
    } else {
      value = values_ == Values::kEmpty     ? T{0}
              : values_ == Values::kTypical ? static_cast<T>(++count_)
                                            : std::numeric_limits<T>::max();
    }
  }
  void Fill(std::string& text) {
    text = values_ == Values::kEmpty     ? std::string()
           : values_ == Values::kTypical ? "text " + std::to_string(++count_)
                                         : std::string(5000, '\0') + "\xff\x80";
  }
  template <class T>
  void Fill(std::vector<T>& list) {
    list.resize(values_ == Values::kEmpty ? 0 : values_ == Values::kTypical ? 2 : 40);
    for (T& element : list) Fill(element);
  }
  template <class T>
  void Fill(std::optional<T>& value) {
    value.reset();
    if (values_ != Values::kEmpty) Fill(value.emplace());
  }
  void Fill(Guid& guid) {
    for (auto& byte : guid.data) Fill(byte);
  }
  void Fill(InstanceVersion& version) {
    Fill(version.high);
    Fill(version.low);
  }
  void Fill(FileRef& ref) {
    const std::size_t size = values_ == Values::kEmpty     ? 0
                             : values_ == Values::kTypical ? 5
                                                           : FileRef::kCapacity;
    ref = FileRef(std::vector<std::byte>(size, static_cast<std::byte>(++count_)));
  }
  void Fill(std::chrono::nanoseconds& time) {
    time = values_ == Values::kEmpty     ? std::chrono::nanoseconds(0)
           : values_ == Values::kTypical ? std::chrono::nanoseconds(-++count_)
                                         : std::chrono::nanoseconds::max();
  }

 private:
  const Values values_;
  int count_ = 0;
};

template <class T>
T Sample(Values values) {
  T message;
  Filler(values).Fill(message);
  return message;
}

template <class T>
bool Same(const std::vector<T>& a, const std::vector<T>& b);
template <class T>
bool Same(const std::optional<T>& a, const std::optional<T>& b);

// Field by field: messages have no operator== of their own.
template <class T>
bool Same(const T& a, const T& b) {
  if constexpr (protocol::Message<T>) {
    return std::apply(
        [&](const auto&... left) {
          return std::apply([&](const auto&... right) { return (Same(left, right) && ...); }, b.Fields());
        },
        a.Fields());
  } else {
    return a == b;
  }
}
template <class T>
bool Same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::ranges::equal(a, b, [](const T& left, const T& right) { return Same(left, right); });
}
template <class T>
bool Same(const std::optional<T>& a, const std::optional<T>& b) {
  return a.has_value() == b.has_value() && (!a || Same(*a, *b));
}

}  // namespace baton::test
