// LockCalls: makes one owner's lock calls in this process: what an owner's child process does
// (lock_owners.h). One thread.
#pragma once

#include <map>
#include <string>

#include "base/unique_fd.h"
#include "oracle/lock_script.h"

namespace baton::oracle {

class LockCalls {
 public:
  explicit LockCalls(std::string directory) : directory_(std::move(directory)) {}

  // "ok", "free", the lock in the way, or the errno's name. A wait blocks here.
  std::string Run(const Command& command);

 private:
  int Open(const std::string& file);
  std::string Close(const Command& command);

  std::string directory_;
  std::map<std::string, UniqueFd> files_;
};

}  // namespace baton::oracle
