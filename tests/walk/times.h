// The times that utimensat and futimens are given.
#pragma once

#include <sys/stat.h>

#include <array>
#include <optional>
#include <string>

#include "walk/random.h"

namespace baton::walk {

using Times = std::optional<std::array<timespec, 2>>;  // empty: a null pointer

Times DrawTimes(Random& random);
std::string Text(const Times& times);
inline const timespec* Argument(const Times& times) {
  return times ? times->data() : nullptr;
}

}  // namespace baton::walk
