// BATON_FIELDS names a struct's fields once: for the codec, for printing and for comparing.
#pragma once

#include <tuple>

#define BATON_FIELDS(...)                         \
  auto Fields() { return std::tie(__VA_ARGS__); } \
  auto Fields() const { return std::tie(__VA_ARGS__); } \
  static constexpr const char* FieldNames() { return #__VA_ARGS__; }

#define BATON_NO_FIELDS                            \
  auto Fields() { return std::tuple<>(); }         \
  auto Fields() const { return std::tuple<>(); }   \
  static constexpr const char* FieldNames() { return ""; }
