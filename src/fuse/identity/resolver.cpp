#include "fuse/identity/resolver.h"

#include <algorithm>

#include "base/log.h"
#include "fuse/identity/resolver_impl.h"

namespace baton {
namespace {

constexpr Duration kObservedRecently = std::chrono::milliseconds(100);
constexpr auto kRelaxed = std::memory_order_relaxed;

// Whether the answer a process got earlier made it a member of this instance.
bool BoundTo(const ProcessRecord& record, const Guid& guid) {
  return record.bound && record.bound->resolution.kind == Resolution::Kind::kInstance &&
         record.bound->lineage.guid == guid;
}

Resolution::Kind KindWithoutId(const Carried& carried, const OwnId& own) {
  if (!carried.malformed.empty()) return Resolution::Kind::kMalformed;
  if (own.kind == OwnId::Kind::kNone) return Resolution::Kind::kAnonymous;
  if (own.kind == OwnId::Kind::kDestroyed) return Resolution::Kind::kUnknown;
  return Resolution::Kind::kUnidentified;
}

}  // namespace

IdentityResolver::Impl::Impl(const ProcReader& proc, const Clock& clock, ReadProgramXattr read_program_xattr,
                             Options options)
    : proc_(proc),
      clock_(clock),
      options_(std::move(options)),
      ancestry_(proc, &table_, std::move(read_program_xattr),
                {options_.instance_variable, options_.version_variable, options_.takeover_variable}) {}

std::shared_ptr<const Bound> IdentityResolver::Impl::Lookup(const TaskStat& stat) {
  std::shared_ptr<const Bound> bound = table_.FindBound(stat, clock_.Now());
  return bound ? bound : LookupThread(stat);
}

// A thread not met before of a process that is known. Its process's number is in status, which waits for
// nobody either.
std::shared_ptr<const Bound> IdentityResolver::Impl::LookupThread(const TaskStat& stat) {
  if (table_.ProcessOf(stat)) return nullptr;
  Result<TaskStatus> status = proc_.ReadStatus(stat.tid);
  if (!status || status->tgid == stat.tid) return nullptr;
  Result<TaskStat> leader = proc_.ReadStat(status->tgid);
  if (!leader) return nullptr;
  std::shared_ptr<const Bound> bound = table_.FindBound(*leader, clock_.Now());
  if (!bound || (stat.image.Visible() && bound->image != stat.image)) return nullptr;
  table_.AddTask(stat, {leader->tid, leader->start}, clock_.Now());
  return bound;
}

Resolution IdentityResolver::Impl::Unidentified() {
  unidentified_.fetch_add(1, kRelaxed);
  return {};
}

std::optional<Resolution> IdentityResolver::Impl::TryResolve(pid_t tid) {
  if (tid <= 0) return Unidentified();
  Result<TaskStat> stat = proc_.ReadStat(tid);
  if (!stat || stat->kernel_thread) return Unidentified();
  std::shared_ptr<const Bound> bound = Lookup(*stat);
  if (!bound || bound->generation != generation_.load()) return std::nullopt;
  fast_hits_.fetch_add(1, kRelaxed);
  return Finish(*bound);
}

bool IdentityResolver::Impl::Observe(pid_t tid) {
  if (tid <= 0) return false;
  if (std::optional<std::string> comm = table_.SeenSince(tid, clock_.Now() - kObservedRecently)) {
    // The name shows an exec in between; reading it costs a fraction of stat.
    Result<std::string> comm_now = proc_.ReadComm(tid);
    if (!comm_now || *comm_now == *comm) return false;
  }
  Result<TaskStat> stat = proc_.ReadStat(tid);
  if (!stat || stat->kernel_thread) return false;
  return Lookup(*stat) == nullptr;
}

Resolution IdentityResolver::Impl::Resolve(pid_t tid) {
  slow_.fetch_add(1, kRelaxed);
  if (tid <= 0) return Unidentified();
  std::uint64_t generation = generation_.load();  // before anything of the registry is read
  Result<TaskStat> stat = proc_.ReadStat(tid);
  if (!stat || stat->kernel_thread) return Unidentified();
  Result<TaskStatus> status = proc_.ReadStatus(tid);
  if (!status) return Unidentified();
  Result<Ancestry> ancestry = ancestry_.Read(status->tgid, tid);
  if (!ancestry) return Unidentified();
  std::shared_ptr<const Bound> bound = Bind(&*ancestry, generation);
  const Ancestor& self = ancestry->chain.front();
  table_.AddTask(self.stat, self.record.key, clock_.Now());
  if (tid != self.stat.tid) table_.AddTask(*stat, self.record.key, clock_.Now());
  Log(bound->resolution);
  return Finish(*bound);
}

std::shared_ptr<const Bound> IdentityResolver::Impl::Bind(Ancestry* ancestry, std::uint64_t generation) {
  std::vector<Carried> carried = CarriedIds(ancestry, registry_, &table_);
  const ProcessRecord& self = ancestry->chain.front().record;
  auto bound = std::make_shared<Bound>();
  bound->image = self.image;
  bound->generation = generation;
  bound->registration = carried.front().registration;
  bound->resolution.pid = self.key.tgid;
  bound->resolution.start = self.key.start;
  bound->resolution.program = self.program;
  if (carried.front().member) {
    BindMember(*ancestry, carried, bound.get());
  } else {
    bound->resolution.kind = KindWithoutId(carried.front(), self.own);
    bound->resolution.what = carried.front().malformed;
  }
  table_.Bind(self.key, bound);
  return bound;
}

// The lineage (rule T7) and the owner (rule T3) of a process that carries an id.
void IdentityResolver::Impl::BindMember(const Ancestry& ancestry, const std::vector<Carried>& carried,
                                        Bound* bound) {
  const ProcessRecord& self = ancestry.chain.front().record;
  Membership& member = bound->resolution.member;
  Lineage& lineage = bound->lineage;
  bound->resolution.kind = Resolution::Kind::kInstance;
  member = *carried.front().member;
  lineage.self = self.key;
  lineage.guid = member.guid;
  lineage.version = member.version;
  lineage.oldest_start = self.key.start;
  std::optional<uid_t> owner;
  std::size_t topmost = 0;
  for (std::size_t i = 0; i < ancestry.chain.size(); ++i) {
    if (!carried[i].member || carried[i].member->guid != member.guid) continue;
    const ProcessRecord& record = ancestry.chain[i].record;
    topmost = i;
    lineage.oldest_start = std::min(lineage.oldest_start, record.key.start);
    if (i > 0) lineage.kin.push_back({record.key, carried[i].member->version});
    if (!BoundTo(record, member.guid)) continue;
    lineage.oldest_start = std::min(lineage.oldest_start, record.bound->lineage.oldest_start);
    if (!owner) owner = record.bound->resolution.member.owner_uid;
  }
  member.owner_uid = owner.value_or(ancestry.chain[topmost].record.uid);
  if (BoundTo(self, member.guid)) {  // where it came from was seen better the first time
    lineage.orphan = self.bound->lineage.orphan;
    lineage.cgroup = self.bound->lineage.cgroup;
  } else {
    FindOrigin(ancestry, topmost, &lineage);
  }
}

// Whether the topmost process of the id may have had a parent of the same id that is gone (rule T7: double
// fork).
void IdentityResolver::Impl::FindOrigin(const Ancestry& ancestry, std::size_t topmost, Lineage* lineage) {
  Result<CgroupId> own_group = proc_.ReadCgroup(lineage->self.tgid);
  if (own_group) book_.NoteMember(lineage->guid, *own_group, lineage->oldest_start);
  const Ancestor& top = ancestry.chain[topmost];
  if (topmost + 1 < ancestry.chain.size()) {
    const Ancestor& parent = ancestry.chain[topmost + 1];
    bool strange_session = top.stat.sid != top.stat.tid && top.stat.sid != parent.stat.sid;
    bool moved = top.record.first_ppid != top.stat.ppid;
    lineage->orphan = parent.record.is_reaper || strange_session || moved;
  } else {
    // No parent in this pid namespace: none of it ever was, for the kernel leaves orphans to a reaper inside.
    lineage->orphan = ancestry.cut;
  }
  if (!lineage->orphan) return;
  Result<CgroupId> group = proc_.ReadCgroup(top.stat.tid);
  if (group) lineage->cgroup = std::move(*group);
}

Resolution IdentityResolver::Impl::Finish(const Bound& bound) {
  Resolution resolution = bound.resolution;
  if (resolution.kind == Resolution::Kind::kInstance) {
    EpochBook::Verdict verdict = book_.Judge(bound.lineage);
    resolution.member.epoch = verdict.epoch;
    if (verdict.fenced) resolution.kind = Resolution::Kind::kFenced;
  }
  switch (resolution.kind) {
    case Resolution::Kind::kFenced:
      fenced_.fetch_add(1, kRelaxed);
      break;
    case Resolution::Kind::kUnidentified:
      unidentified_.fetch_add(1, kRelaxed);
      break;
    case Resolution::Kind::kUnknown:
      unknown_.fetch_add(1, kRelaxed);
      break;
    case Resolution::Kind::kMalformed:
      malformed_.fetch_add(1, kRelaxed);
      break;
    case Resolution::Kind::kAnonymous:
    case Resolution::Kind::kInstance:
      break;
  }
  return resolution;
}

// Once per process (rules I2 b, I4).
void IdentityResolver::Impl::Log(const Resolution& resolution) {
  bool malformed = resolution.kind == Resolution::Kind::kMalformed;
  if (!malformed && resolution.kind != Resolution::Kind::kUnknown) return;
  if (!table_.MarkLogged({resolution.pid, resolution.start})) return;
  std::string program = Excerpt(resolution.program);
  if (malformed) {
    log::Warn("identity: pid {} ({}) has a malformed app instance id or version: {}", resolution.pid, program,
              resolution.what);
  } else {
    log::Warn("identity: pid {} ({}) has no readable environment and no ancestor with an app instance id",
              resolution.pid, program);
  }
}

Result<IdentityResolver::Impl::Target> IdentityResolver::Impl::FindTarget(uid_t caller_uid, pid_t tid) const {
  if (tid <= 0) return Fail(ESRCH);
  Result<TaskStatus> status = proc_.ReadStatus(tid);
  if (!status) return tl::unexpected(status.error());
  Result<TaskStat> stat = proc_.ReadStat(status->tgid);
  if (!stat) return tl::unexpected(stat.error());
  if (stat->dead) return Fail(ESRCH);
  if (caller_uid != 0 && caller_uid != status->real_uid) return Fail(EPERM);
  if (stat->kernel_thread) return Fail(EINVAL);
  return Target{{status->tgid, stat->start}, status->real_uid};
}

Result<> IdentityResolver::Impl::Register(uid_t caller_uid, pid_t caller_tid,
                                          const Registration& registration) {
  Result<Target> target = FindTarget(caller_uid, registration.pid != 0 ? registration.pid : caller_tid);
  if (!target) return tl::unexpected(target.error());
  Registry::Entry entry{.registration = registration, .made_at = proc_.TickOf(clock_.Now())};
  entry.registration.pid = target->process.tgid;
  Result<std::vector<pid_t>> pids = proc_.ListProcesses();
  if (!pids) return tl::unexpected(pids.error());
  for (pid_t pid : *pids) {
    Result<TaskStat> stat = proc_.ReadStat(pid);
    if (stat && stat->start >= entry.made_at) entry.existing.insert({pid, stat->start});
  }
  registry_.Put(target->process, std::move(entry));
  generation_.fetch_add(1);
  return {};
}

Result<> IdentityResolver::Impl::Unregister(uid_t caller_uid, pid_t caller_tid, pid_t pid) {
  Result<Target> target = FindTarget(caller_uid, pid != 0 ? pid : caller_tid);
  if (!target) return tl::unexpected(target.error());
  if (!registry_.Remove(target->process)) return Fail(ENODATA);
  generation_.fetch_add(1);
  return {};
}

std::optional<Registration> IdentityResolver::Impl::RegistrationOf(pid_t tid) const {
  Result<Target> target = FindTarget(0, tid);
  if (!target) return std::nullopt;
  std::optional<Registry::Entry> entry = registry_.Find(target->process);
  return entry ? std::optional(entry->registration) : std::nullopt;
}

void IdentityResolver::Impl::Pin(const ProcessKey& process, const Guid& guid, Epoch epoch) {
  std::optional<ProcessRecord> record = table_.Find(process);
  std::optional<InstanceVersion> version;
  if (record && BoundTo(*record, guid)) version = record->bound->lineage.version;
  book_.Pin(process, guid, epoch, version);
}

void IdentityResolver::Impl::Pin(pid_t pid, const Guid& guid, Epoch epoch) {
  if (std::optional<ProcessKey> process = table_.ProcessNumbered(pid)) Pin(*process, guid, epoch);
}

IdentityResolver::Counters IdentityResolver::Impl::Count() const {
  return {.fast_hits = fast_hits_.load(kRelaxed),
          .slow = slow_.load(kRelaxed),
          .malformed = malformed_.load(kRelaxed),
          .unknown = unknown_.load(kRelaxed),
          .unidentified = unidentified_.load(kRelaxed),
          .fenced = fenced_.load(kRelaxed)};
}

IdentityResolver::IdentityResolver(const ProcReader& proc, const Clock& clock,
                                   ReadProgramXattr read_program_xattr, Options options)
    : impl_(std::make_unique<Impl>(proc, clock, std::move(read_program_xattr), std::move(options))) {}
IdentityResolver::~IdentityResolver() = default;

std::optional<Resolution> IdentityResolver::TryResolve(pid_t tid) {
  return impl_->TryResolve(tid);
}
Resolution IdentityResolver::Resolve(pid_t tid) {
  return impl_->Resolve(tid);
}
bool IdentityResolver::Observe(pid_t tid) {
  return impl_->Observe(tid);
}
Result<> IdentityResolver::Register(uid_t caller_uid, pid_t caller_tid, const Registration& registration) {
  return impl_->Register(caller_uid, caller_tid, registration);
}
Result<> IdentityResolver::Unregister(uid_t caller_uid, pid_t caller_tid, pid_t pid) {
  return impl_->Unregister(caller_uid, caller_tid, pid);
}
std::optional<Registration> IdentityResolver::RegistrationOf(pid_t tid) const {
  return impl_->RegistrationOf(tid);
}
void IdentityResolver::Pin(const ProcessKey& process, const Guid& guid, Epoch epoch) {
  impl_->Pin(process, guid, epoch);
}
void IdentityResolver::Pin(pid_t pid, const Guid& guid, Epoch epoch) {
  impl_->Pin(pid, guid, epoch);
}
IdentityResolver::Fences IdentityResolver::PutInForce(const Guid& guid, Epoch epoch,
                                                      std::optional<InstanceVersion> version,
                                                      Instant acked_at) {
  return impl_->PutInForce({{guid, epoch, version}}, acked_at);
}
IdentityResolver::Fences IdentityResolver::PutAllInForce(Instant now) {
  return impl_->PutAllInForce(now);
}
void IdentityResolver::ScanForMembers(const Fences& fences) {
  impl_->ScanForMembers(fences);
}
std::vector<std::pair<Guid, Epoch>> IdentityResolver::Sweep() {
  return impl_->Sweep();
}
IdentityResolver::Counters IdentityResolver::Count() const {
  return impl_->Count();
}

}  // namespace baton
