// The parts of IdentityResolver put together; private to resolver.cpp and sweep.cpp.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "fuse/identity/ancestry.h"
#include "fuse/identity/epoch_book.h"
#include "fuse/identity/process_table.h"
#include "fuse/identity/registry.h"
#include "fuse/identity/resolver.h"

namespace baton {

class IdentityResolver::Impl {
 public:
  Impl(const ProcReader& proc, const Clock& clock, ReadProgramXattr read_program_xattr, Options options);

  std::optional<Resolution> TryResolve(pid_t tid);
  Resolution Resolve(pid_t tid);
  bool Observe(pid_t tid);
  Result<> Register(uid_t caller_uid, pid_t caller_tid, const Registration& registration);
  Result<> Unregister(uid_t caller_uid, pid_t caller_tid, pid_t pid);
  std::optional<Registration> RegistrationOf(pid_t tid) const;
  void Pin(const ProcessKey& process, const Guid& guid, Epoch epoch);
  void Pin(pid_t pid, const Guid& guid, Epoch epoch);
  Fences PutInForce(const std::vector<EpochBook::Incarnation>& fenced, Instant acked_at);
  Fences PutAllInForce(Instant now) { return PutInForce(book_.Unfenced(), now); }
  void ScanForMembers(const Fences& fences);
  std::vector<std::pair<Guid, Epoch>> Sweep();
  Counters Count() const;

 private:
  using Incarnations = std::vector<EpochBook::Incarnation>;
  // An incarnation whose pinned processes are gone, and processes that still carry its id (rule T3).
  struct Lingering {
    Guid guid{};
    Epoch epoch = kNewEpoch;
    std::vector<ProcessKey> carriers;
  };
  struct Target {
    ProcessKey process;
    uid_t real_uid = 0;
  };

  // resolver.cpp
  std::shared_ptr<const Bound> Lookup(const TaskStat& stat);
  std::shared_ptr<const Bound> LookupThread(const TaskStat& stat);
  Resolution Unidentified();
  Resolution Finish(const Bound& bound);
  void Log(const Resolution& resolution);
  std::shared_ptr<const Bound> Bind(Ancestry* ancestry, std::uint64_t generation);
  void BindMember(const Ancestry& ancestry, const std::vector<Carried>& carried, Bound* bound);
  void FindOrigin(const Ancestry& ancestry, std::size_t topmost, Lineage* lineage);
  Result<Target> FindTarget(uid_t caller_uid, pid_t tid) const;

  // sweep.cpp
  std::map<Guid, std::vector<ProcessKey>> Carriers(const std::set<Guid>& guids) const;
  bool Alive(const ProcessKey& process) const;
  void SweepRegistrations(const std::set<ProcessKey>& gone);
  void SweepGroups();
  std::vector<std::pair<Guid, Epoch>> WithoutProcess(const Incarnations& lost);

  const ProcReader& proc_;
  const Clock& clock_;
  const Options options_;
  ProcessTable table_;
  Registry registry_;
  EpochBook book_;
  AncestryReader ancestry_;
  std::atomic<std::uint64_t> generation_{0};  // of the registry: an answer of an earlier one is found anew

  std::mutex sweep_mutex_;
  std::vector<Lingering> lingering_;

  std::atomic<std::uint64_t> fast_hits_{0};
  std::atomic<std::uint64_t> slow_{0};
  std::atomic<std::uint64_t> malformed_{0};
  std::atomic<std::uint64_t> unknown_{0};
  std::atomic<std::uint64_t> unidentified_{0};
  std::atomic<std::uint64_t> fenced_{0};
};

}  // namespace baton
