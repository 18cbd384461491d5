// StateStore: what the server must still know after it was killed: the record of every app instance (its
// epoch, owner, version), what was fenced away on which node, and the server's key. Rules T4, T7, T12.
//
// What it is not: the arbiter's memory (handles, claims and locks are asserted again by the clients) and no
// cache; nobody reads it after the start. A method that answers without an error has put its change on stable
// storage, except Touch. Failures of the world come back as errno and have been logged with what was done to
// which file.
//
// Any thread; calls may block on the disk. Callers that have several records at hand give them to SaveAll:
// one commit.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/guid.h"
#include "base/ids.h"
#include "base/result.h"
#include "server/arbiter/types.h"

namespace baton {

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

// Rule T7: what was fenced away from a node in one boot of it.
struct FenceRecord {
  std::string node;
  std::string boot;
  Guid guid{};
  Epoch epoch{};
  std::optional<InstanceVersion> version;
  std::optional<Instant> acknowledged;  // the node's clock
  friend bool operator==(const FenceRecord&, const FenceRecord&) = default;
};

using ServerKey = std::array<std::byte, 16>;

inline constexpr std::size_t kDefaultMaxInstances = 1'000'000;  // rule T12: their number is bounded

class StateStore {
 public:
  virtual ~StateStore() = default;

  // All records, in the order of their GUIDs.
  virtual Result<std::vector<InstanceRecord>> Load() = 0;

  // Creates or replaces; counts as use of the instance. ENOSPC when it would be one instance too many.
  Result<void> Save(const InstanceRecord& record) { return SaveAll(std::span(&record, 1)); }
  // All of them or none, in one commit.
  virtual Result<void> SaveAll(std::span<const InstanceRecord> records) = 0;
  // An unknown GUID is not an error.
  virtual Result<void> Erase(const Guid& guid) = 0;

  // Notes that the instance was in use. Costs no I/O: it becomes durable with the next commit, at the latest
  // when EraseUnusedSince runs or the store is closed. An unknown GUID is ignored.
  virtual void Touch(const Guid& guid, WallTime used) = 0;
  // Erases what was last used before `limit` and answers what that was. Touch what lives before calling it.
  virtual Result<std::vector<Guid>> EraseUnusedSince(WallTime limit) = 0;

  // One record per node and GUID; a fence of another boot of the node replaces those of its earlier boots.
  virtual Result<void> SaveFence(const FenceRecord& fence) = 0;
  virtual Result<std::vector<FenceRecord>> LoadFences(const std::string& node) = 0;

  // The highest epoch ever saved, of instances that were erased since too: a number is never given twice.
  virtual Result<Epoch> LastEpoch() = 0;

  // 16 random bytes, made once in the life of the state directory.
  virtual Result<ServerKey> LoadServerKey() = 0;
};

}  // namespace baton
