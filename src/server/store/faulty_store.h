// FaultyStore: a BackingStore (and its StoreFiles) around another that fails or stalls the operations a test
// chooses. A stalled call waits at its start, with no effect yet, until it is released. For tests. Any
// thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "server/store/backing_store.h"

namespace baton::store {

enum class StoreOperation : std::uint8_t {
  kLookup,
  kFind,
  kMakeDirectory,
  kMakeNode,
  kSymlink,
  kLink,
  kUnlink,
  kRemoveDirectory,
  kRename,
  kReadLink,
  kReadDirectory,
  kSyncDirectory,
  kGetAttr,
  kSetAttr,
  kAccess,
  kGetStatFs,
  kGetXattr,
  kListXattr,
  kSetXattr,
  kRemoveXattr,
  kOpen,
  kCreate,
  kProbe,  // every WouldXxx
  kPolicy,
  kRead,        // of a StoreFile, as all that follow
  kReadNoWait,  // a stall answers EAGAIN, as a slow disk would
  kWrite,
  kWriteAppend,
  kSync,
  kTruncate,
  kAllocate,
  kSeek,
  kCopyFrom,
  kFileGetAttr,
  kFileSetAttr,
};

class Faults {
 public:
  // The next `times` calls of the operation answer `error`, without effect.
  void FailNext(StoreOperation operation, int error, unsigned times = 1);
  // Calls of the operation wait from now on, until Release.
  void Stall(StoreOperation operation);
  void Release(StoreOperation operation);
  // True once `count` calls of the operation wait; false at the deadline.
  bool AwaitStalled(StoreOperation operation, unsigned count, std::chrono::milliseconds deadline);

  // Called by the decorators at the start of each call.
  Result<void> Pass(StoreOperation operation);

 private:
  struct Fault {
    int error = 0;
    unsigned failures = 0;
    bool stalls = false;
    unsigned waiting = 0;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<StoreOperation, Fault> faults_;
};

// `inner` and the result share `faults`, which must outlive every file opened.
std::unique_ptr<BackingStore> MakeFaultyStore(std::unique_ptr<BackingStore> inner,
                                              std::shared_ptr<Faults> faults);

}  // namespace baton::store
