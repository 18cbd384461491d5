// baton run: a program with its identity in the environment and its log files in its own name.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/guid.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "cli/exit_codes.h"
#include "cli/identity.h"

namespace baton::cli {
namespace {

int Complain(int code, const std::string& message) {
  fmt::print(stderr, "baton run: {}\n", message);
  return code;
}

// As env(1) answers.
int Execute(const char* file, const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execvp(file, argv.data());
  const int error = errno;
  return Complain(error == ENOENT ? kNotFound : kCannotRun,
                  fmt::format("cannot run {}: {}", Printable(file), std::strerror(error)));
}

std::string WhyNot(int error) {
  std::string why = std::strerror(error);
  if (error == ESTALE)
    why += " (this process belongs to a fenced incarnation; start baton from a process that does not)";
  if (error == EBUSY) why += " (another holds the file: baton opens FILE, on the server, names it)";
  return why;
}

// Puts `file` in the place of `target`; answers what went wrong.
std::string Redirect(const std::string& file, bool append, int target) {
  const int how = append ? O_APPEND : O_TRUNC;
  const UniqueFd opened(::open(file.c_str(), O_WRONLY | O_CREAT | O_NOCTTY | O_CLOEXEC | how, 0666));
  if (!opened || ::dup2(opened.Get(), target) < 0) {
    return fmt::format("cannot open {}: {}", Printable(file), WhyNot(errno));
  }
  return {};
}

// No variable may hold "=" in its name, and setenv(3) refuses an empty one.
bool Set(const std::string& name, const std::string& value) {
  return ::setenv(name.c_str(), value.c_str(), 1) == 0;
}

bool SetEnvironment(const RunOptions& options) {
  if (!Set(options.id_variable, options.guid)) return false;
  if (!options.takeover.empty() && !Set(options.takeover_variable, options.takeover)) return false;
  // A version that stands there belongs to another instance.
  if (options.version.empty()) return ::unsetenv(options.version_variable.c_str()) == 0;
  return Set(options.version_variable, options.version);
}

}  // namespace

int Run(const RunOptions& options) {
  if (const auto guid = ParseGuid(options.guid); !guid) {
    return Complain(
        kUsage,
        fmt::format("--instance: \"{}\" is no GUID: it has 8-4-4-4-12 hexadecimal digits and is not nil",
                    Printable(options.guid)));
  }
  if (!options.version.empty() && !ParseInstanceVersion(options.version)) {
    return Complain(kUsage, fmt::format("--version: \"{}\" is no version: write HIGH.LOW or HIGH, decimal",
                                        Printable(options.version)));
  }
  if (options.program.empty())
    return Complain(kUsage, "no program: put it behind --, as in: baton run --instance GUID -- redis-server");
  if (!SetEnvironment(options)) {
    return Complain(kUsage, fmt::format("cannot set the environment: {}", std::strerror(errno)));
  }
  if (options.logs.out.empty() && options.logs.err.empty())
    return Execute(options.program.front().c_str(), options.program);
  std::vector<std::string> again{"baton", "run-child"};
  if (!options.logs.out.empty()) again.push_back("--stdout=" + options.logs.out);
  if (!options.logs.err.empty()) again.push_back("--stderr=" + options.logs.err);
  if (options.logs.append) again.emplace_back("--append");
  again.emplace_back("--");
  again.insert(again.end(), options.program.begin(), options.program.end());
  return Execute("/proc/self/exe", again);
}

int RunChild(const LogFiles& logs, const std::vector<std::string>& program) {
  if (program.empty()) return Complain(kUsage, "no program");
  std::string wrong;
  if (!logs.out.empty()) wrong = Redirect(logs.out, logs.append, STDOUT_FILENO);
  if (wrong.empty() && !logs.err.empty()) {
    // One file is opened once, so that both write behind each other.
    if (logs.err != logs.out) {
      wrong = Redirect(logs.err, logs.append, STDERR_FILENO);
    } else if (::dup2(STDOUT_FILENO, STDERR_FILENO) < 0) {
      wrong = std::strerror(errno);
    }
  }
  if (!wrong.empty()) return Complain(kFailed, wrong);
  return Execute(program.front().c_str(), program);
}

}  // namespace baton::cli
