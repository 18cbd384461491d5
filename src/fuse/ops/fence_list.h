// The fences in force on this node, as batond told of them (rule T7): for each instance the newest. Any
// thread.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/guid.h"
#include "base/ids.h"

namespace baton {

class FenceList {
 public:
  // False: this fence, or a newer one, was in force already.
  bool Raise(const Guid& guid, Epoch epoch) {
    const std::lock_guard lock(mutex_);
    Epoch& in_force = in_force_[guid];
    const bool is_new = Raw(epoch) > Raw(in_force);
    in_force = std::max(in_force, epoch);
    return is_new;
  }
  std::vector<std::pair<Guid, Epoch>> All() const {
    const std::lock_guard lock(mutex_);
    return {in_force_.begin(), in_force_.end()};
  }

 private:
  mutable std::mutex mutex_;
  std::map<Guid, Epoch> in_force_;
};

}  // namespace baton
