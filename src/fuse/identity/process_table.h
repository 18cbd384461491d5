// ProcessTable: what is known of the tasks and processes that were met, so that an id once seen stays (rule
// I2 b) and the common request costs one read of stat. It reads nothing. Any thread; its mutex is a leaf,
// held for look-ups only.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "fuse/identity/environment.h"
#include "fuse/identity/epoch_book.h"
#include "fuse/identity/proc_reader.h"
#include "fuse/identity/registry.h"
#include "fuse/identity/resolution.h"

namespace baton {

// A resolution without its verdict on epochs, and what that verdict needs. `generation` is the registry's at
// that time.
struct Bound {
  Resolution resolution;
  Lineage lineage;  // for kInstance
  RegistrationId registration{};
  ImageId image;
  std::uint64_t generation = 0;
};

struct ProcessRecord {
  ProcessKey key;
  ImageId image;
  bool forked_no_exec = false;
  std::string program;
  pid_t first_ppid = 0;
  uid_t uid = 0;  // real, when its present id was first seen
  bool is_reaper = false;
  OwnId own;           // from the environment of the present image
  OwnId from_program;  // from its program's xattr: kNone, kId or kMalformed
  std::optional<OwnId> before_exec;
  std::shared_ptr<const Bound> bound;  // of the present or an earlier image
  bool logged = false;
};

class ProcessTable {
 public:
  // The answer for the process of this task, if the task is known and has not called exec since.
  std::shared_ptr<const Bound> FindBound(const TaskStat& stat, Instant now);
  // The name the task had when it was last looked at, if that was not before `since`.
  std::optional<std::string> SeenSince(pid_t tid, Instant since) const;
  std::optional<ProcessKey> ProcessOf(const TaskStat& stat) const;

  std::optional<ProcessRecord> Find(const ProcessKey& key) const;
  std::optional<ProcessKey> ProcessNumbered(pid_t tgid) const;
  // Stores what was read of a process. A record that says the same image is kept: it may have seen more.
  ProcessRecord Store(ProcessRecord fresh);
  void SetOwn(const ProcessKey& key, const ImageId& image, const OwnId& own);
  void Bind(const ProcessKey& key, std::shared_ptr<const Bound> bound);
  void AddTask(const TaskStat& stat, const ProcessKey& process, Instant now);
  // True the first time.
  bool MarkLogged(const ProcessKey& key);

  std::vector<ProcessKey> Processes() const;
  std::vector<ProcessKey> MembersOf(const Guid& guid) const;
  std::set<RegistrationId> RegistrationsInUse() const;
  void Forget(const std::vector<ProcessKey>& gone);

 private:
  struct Task {
    ProcessKey process;
    Ticks start = 0;
    ImageId image;
    bool forked_no_exec = false;
    std::string comm;
    Instant seen{};
  };

  const ProcessRecord* Locate(const TaskStat& stat, Instant now);

  mutable std::mutex mutex_;
  std::unordered_map<pid_t, Task> tasks_;
  std::unordered_map<pid_t, ProcessRecord> processes_;  // by tgid; the key inside says which life
};

// Whether the program that runs is still the one a record was made of.
bool SameImage(const ImageId& known, bool known_forked_no_exec, const ImageId& now, bool now_forked_no_exec);

}  // namespace baton
