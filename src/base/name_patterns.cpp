#include "base/name_patterns.h"

#include <fnmatch.h>

#include <algorithm>

namespace baton {

std::string NamePatterns::Check(std::string_view pattern) {
  if (pattern.empty()) return "the pattern is empty";
  if (pattern.size() > kMostBytes) return "the pattern is longer than 255 bytes";
  if (pattern.find('/') != pattern.npos)
    return "a pattern is compared with the last component of a name: no '/'";
  if (pattern.find('\0') != pattern.npos) return "the pattern has a zero byte";
  return {};
}

bool NamePatterns::Match(std::string_view name) const {
  if (patterns_.empty()) return false;
  const std::string text(name);
  return std::ranges::any_of(patterns_, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
  });
}

}  // namespace baton
