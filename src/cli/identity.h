// The commands that give programs their app instance (rules I1 to I4, I7): run, register, unregister.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace baton::cli {

// What becomes the program's stdout and stderr.
struct LogFiles {
  std::string out;  // empty: as it is
  std::string err;
  bool append = false;
};

struct RunOptions {
  std::string guid;
  std::string version;   // empty: none
  std::string takeover;  // "yes", "no", or empty: as in the environment
  LogFiles logs;
  std::string id_variable = "APP_INSTANCE_ID";
  std::string version_variable = "APP_INSTANCE_VERSION";
  std::string takeover_variable = "APP_INSTANCE_TAKEOVER";
  std::vector<std::string> program;
};

// Becomes the program; comes back only if that failed.
int Run(const RunOptions& options);

// The second half of Run when there are log files: by now this process is the instance (its environment at
// exec says so), and so the files it opens belong to it (rule I7).
int RunChild(const LogFiles& logs, const std::vector<std::string>& program);

struct RegisterOptions {
  std::string guid;
  std::string version;
  std::optional<std::int32_t> pid;  // default: the process that called baton
  std::string mount_point;
};
int Register(const RegisterOptions& options);
int Unregister(const RegisterOptions& options);  // the GUID does not count

}  // namespace baton::cli
