// IdentityResolver: which app instance, in which epoch, a task of this node acts for (rules I1-I5, T1, T3,
// T7). It does not decide opens, does not speak to the server and knows nothing of libfuse.
//
// Threads: every function may be called from any thread. TryResolve and Observe read /proc/TID/stat or comm,
// never anything that waits for another process; nor do PutInForce and PutAllInForce. Resolve, Register,
// ScanForMembers, Fence, FenceAll and Sweep may wait for a target's mmap lock, for as long as it pleases:
// never call them on a thread that must answer READ or WRITE (rule I6), and let no other process's request
// wait.
//
// Lock order: the sweep's mutex (taken by Sweep alone) is outermost; those of the process table, the registry
// and the epoch book are leaves, no two of them held together, each held for look-ups only, never over a read
// of /proc, a callback or a log line.
//
// How an id is found (rule I2, first match wins):
// 1. A registration of the process or of its nearest registered ancestor; of descendants only those that
// started later.
// 2. From the process upwards, the nearest one that has an id of its own: its environment, else its program
// file's xattr
//    (the other way round only where the environment is destroyed: ancestors before the xattr). So a member's
//    child that drops the id stays a member, and another GUID is another instance (rule T7). What a process
//    was before its last exec counts as its nearest ancestor. An id once seen stays until exec.
// 3. Nothing found: kAnonymous if its own environment was readable, kUnknown if that was destroyed or empty.
// A forked child
//    that has not called exec has its parent's environment, seen or not.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/guid.h"
#include "base/ids.h"
#include "base/result.h"
#include "fuse/identity/proc_reader.h"
#include "fuse/identity/program_xattr.h"
#include "fuse/identity/registration.h"
#include "fuse/identity/resolution.h"

namespace baton {

class IdentityResolver {
 public:
  struct Options {
    std::string instance_variable = "APP_INSTANCE_ID";
    std::string version_variable = "APP_INSTANCE_VERSION";
    // "no" forbids takeover; so does every value but "yes" and the empty one, for a misspelt "no" must not
    // take over.
    std::string takeover_variable = "APP_INSTANCE_TAKEOVER";
  };
  struct Counters {
    std::uint64_t fast_hits = 0;  // TryResolve answered
    std::uint64_t slow = 0;       // Resolve called
    std::uint64_t malformed = 0;  // resolutions of each kind
    std::uint64_t unknown = 0;
    std::uint64_t unidentified = 0;
    std::uint64_t fenced = 0;
  };
  using ReadProgramXattr = std::function<ProgramXattr(pid_t pid)>;

  // `proc` and `clock` must outlive this. `read_program_xattr` is called by Resolve only, with no lock held.
  IdentityResolver(const ProcReader& proc, const Clock& clock, ReadProgramXattr read_program_xattr,
                   Options options);
  ~IdentityResolver();

  // The answer if it is known, after one read of /proc/TID/stat; nullopt: call Resolve on the identity pool.
  std::optional<Resolution> TryResolve(pid_t tid);
  Resolution Resolve(pid_t tid);

  // For requests that need no identity (LOOKUP, GETATTR): true if the task has not been seen as it is now,
  // and Resolve should run before the request is answered: the program may be about to destroy its
  // environment (rule I2 b).
  bool Observe(pid_t tid);

  // Rule I2 (a). `caller_tid` is meant if the registration names no pid. ESRCH: no such process. EPERM: the
  // caller is neither root nor of the process's real uid. Unregister: ENODATA if there is none.
  Result<> Register(uid_t caller_uid, pid_t caller_tid, const Registration& registration);
  Result<> Unregister(uid_t caller_uid, pid_t caller_tid, pid_t pid = 0);
  std::optional<Registration> RegistrationOf(pid_t tid) const;

  // The server granted `epoch` to this process, named by pid and start of the request's Resolution: it
  // belongs to it for good.
  void Pin(const ProcessKey& process, const Guid& guid, Epoch epoch);
  // As above, for the process that was resolved last under this number; nothing happens if there is none. A
  // pin counts only for its GUID, so a later process of the same number is concerned only if it carries the
  // same id.
  void Pin(pid_t pid, const Guid& guid, Epoch epoch);

  // Fences that have come in force and wait for their scan.
  using Fences = std::vector<std::pair<Guid, Epoch>>;
  // This node acknowledges the fence of `epoch` at `acked_at`: in force when this returns, and it waits for
  // nobody. A fence of an epoch not above one already fenced changes nothing. `version` is the fenced
  // incarnation's.
  Fences PutInForce(const Guid& guid, Epoch epoch, std::optional<InstanceVersion> version, Instant acked_at);
  // The session was lost: every incarnation of this node is fenced.
  Fences PutAllInForce(Instant now);
  // Looks for the members among the processes, for their children that were double-forked. Until it has
  // ended every orphan that carries the id is old.
  void ScanForMembers(const Fences& fences);
  void Fence(const Guid& guid, Epoch epoch, std::optional<InstanceVersion> version, Instant acked_at) {
    ScanForMembers(PutInForce(guid, epoch, version, acked_at));
  }
  void FenceAll(Instant now) { ScanForMembers(PutAllInForce(now)); }

  // Call each second: forgets processes that are gone. Returns the incarnations, fenced ones left out, that
  // were pinned here and of which no living process is left (rule T3); each once.
  std::vector<std::pair<Guid, Epoch>> Sweep();

  Counters Count() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// True if a signal that ends the process is pending for the task: SIGKILL, or one that is not blocked,
// ignored or caught and whose default is to end it (rule S5).
Result<bool> FatalSignalPending(const ProcReader& proc, pid_t tid);
Result<std::vector<gid_t>> SupplementaryGroups(const ProcReader& proc, pid_t tid);

}  // namespace baton
