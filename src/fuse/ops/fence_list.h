// The fences in force on this node, as batond told of them (rule T7): for each instance the newest. Any
// thread.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/guid.h"
#include "base/ids.h"

namespace baton {

class FenceList {
 public:
  struct Raised {
    bool is_new = false;  // else it, or a newer one, was in force already
    Instant since{};      // when it first was: `now`, unless it was
  };
  Raised Raise(const Guid& guid, Epoch epoch, Instant now) {
    const std::lock_guard lock(mutex_);
    InForce& known = in_force_[guid];
    const bool is_new = Raw(epoch) > Raw(known.epoch);
    if (is_new) known = {epoch, now};
    return {is_new, known.epoch == epoch ? known.since : now};
  }
  std::vector<std::pair<Guid, Epoch>> All() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<Guid, Epoch>> all;
    for (const auto& [guid, known] : in_force_) all.emplace_back(guid, known.epoch);
    return all;
  }

 private:
  struct InForce {
    Epoch epoch{};
    Instant since{};
  };
  mutable std::mutex mutex_;
  std::map<Guid, InForce> in_force_;
};

}  // namespace baton
