// LogLimiter: at most one line per key and interval, so that a peer cannot fill the log. Bounded: it forgets
// everything when it knows too many keys. Any thread.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/clock.h"

namespace baton {

class LogLimiter {
 public:
  explicit LogLimiter(Duration interval) : interval_(interval) {}

  // Nothing: say nothing now. Otherwise the number of lines about `key` that were left out since the last
  // one.
  std::optional<std::uint64_t> Allow(const std::string& key, Instant now) {
    const std::lock_guard lock(mutex_);
    if (entries_.size() >= kMaxKeys) entries_.clear();
    auto [entry, is_new] = entries_.try_emplace(key, Entry{now, 0});
    if (is_new) return 0;
    if (now - entry->second.last < interval_) {
      ++entry->second.left_out;
      return std::nullopt;
    }
    const std::uint64_t left_out = entry->second.left_out;
    entry->second = Entry{now, 0};
    return left_out;
  }

 private:
  static constexpr std::size_t kMaxKeys = 1024;
  struct Entry {
    Instant last;
    std::uint64_t left_out;
  };

  const Duration interval_;
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace baton
