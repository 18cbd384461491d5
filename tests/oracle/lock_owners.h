// LockOwners: runs lock scripts on real files, every owner a child process with its own descriptors, driven
// over a socket. Rules L1, L2. It knows nothing of the arbiter. When a step is over (who has been granted,
// who still waits) is read from the kernel's own list, /proc/locks, for local files. A file system that keeps
// its locks elsewhere (a mount) shows nothing there: with `quiet` set a step is over when no answer has come
// for so long. Requires Linux with OFD locks, and that this process has no threads when an owner first
// appears. One thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "oracle/lock_script.h"

namespace baton::oracle {

class LockOwners {
 public:
  // Owner n works in directory n modulo their number; the files are made there as they are named.
  explicit LockOwners(std::vector<std::string> directories, std::chrono::milliseconds quiet = {});
  ~LockOwners();
  LockOwners(const LockOwners&) = delete;
  LockOwners& operator=(const LockOwners&) = delete;

  // The answer with what it granted. "stuck" and what is missing if the step is not over in time; "busy" if
  // the owner already waits.
  std::string Run(const Command& command);

 private:
  struct Owner {
    pid_t pid = -1;
    UniqueFd socket;
    bool waiting = false;
  };

  Owner& OwnerOf(const std::string& name);
  [[noreturn]] void BeChild(int socket, const std::string& name);
  const std::string& DirectoryOf(const std::string& owner) const;
  bool Collect(std::chrono::milliseconds wait, std::map<std::string, std::string>& answers);
  bool Settle(std::map<std::string, std::string>& answers);
  std::size_t Waiting() const;
  std::vector<std::string> WaitersInKernel() const;

  std::vector<std::string> directories_;
  std::chrono::milliseconds quiet_;
  std::map<std::string, Owner> owners_;
  std::set<std::string> paths_;  // of every file named so far
};

}  // namespace baton::oracle
