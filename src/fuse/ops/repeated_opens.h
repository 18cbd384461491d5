// RepeatedOpens: handles that batond granted for an inode that was retired meanwhile. The program does not
// get them; the kernel asks once more, and until then they keep the claim, so that no waiting stranger slips
// in between (rules C3, T9). Any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/ids.h"
#include "fuse/client/call.h"

namespace baton {

class RepeatedOpens {
 public:
  struct Held {
    std::uint64_t file = 0;  // Inode::FateKey
    int pid = 0;
    HandleId handle{};
    client::Generation generation{};
  };

  void Hold(const Held& held) {
    std::lock_guard lock(mutex_);
    held_.push_back(held);
  }
  // The process has opened the file now: what was held for it is to be closed.
  std::vector<Held> Take(std::uint64_t file, int pid) {
    return TakeIf([&](const Held& held) { return held.file == file && held.pid == pid; });
  }
  // It did not ask again in time; none if it did.
  std::vector<Held> Take(HandleId handle) {
    return TakeIf([&](const Held& held) { return held.handle == handle; });
  }

 private:
  template <class Condition>
  std::vector<Held> TakeIf(Condition condition) {
    std::vector<Held> taken;
    std::lock_guard lock(mutex_);
    if (held_.empty()) return taken;
    std::ranges::copy_if(held_, std::back_inserter(taken), condition);
    std::erase_if(held_, condition);
    return taken;
  }

  std::mutex mutex_;
  std::vector<Held> held_;  // for a second each
};

}  // namespace baton
