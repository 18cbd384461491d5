// FakeProc: a process tree in memory, for tests of rules that no real tree can be made to show at will. One
// thread.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "fuse/identity/proc_reader.h"

namespace baton::testing {

struct FakeTask {
  pid_t tgid = 0;
  pid_t ppid = 1;
  pid_t sid = 1;
  Ticks start = 0;
  std::uint64_t image = 0;  // 0: not visible
  bool forked_no_exec = false;
  bool kernel_thread = false;
  bool dead = false;
  bool readable = true;
  bool is_reaper = false;
  uid_t uid = 1000;
  std::string comm = "prog";
  std::string environment;
  std::string cgroup = "/g";
  SignalSets signals;
};

class FakeClock final : public Clock {
 public:
  Instant Now() const override { return now; }
  Instant now = std::chrono::seconds(100);
};

class FakeProc final : public ProcReader {
 public:
  std::map<pid_t, FakeTask> tasks;
  std::set<std::string> empty_groups;
  bool list_fails = false;
  mutable int stats = 0, statuses = 0, comms = 0, environs = 0;

  FakeProc() {
    tasks[1] = {.tgid = 1,
                .ppid = 0,
                .start = 1,
                .image = 1,
                .uid = 0,
                .comm = "init",
                .environment = Env({}),
                .cgroup = "/init"};
  }

  static std::string Env(const std::vector<std::string>& more) {
    std::string text("PATH=/bin\0", 10);
    for (const std::string& each : more) text += each + '\0';
    return text;
  }

  // A process that called exec.
  FakeTask& Add(pid_t pid, pid_t ppid, Ticks start, const std::vector<std::string>& variables = {}) {
    FakeTask task{.tgid = pid, .ppid = ppid, .sid = tasks.at(ppid).sid, .start = start, .image = ++images_};
    task.environment = Env(variables);
    return tasks[pid] = task;
  }
  FakeTask& Fork(pid_t parent, pid_t pid, Ticks start) {
    FakeTask task = tasks.at(parent);
    task.tgid = pid;
    task.ppid = parent;
    task.start = start;
    task.forked_no_exec = true;
    return tasks[pid] = task;
  }
  FakeTask& Thread(pid_t tgid, pid_t tid, Ticks start) {
    FakeTask task = tasks.at(tgid);
    task.start = start;
    task.forked_no_exec = true;
    return tasks[tid] = task;
  }
  void Exec(pid_t pid, const std::vector<std::string>& variables) {
    FakeTask& task = tasks.at(pid);
    task.image = ++images_;
    task.forked_no_exec = false;
    task.environment = Env(variables);
  }
  // Its children are left to `reaper`.
  void Exit(pid_t pid, pid_t reaper = 1) {
    tasks.erase(pid);
    for (auto& [tid, task] : tasks) {
      if (task.ppid == pid) task.ppid = reaper;
    }
  }

  Result<TaskStat> ReadStat(pid_t tid) const override {
    ++stats;
    const FakeTask* task = Find(tid);
    if (task == nullptr) return Fail(ESRCH);
    TaskStat stat{.tid = tid,
                  .comm = task->comm,
                  .ppid = task->ppid,
                  .sid = task->sid,
                  .forked_no_exec = task->forked_no_exec,
                  .kernel_thread = task->kernel_thread,
                  .dead = task->dead,
                  .start = task->start};
    if (task->readable && task->image != 0) stat.image = {task->image, 1, 1};
    return stat;
  }
  Result<TaskStatus> ReadStatus(pid_t tid) const override {
    ++statuses;
    const FakeTask* task = Find(tid);
    if (task == nullptr) return Fail(ESRCH);
    return TaskStatus{.tgid = task->tgid,
                      .real_uid = task->uid,
                      .groups = {task->uid, 42},
                      .is_reaper = task->is_reaper,
                      .signals = task->signals};
  }
  Result<std::string> ReadComm(pid_t tid) const override {
    ++comms;
    const FakeTask* task = Find(tid);
    if (task == nullptr) return Fail(ESRCH);
    return task->comm;
  }
  Result<Environ> ReadEnviron(pid_t tid, std::size_t limit) const override {
    ++environs;
    const FakeTask* task = Find(tid);
    if (task == nullptr) return Fail(ESRCH);
    if (!task->readable) return Fail(EACCES);
    return Environ{task->environment.substr(0, limit), task->environment.size() >= limit};
  }
  Result<CgroupId> ReadCgroup(pid_t tid) const override {
    const FakeTask* task = Find(tid);
    if (task == nullptr) return Fail(ESRCH);
    return CgroupId{task->cgroup, 7};
  }
  bool CgroupMayHoldProcesses(const CgroupId& cgroup) const override {
    return !empty_groups.contains(cgroup.path);
  }
  Result<std::vector<pid_t>> ListProcesses() const override {
    if (list_fails) return Fail(EIO);
    std::vector<pid_t> pids;
    for (const auto& [tid, task] : tasks) {
      if (task.tgid == tid) pids.push_back(tid);
    }
    return pids;
  }
  Ticks TickOf(Instant instant) const override { return static_cast<Ticks>(instant.count()) / 10'000'000; }

 private:
  const FakeTask* Find(pid_t tid) const {
    auto found = tasks.find(tid);
    return found == tasks.end() ? nullptr : &found->second;
  }
  std::uint64_t images_ = 100;
};

inline Instant AtTick(Ticks tick) {
  return Instant(static_cast<std::int64_t>(tick) * 10'000'000);
}

}  // namespace baton::testing
