// StaleLocks: the names of which batond may answer differently to an instance's new incarnation (rule X1).
// The kernel believes nothing of such a name, neither that it is there nor that it is not. Any thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string_view>

#include "base/name_patterns.h"

namespace baton {

class StaleLocks {
 public:
  // What batond said with the session's beginning.
  void Set(NamePatterns patterns) {
    auto fresh = std::make_shared<const NamePatterns>(std::move(patterns));
    const bool any = !fresh->Empty();
    const std::lock_guard lock(mutex_);
    patterns_ = std::move(fresh);
    any_ = any;
  }

  bool Match(std::string_view name) const {
    if (!any_) return false;
    std::shared_ptr<const NamePatterns> patterns;
    {
      const std::lock_guard lock(mutex_);
      patterns = patterns_;
    }
    return patterns->Match(name);
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> any_ = false;
  std::shared_ptr<const NamePatterns> patterns_ = std::make_shared<const NamePatterns>();
};

}  // namespace baton
