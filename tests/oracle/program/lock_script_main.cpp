// lock_script: runs a script of lock calls (tests/oracle/lock_script.h) on real files and prints every
// answer, so that the same script can be run on a local directory and on two mounts, and the outputs
// compared. L1, L2.
//
//   lock_script --make KIND SEED                a random script; KIND: ranges, flock, waits, flock-waits,
//   deadlocks lock_script [--quiet MS] DIR... < SCRIPT    runs it; owner n works in the (n modulo number of
//   DIRs)th directory lock_script --model < SCRIPT                what LockTable answers, without any file
//
// On mounts --quiet is needed: a wait that is not granted can be told from a slow answer only by time there.
// Answers of "test" may lawfully differ after a step that granted several waits at once (who of them came
// first is chance). Empty lines and lines that begin with # are copied. Exit status: 0, or 2 for a line that
// is no command or bad usage.
#include <cstdio>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "oracle/lock_model.h"
#include "oracle/lock_owners.h"
#include "oracle/random_script.h"

namespace baton::oracle {
namespace {

int Usage() {
  std::cerr << "usage: lock_script --make KIND SEED | [--quiet MS] DIR... | --model\n";
  return 2;
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
}

int Make(const std::string& kind, const std::string& seed) {
  const auto parsed = ParseScriptKind(kind);
  if (!parsed || !IsNumber(seed)) return Usage();
  for (const Command& command : RandomScript(*parsed, std::stoull(seed)))
    std::cout << ToString(command) << "\n";
  return 0;
}

int RunScript(const std::function<std::string(const Command&)>& run) {
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty() || line[0] == '#') {
      std::cout << line << std::endl;
      continue;
    }
    const auto command = ParseCommand(line);
    if (!command) {
      std::cerr << "lock_script: not a command: " << line << "\n";
      return 2;
    }
    std::cout << ToString(*command) << " = " << run(*command) << std::endl;
  }
  return 0;
}

int Main(std::vector<std::string> arguments) {
  if (arguments.size() == 3 && arguments[0] == "--make") return Make(arguments[1], arguments[2]);
  if (arguments.size() == 1 && arguments[0] == "--model") {
    LockModel model;
    return RunScript([&model](const Command& command) { return model.Run(command); });
  }
  std::chrono::milliseconds quiet{};
  if (arguments.size() > 2 && arguments[0] == "--quiet" && IsNumber(arguments[1])) {
    quiet = std::chrono::milliseconds(std::stoul(arguments[1]));
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  if (arguments.empty() || arguments[0].starts_with("-")) return Usage();
  LockOwners owners(arguments, quiet);
  return RunScript([&owners](const Command& command) { return owners.Run(command); });
}

}  // namespace
}  // namespace baton::oracle

int main(int argc, char** argv) {
  return baton::oracle::Main({argv + 1, argv + argc});
}
