// Numbers that follow from a seed alone, the same with every library.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>
#include <utility>

namespace baton::walk {

class Random {
 public:
  explicit Random(std::uint64_t seed) : source_(seed) {}

  // Less than `limit`.
  std::uint64_t Below(std::uint64_t limit) { return source_() % limit; }
  bool Chance(unsigned percent) { return Below(100) < percent; }

  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return *(values.begin() + Below(values.size()));
  }
  template <typename Container>
  const auto& In(const Container& values) {
    return values[Below(std::size(values))];
  }

 private:
  std::mt19937_64 source_;
};

}  // namespace baton::walk
