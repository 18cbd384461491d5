#include "fuse/identity/process_table.h"

namespace baton {
namespace {

// Tasks are a cache over the processes: emptied when full.
constexpr std::size_t kMaxTasks = 131072;

// What the id of the image that ended means to the next one.
std::optional<OwnId> BeforeExec(const ProcessRecord& old) {
  if (old.own.kind == OwnId::Kind::kId) return old.own;
  if (old.from_program.kind == OwnId::Kind::kId) return old.from_program;
  return old.before_exec;
}

}  // namespace

bool SameImage(const ImageId& known, bool known_forked_no_exec, const ImageId& now, bool now_forked_no_exec) {
  if (known_forked_no_exec && !now_forked_no_exec) return false;
  return !now.Visible() || known == now;  // not visible: exiting, or no right to look; nothing new is learnt
}

const ProcessRecord* ProcessTable::Locate(const TaskStat& stat, Instant now) {
  auto task = tasks_.find(stat.tid);
  if (task == tasks_.end() || task->second.start != stat.start) return nullptr;
  if (!SameImage(task->second.image, task->second.forked_no_exec, stat.image, stat.forked_no_exec))
    return nullptr;
  auto process = processes_.find(task->second.process.tgid);
  if (process == processes_.end() || process->second.key != task->second.process) return nullptr;
  if (stat.image.Visible() && process->second.image != stat.image) return nullptr;
  task->second.seen = now;
  if (task->second.comm != stat.comm) task->second.comm = stat.comm;
  return &process->second;
}

std::shared_ptr<const Bound> ProcessTable::FindBound(const TaskStat& stat, Instant now) {
  std::lock_guard lock(mutex_);
  const ProcessRecord* record = Locate(stat, now);
  if (record == nullptr || record->bound == nullptr) return nullptr;
  return record->bound->image == record->image ? record->bound : nullptr;
}

std::optional<std::string> ProcessTable::SeenSince(pid_t tid, Instant since) const {
  std::lock_guard lock(mutex_);
  auto task = tasks_.find(tid);
  if (task == tasks_.end() || task->second.seen < since) return std::nullopt;
  return task->second.comm;
}

std::optional<ProcessKey> ProcessTable::ProcessOf(const TaskStat& stat) const {
  std::lock_guard lock(mutex_);
  auto task = tasks_.find(stat.tid);
  if (task == tasks_.end() || task->second.start != stat.start) return std::nullopt;
  return task->second.process;
}

std::optional<ProcessRecord> ProcessTable::Find(const ProcessKey& key) const {
  std::lock_guard lock(mutex_);
  auto found = processes_.find(key.tgid);
  if (found == processes_.end() || found->second.key != key) return std::nullopt;
  return found->second;
}

std::optional<ProcessKey> ProcessTable::ProcessNumbered(pid_t tgid) const {
  std::lock_guard lock(mutex_);
  auto found = processes_.find(tgid);
  return found == processes_.end() ? std::nullopt : std::optional(found->second.key);
}

ProcessRecord ProcessTable::Store(ProcessRecord fresh) {
  std::lock_guard lock(mutex_);
  auto found = processes_.find(fresh.key.tgid);
  if (found == processes_.end() || found->second.key != fresh.key) {
    return processes_.insert_or_assign(fresh.key.tgid, std::move(fresh)).first->second;
  }
  ProcessRecord& known = found->second;
  bool same = SameImage(known.image, known.forked_no_exec, fresh.image, fresh.forked_no_exec);
  if (same && known.own.kind != OwnId::Kind::kUnreadable) return known;
  fresh.before_exec = BeforeExec(known);
  fresh.bound = known.bound;
  fresh.first_ppid = known.first_ppid;
  fresh.logged = known.logged;
  bool other_id = fresh.own.kind == OwnId::Kind::kId &&
                  !(known.own.kind == OwnId::Kind::kId && known.own.guid == fresh.own.guid);
  if (!other_id) fresh.uid = known.uid;
  known = std::move(fresh);
  return known;
}

void ProcessTable::SetOwn(const ProcessKey& key, const ImageId& image, const OwnId& own) {
  std::lock_guard lock(mutex_);
  auto found = processes_.find(key.tgid);
  if (found != processes_.end() && found->second.key == key && found->second.image == image) {
    found->second.own = own;
  }
}

void ProcessTable::Bind(const ProcessKey& key, std::shared_ptr<const Bound> bound) {
  std::lock_guard lock(mutex_);
  auto found = processes_.find(key.tgid);
  if (found != processes_.end() && found->second.key == key) found->second.bound = std::move(bound);
}

void ProcessTable::AddTask(const TaskStat& stat, const ProcessKey& process, Instant now) {
  std::lock_guard lock(mutex_);
  if (tasks_.size() >= kMaxTasks) tasks_.clear();
  tasks_.insert_or_assign(stat.tid,
                          Task{process, stat.start, stat.image, stat.forked_no_exec, stat.comm, now});
}

bool ProcessTable::MarkLogged(const ProcessKey& key) {
  std::lock_guard lock(mutex_);
  auto found = processes_.find(key.tgid);
  if (found == processes_.end() || found->second.key != key || found->second.logged) return false;
  found->second.logged = true;
  return true;
}

std::vector<ProcessKey> ProcessTable::Processes() const {
  std::lock_guard lock(mutex_);
  std::vector<ProcessKey> keys;
  keys.reserve(processes_.size());
  for (const auto& [tgid, record] : processes_) keys.push_back(record.key);
  return keys;
}

std::vector<ProcessKey> ProcessTable::MembersOf(const Guid& guid) const {
  std::lock_guard lock(mutex_);
  std::vector<ProcessKey> keys;
  for (const auto& [tgid, record] : processes_) {
    bool member = record.bound && record.bound->resolution.kind == Resolution::Kind::kInstance;
    if (member && record.bound->lineage.guid == guid) keys.push_back(record.key);
  }
  return keys;
}

std::set<RegistrationId> ProcessTable::RegistrationsInUse() const {
  std::lock_guard lock(mutex_);
  std::set<RegistrationId> ids;
  for (const auto& [tgid, record] : processes_) {
    if (record.bound) ids.insert(record.bound->registration);
  }
  return ids;
}

void ProcessTable::Forget(const std::vector<ProcessKey>& gone) {
  std::lock_guard lock(mutex_);
  for (const ProcessKey& key : gone) {
    auto found = processes_.find(key.tgid);
    if (found != processes_.end() && found->second.key == key) processes_.erase(found);
  }
  std::erase_if(tasks_, [&](const auto& each) {
    auto found = processes_.find(each.second.process.tgid);
    return found == processes_.end() || found->second.key != each.second.process;
  });
}

}  // namespace baton
