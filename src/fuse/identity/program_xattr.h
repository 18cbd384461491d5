// The app instance that a program file names in its xattr user.app_instance_id (rule I2 c). Any thread that
// may block: the file may lie on a network file system. A file on the mount itself is never touched from here
// (its request would come back to us): the callback answers for it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>

namespace baton {

struct ProgramXattr {
  std::optional<std::string> value;  // nullopt: no such attribute, or it cannot be read
};

struct ProgramFile {
  std::uint64_t device = 0;  // as st_dev
  std::uint64_t inode = 0;
};

class ProgramXattrReader {
 public:
  using IsOwnDevice = std::function<bool(std::uint64_t device)>;
  using AskMount = std::function<ProgramXattr(const ProgramFile& file)>;

  ProgramXattrReader(IsOwnDevice is_own_device, AskMount ask_mount);
  ProgramXattr Read(pid_t pid);

 private:
  using CacheKey = std::tuple<std::uint64_t, std::uint64_t, std::int64_t>;  // device, inode, ctime in ns
  IsOwnDevice is_own_device_;
  AskMount ask_mount_;
  std::mutex mutex_;
  std::map<CacheKey, ProgramXattr> cache_;  // bounded; emptied when full
};

}  // namespace baton
