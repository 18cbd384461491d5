// ProcReader: what /proc says about tasks, as values. It decides nothing. Any thread; no state but a
// directory descriptor. Only ReadEnviron can block on the target (it takes the target's mmap lock): never on
// a thread that must answer READ or WRITE (rule I6). Errors: ESRCH when the task is gone, EACCES when it may
// not be read.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace baton {

using Ticks = std::uint64_t;  // clock ticks (sysconf(_SC_CLK_TCK)) since boot, as /proc counts start times

// A process, distinct from every later process with the same number.
struct ProcessKey {
  pid_t tgid = 0;
  Ticks start = 0;
  friend auto operator<=>(const ProcessKey&, const ProcessKey&) = default;
};

struct ProcessKeyHash {
  std::size_t operator()(const ProcessKey& key) const {
    return static_cast<std::size_t>(key.start * 0x9e3779b97f4a7c15u) ^ static_cast<std::size_t>(key.tgid);
  }
};

// What changes when a task execs: where the kernel put the new program (random addresses). All 0: the task
// has no memory any more (it is exiting), never had one (kernel threads), or may not be read. With address
// randomisation switched off, a program that execs itself with strings of the same lengths keeps its image;
// that exec is not seen.
struct ImageId {
  std::uint64_t start_stack = 0;
  std::uint64_t start_code = 0;
  std::uint64_t start_brk = 0;
  bool Visible() const { return start_stack != 0; }
  friend auto operator<=>(const ImageId&, const ImageId&) = default;
};

struct TaskStat {
  pid_t tid = 0;
  std::string comm;
  pid_t ppid = 0;  // 0: outside this pid namespace
  pid_t sid = 0;
  bool forked_no_exec = false;  // this task has not called exec since it was forked
  bool kernel_thread = false;
  bool dead = false;  // a zombie without living threads
  Ticks start = 0;
  ImageId image;
};

struct SignalSets {
  std::uint64_t pending = 0;  // of the thread
  std::uint64_t shared_pending = 0;
  std::uint64_t blocked = 0;
  std::uint64_t ignored = 0;
  std::uint64_t caught = 0;
};

struct TaskStatus {
  pid_t tgid = 0;
  uid_t real_uid = 0;
  std::vector<gid_t> groups;
  bool is_reaper = false;  // pid 1 of its own pid namespace, which may be a container's
  SignalSets signals;
};

struct Environ {
  std::string text;        // NAME=VALUE, each ended by a zero byte, as the memory is now
  bool truncated = false;  // the limit was reached
};

// A control group in one life: a group made again under the same path is another one.
struct CgroupId {
  std::string path;
  std::uint64_t inode = 0;  // 0: not known
  friend auto operator<=>(const CgroupId&, const CgroupId&) = default;
};

class ProcReader {
 public:
  virtual ~ProcReader() = default;
  virtual Result<TaskStat> ReadStat(pid_t tid) const = 0;
  virtual Result<TaskStatus> ReadStatus(pid_t tid) const = 0;
  virtual Result<std::string> ReadComm(pid_t tid) const = 0;
  virtual Result<Environ> ReadEnviron(pid_t tid, std::size_t limit) const = 0;
  virtual Result<CgroupId> ReadCgroup(pid_t tid) const = 0;
  // False only if the group is proven to hold no process, or to be gone.
  virtual bool CgroupMayHoldProcesses(const CgroupId& cgroup) const = 0;
  virtual Result<std::vector<pid_t>> ListProcesses() const = 0;
  // The tick in which an instant lies.
  virtual Ticks TickOf(Instant instant) const = 0;
};

class LinuxProcReader final : public ProcReader {
 public:
  explicit LinuxProcReader(const std::string& proc = "/proc", std::string cgroup_root = "/sys/fs/cgroup");
  Result<TaskStat> ReadStat(pid_t tid) const override;
  Result<TaskStatus> ReadStatus(pid_t tid) const override;
  Result<std::string> ReadComm(pid_t tid) const override;
  Result<Environ> ReadEnviron(pid_t tid, std::size_t limit) const override;
  Result<CgroupId> ReadCgroup(pid_t tid) const override;
  bool CgroupMayHoldProcesses(const CgroupId& cgroup) const override;
  Result<std::vector<pid_t>> ListProcesses() const override;
  Ticks TickOf(Instant instant) const override;

 private:
  Result<std::string> ReadFile(pid_t tid, const char* name, std::size_t limit) const;
  UniqueFd proc_;
  std::string cgroup_root_;
  std::uint64_t ticks_per_second_;
};

// The texts of /proc/TID/stat and /proc/TID/status (proc(5)); EPROTO if they are not that.
Result<TaskStat> ParseStat(std::string_view text);
Result<TaskStatus> ParseStatus(std::string_view text);

}  // namespace baton
