// NamePatterns: the patterns of --stale-locks (rule X1), and which file names they mean: fnmatch(3) on a
// name's one component, a leading dot like any other letter. A value; const from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace baton {

class NamePatterns {
 public:
  // More, or longer ones, would not fit into a greeting.
  static constexpr std::size_t kMost = 64;
  static constexpr std::size_t kMostBytes = 255;

  NamePatterns() = default;
  explicit NamePatterns(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {}

  // What is wrong with a pattern, for people; empty: nothing.
  static std::string Check(std::string_view pattern);

  bool Match(std::string_view name) const;
  bool Empty() const { return patterns_.empty(); }
  const std::vector<std::string>& All() const { return patterns_; }

 private:
  std::vector<std::string> patterns_;
};

}  // namespace baton
