// FateTable: which files have requests whose fate is unknown: given up after they were sent (rule S5: such a
// file admits no new open from this node until the fate is known, so that a killed writer's write cannot land
// on its successor's data). A file is a 64 bit key of the user's choice. Any thread; callbacks run with no
// lock held, on the thread that caused them.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "fuse/client/call.h"
#include "fuse/client/unique_function.h"

namespace baton::client {

class FateTable {
 public:
  using Waiter = UniqueFunction<void(Result<>)>;

  // A request of this file was given up; from the completion that says Fate::kUnknown.
  void Unknown(std::uint64_t key);
  // ... and its fate is known now; from CallOptions::late. Requires an Unknown before it. The file's waiters
  // run with success when none is left.
  void Known(std::uint64_t key);

  // True: nothing is unknown about the file, go on; `waiter` was not touched. False: `waiter` will be called
  // exactly once, with success or by Withdraw.
  bool Pass(std::uint64_t key, CallToken token, Waiter& waiter);
  // The waiter with this token is called with `error`. False: there is none.
  bool Withdraw(CallToken token, int error);
  // Whether a new open of the file would have to wait.
  bool IsUnknown(std::uint64_t key) const;

 private:
  struct Waiting {
    CallToken token;
    Waiter waiter;
  };
  struct File {
    std::uint32_t unknown = 0;
    std::vector<Waiting> waiting;
  };

  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, File> files_;  // only those with something unknown
};

}  // namespace baton::client
