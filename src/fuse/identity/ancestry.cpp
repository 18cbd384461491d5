#include "fuse/identity/ancestry.h"

#include <algorithm>

namespace baton {
namespace {

constexpr std::size_t kEnvironLimit = 2 << 20;
constexpr std::size_t kMaxDepth = 4096;
constexpr int kAttempts = 8;  // processes die and exec while they are read

ImageId ImageOf(const TaskStat& leader, const ProcReader& proc, pid_t reader) {
  if (leader.image.Visible() || reader == leader.tid) return leader.image;
  Result<TaskStat> stat = proc.ReadStat(reader);
  return stat ? stat->image : ImageId{};
}

}  // namespace

Result<ProcessRecord> AncestryReader::ReadRecord(const TaskStat& stat, pid_t reader) const {
  ProcessRecord record{.key = {stat.tid, stat.start},
                       .image = stat.image,
                       .forked_no_exec = stat.forked_no_exec,
                       .program = stat.comm,
                       .first_ppid = stat.ppid};
  Result<TaskStatus> status = proc_.ReadStatus(stat.tid);
  if (!status) return tl::unexpected(status.error());
  record.uid = status->real_uid;
  record.is_reaper = stat.tid == 1 || status->is_reaper;
  record.from_program.kind = OwnId::Kind::kNone;
  if (!stat.image.Visible()) return record;  // nothing to read: own stays kUnreadable
  Result<Environ> environment = proc_.ReadEnviron(reader, kEnvironLimit);
  if (!environment) return record;
  record.own = ReadOwnId(*environment, names_);
  bool decided = record.own.kind == OwnId::Kind::kId || record.own.kind == OwnId::Kind::kMalformed;
  if (!decided && read_program_xattr_) record.from_program = ReadProgramId(read_program_xattr_(reader));
  return record;
}

Result<Ancestor> AncestryReader::Load(pid_t tgid, pid_t reader) const {
  for (int attempt = 1;; ++attempt) {
    Result<TaskStat> stat = proc_.ReadStat(tgid);
    if (!stat) return tl::unexpected(stat.error());
    stat->image = ImageOf(*stat, proc_, reader);
    std::optional<ProcessRecord> known = table_->Find({tgid, stat->start});
    if (known && SameImage(known->image, known->forked_no_exec, stat->image, stat->forked_no_exec)) {
      bool seen = known->own.kind != OwnId::Kind::kUnreadable || !stat->image.Visible();
      if (seen) return Ancestor{*stat, *known};
    }
    Result<ProcessRecord> record = ReadRecord(*stat, reader);
    if (!record) return tl::unexpected(record.error());
    // It may have called exec between the reads: what was read must belong to one image.
    Result<TaskStat> again = proc_.ReadStat(tgid);
    if (!again) return tl::unexpected(again.error());
    again->image = ImageOf(*again, proc_, reader);
    bool same = again->start == stat->start && again->image == stat->image &&
                again->forked_no_exec == stat->forked_no_exec;
    if (same || attempt == kAttempts) return Ancestor{*again, table_->Store(std::move(*record))};
  }
}

Result<Ancestry> AncestryReader::Read(pid_t tgid, pid_t reader) const {
  Ancestry ancestry;
  Result<Ancestor> self = Load(tgid, reader);
  if (!self) return tl::unexpected(self.error());
  ancestry.chain.push_back(std::move(*self));
  int attempts = 0;
  while (ancestry.chain.size() < kMaxDepth && ancestry.chain.back().stat.ppid != 0) {
    Ancestor& child = ancestry.chain.back();
    Result<Ancestor> parent = Load(child.stat.ppid, child.stat.ppid);
    // Only if the child still has this parent was it the parent, and not a later process of that number.
    Result<TaskStat> child_now = proc_.ReadStat(child.stat.tid);
    bool child_gone = !child_now || child_now->start != child.stat.start;
    if (child_gone && ancestry.chain.size() == 1) return Fail(ESRCH);
    if (!child_gone && child_now->ppid == child.stat.ppid && parent) {
      ancestry.chain.push_back(std::move(*parent));
      attempts = 0;
      continue;
    }
    if (++attempts == kAttempts) {
      ancestry.cut = true;
      break;
    }
    if (child_gone) {
      ancestry.chain.pop_back();  // its own child has another parent now
      Result<TaskStat> below = proc_.ReadStat(ancestry.chain.back().stat.tid);
      if (below) ancestry.chain.back().stat.ppid = below->ppid;
    } else {
      child.stat.ppid = child_now->ppid;
      child.stat.sid = child_now->sid;
    }
  }
  return ancestry;
}

namespace {

Membership FromOwn(const OwnId& own) {
  return {.guid = own.guid,
          .version = own.version,
          .may_take_over = own.may_take_over.value_or(true),
          .source = own.source};
}

// A child forked without exec has the environment its parent had, also where it has overwritten its copy
// since.
void TakeParentsEnvironment(Ancestor* child, const Ancestor& parent, ProcessTable* table) {
  ProcessRecord& record = child->record;
  bool forked = child->stat.forked_no_exec && record.image.Visible() && record.image == parent.record.image;
  if (!forked || record.own.kind != OwnId::Kind::kDestroyed) return;
  if (parent.record.own.kind == OwnId::Kind::kUnreadable) return;
  record.own = parent.record.own;
  table->SetOwn(record.key, record.image, record.own);
}

// Without registrations: own environment, own program, what it was before, its parent's.
Carried PlainId(const ProcessRecord& record, const Carried* parent) {
  using Kind = OwnId::Kind;
  Carried carried;
  const OwnId& own = record.own;
  const OwnId& program = record.from_program;
  bool destroyed = own.kind == Kind::kDestroyed;
  if (own.kind == Kind::kMalformed || (!destroyed && program.kind == Kind::kMalformed)) {
    carried.malformed = own.kind == Kind::kMalformed ? own.what : program.what;
    return carried;
  }
  const Bound* bound = record.bound.get();
  bool was_member = bound != nullptr && bound->resolution.kind == Resolution::Kind::kInstance &&
                    bound->registration == RegistrationId{};
  if (own.kind == Kind::kId) {
    carried.member = FromOwn(own);
  } else if (program.kind == Kind::kId && !destroyed) {
    carried.member = FromOwn(program);
  } else if (was_member) {
    carried.member = bound->resolution.member;
  } else if (record.before_exec) {
    carried.member = FromOwn(*record.before_exec);
  } else if (parent != nullptr && parent->member) {
    carried.member = parent->member;
  } else if (program.kind == Kind::kId) {
    carried.member = FromOwn(program);
  } else if (destroyed && parent != nullptr) {
    carried.malformed = parent->malformed;
  }
  if (carried.member && own.may_take_over) carried.member->may_take_over = *own.may_take_over;
  return carried;
}

std::optional<Registry::Entry> RegistrationFor(const Ancestry& ancestry, std::size_t index,
                                               const Registry& registry) {
  const ProcessRecord& record = ancestry.chain[index].record;
  for (std::size_t i = index; i < ancestry.chain.size(); ++i) {
    std::optional<Registry::Entry> entry = registry.Find(ancestry.chain[i].record.key);
    if (entry && (i == index || entry->Covers(record.key))) return entry;
  }
  // The registered ancestor is gone; its descendants keep the id.
  if (record.bound && record.bound->registration != RegistrationId{})
    return registry.Find(record.bound->registration);
  return std::nullopt;
}

}  // namespace

std::vector<Carried> CarriedIds(Ancestry* ancestry, const Registry& registry, ProcessTable* table) {
  std::vector<Ancestor>& chain = ancestry->chain;
  std::vector<Carried> carried(chain.size());
  for (std::size_t i = chain.size(); i-- > 0;) {
    const Carried* parent = i + 1 < chain.size() ? &carried[i + 1] : nullptr;
    if (parent != nullptr) TakeParentsEnvironment(&chain[i], chain[i + 1], table);
    carried[i] = PlainId(chain[i].record, parent);
  }
  if (registry.Empty()) return carried;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    std::optional<Registry::Entry> entry = RegistrationFor(*ancestry, i, registry);
    if (!entry) continue;
    carried[i] = {.member = Membership{.guid = entry->registration.guid,
                                       .version = entry->registration.version,
                                       .may_take_over = chain[i].record.own.may_take_over.value_or(true),
                                       .source = IdentitySource::kRegistration},
                  .registration = entry->id};
  }
  return carried;
}

}  // namespace baton
