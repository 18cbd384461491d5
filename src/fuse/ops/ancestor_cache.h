// AncestorCache: the living ancestors of processes that open one file after another (rule I7: a handle of an
// ancestor without an instance, a shell's redirection, is no stranger's). Reading them costs a look at each;
// a process gets other ancestors only when one of them ends. Any thread; the mutex is not held over a read.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "fuse/identity/proc_reader.h"

namespace baton {

class AncestorCache {
 public:
  AncestorCache(const ProcReader& proc, const Clock& clock) : proc_(proc), clock_(clock) {}
  // Nearest first; as they were a second ago at most.
  std::vector<std::int32_t> Of(const ProcessKey& process);

 private:
  static constexpr Duration kFresh = std::chrono::seconds(1);
  static constexpr std::size_t kMost = 1024;
  static constexpr std::size_t kMostAncestors = 32;

  struct Known {
    std::vector<std::int32_t> ancestors;
    Instant at{};
  };
  std::vector<std::int32_t> Read(pid_t pid) const;

  const ProcReader& proc_;
  const Clock& clock_;
  std::mutex mutex_;
  std::unordered_map<ProcessKey, Known, ProcessKeyHash> known_;
};

}  // namespace baton
