// StateStore: what the server must still know after it was killed: the record of every app instance (its
// epoch, owner, version), the sessions and which instances each has acted for, what was fenced away on which
// node, for which instances something was reserved, and the server's key. Rules T4, T7, T9, T12, D4.
//
// What it is not: the arbiter's memory (handles, claims and locks are not in it) and no cache; nobody reads
// it after the start. A method that answers without an error has put its change on stable storage, except
// Touch. Failures of the world come back as errno and have been logged with what was done to which file.
//
// Any thread; calls may block on the disk. Callers that have several records at hand give them to SaveAll:
// one commit.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/guid.h"
#include "base/ids.h"
#include "base/result.h"
#include "server/arbiter/types.h"

namespace baton {

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;
inline WallTime WallNow() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

// A session, as it is found again after a restart (rule D4).
struct SessionRecord {
  SessionBegins begins;
  std::array<std::uint64_t, 2> secret{};
  bool keeps_names = false;
};

using ServerKey = std::array<std::byte, 16>;

inline constexpr std::size_t kDefaultMaxInstances = 1'000'000;  // rule T12: their number is bounded

class StateStore {
 public:
  virtual ~StateStore() = default;

  // All records, in the order of their GUIDs.
  virtual Result<std::vector<InstanceRecord>> Load() = 0;

  // The record alone.
  Result<void> Save(const InstanceRecord& record) {
    const Commit commit{record, {}, {}, {}};
    return SaveAll(std::span(&commit, 1), WallNow(), {});
  }
  // Records are created or replaced, which counts as use of the instance at `used`; what a commit reserves begins
  // `now`; ENOSPC when it would be one instance too many. All of it or nothing.
  virtual Result<void> SaveAll(std::span<const Commit> commits, WallTime used, Instant now) = 0;
  // An unknown GUID is not an error.
  virtual Result<void> Erase(const Guid& guid) = 0;

  // Notes that the instance was in use. Costs no I/O: it becomes durable with the next commit, at the latest
  // when EraseUnusedSince runs or the store is closed. An unknown GUID is ignored.
  virtual void Touch(const Guid& guid, WallTime used) = 0;
  // Erases what was last used before `limit` and answers what that was. Touch what lives before calling it.
  virtual Result<std::vector<Guid>> EraseUnusedSince(WallTime limit) = 0;

  // Of a fence that is on record. Fences come with takeovers and ended sessions: one per node and GUID, the one of the highest
  // epoch, until the node has booted again.
  virtual Result<void> AcknowledgeFence(const FenceRecord& fence) = 0;
  virtual Result<std::vector<FenceRecord>> LoadFences() = 0;

  // Replaces the sessions of the node's other boots and machines, and the one of the same mount point: what
  // they held stays reserved until `reserved_until` for the instances that used them.
  virtual Result<void> SaveSession(const SessionRecord& session, Instant reserved_until) = 0;
  // An unknown session is not an error, here and in the next two.
  virtual Result<void> EraseSession(SessionId session) = 0;
  // As EraseSession; what it held stays reserved.
  virtual Result<void> EndSession(const CommitEnd& end, Instant reserved_until) = 0;
  virtual Result<void> SaveUse(const SessionUse& use) = 0;
  virtual Result<std::vector<SessionRecord>> LoadSessions() = 0;
  virtual Result<std::vector<SessionUse>> LoadUses() = 0;
  // For which instances something may be reserved at `now` of this boot of the machine, and until when: at most one
  // `reservation` from now, and all of it in another boot than the one before, whose time means nothing here (a wall
  // clock, which anybody may set, could end it early). Forgets what is over. Before the first that reserves anything.
  virtual Result<std::map<Guid, Instant>> LoadReserved(const std::string& boot, Instant now, Duration reservation) = 0;
  // How often the server was started, this time included.
  virtual Result<std::uint64_t> CountStart() = 0;

  // The highest epoch ever saved, of instances that were erased since too: a number is never given twice.
  virtual Result<Epoch> LastEpoch() = 0;

  // 16 random bytes, made once in the life of the state directory.
  virtual Result<ServerKey> LoadServerKey() = 0;

  // A copy of all that is durable when it begins, in one file (mode 0600: it holds the server's key and the sessions'
  // secrets), which appears when it is complete and durable. A server that starts from it knows that it does. While it
  // is made commits wait for moments only. The error: errno, and a sentence for the person who asked; EEXIST: `replace`
  // is not set, and the file is there.
  using BackUpProblem = tl::expected<void, std::pair<int, std::string>>;
  virtual BackUpProblem BackUp(const std::filesystem::path& file, bool replace) = 0;
};

// The server's earlier life (rule D4): what the arbiter is told of it, and the sessions that may come back.
struct Recovered {
  std::uint64_t starts = 0;  // of the server, this one included
  Survivors survivors;
  std::vector<SessionRecord> sessions;
};
struct RecoverTimes {
  std::string boot;  // of the server's machine
  Instant now{};
  Duration reservation{};  // rule T9
  Instant absent_until{};  // who does not come back is waited for until then; max: as long as is said later
};
Result<Recovered> Recover(StateStore& state, const RecoverTimes& times);

}  // namespace baton
