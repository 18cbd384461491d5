// The commands that ask batond something over its control socket, or a mount of this node. Each answers an exit code and has told the
// person.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace baton::cli {

struct QueryOptions {
  std::filesystem::path state_dir;
  bool json = false;
};

int Status(const QueryOptions& options);
int Sessions(const QueryOptions& options);
int Instances(const QueryOptions& options);
int Opens(const QueryOptions& options, const std::optional<std::string>& path);
int Locks(const QueryOptions& options, const std::optional<std::string>& path);

struct EventsOptions {
  bool follow = false;
  std::string since;  // a duration before now, or an ISO 8601 time; empty: all that are there
};
int Events(const QueryOptions& options, const EventsOptions& events);

// Exit code kUnreachable: the mount answers, and says that it does not reach batond.
int MountStatus(const QueryOptions& options, const std::string& mount_point);

// `file`: relative to the working directory.
int BackUpState(const QueryOptions& options, const std::string& file, bool force);

// `command`: fence, reset or forget.
int ChangeInstance(const QueryOptions& options, const std::string& command, const std::string& guid);

}  // namespace baton::cli
