// baton: the operator's and the program-starter's command. This file is its command line; what the commands
// do is beside it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "base/state_dir.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/exit_codes.h"
#include "cli/identity.h"
#include "cli/query.h"

namespace baton::cli {
namespace {

constexpr const char* kFooter = R"(Exit codes:
  0  done
  1  refused, or it did not work; stderr says why
  2  the command line is wrong
  3  batond cannot be reached; stderr says at which socket, and what to try, or mount-status what the mount waits for
  126, 127  baton run: the program cannot be run, is not found

Examples:
  baton instances                       who lives where
  baton opens db/main.sqlite            who has this file, and how
  baton mount-status /mnt/b             whether the mount reaches its server, and what waits
  baton events --follow --json          every takeover and refusal, for a script
  baton fence 6f1c...                   stop an incarnation for good, and wait until it is
  baton run --instance 6f1c... --stdout /mnt/b/app.log -- app --serve
baton COMMAND --help says more. What asks batond must run on its machine, as root or as its user;
mount-status, register and run are for the node of the mount.)";

constexpr const char* kRunFooter =
    R"(In full: baton run --instance GUID [OPTIONS] -- PROGRAM [ARGUMENTS...]

The log files are opened by the program's own instance, so that they move with it. A
redirection by the shell opens them without an instance: then the program does not hold them.

Sets the variables and becomes the program: the process id stays, signals and the exit code are the program's own.
Exit codes of baton itself: 1 a log file cannot be opened, 2 the command line is wrong, 126 the program cannot be run,
127 it is not found.)";

constexpr const char* kMountStatusFooter =
    R"(The mount answers by itself: also while it waits for its server, and to everybody who may use it.
States: connecting (no session yet), live, broken (requests wait, the session will be resumed), lost (the server has ended the
session: what was open answers ESTALE; a new one is sought). Exit codes: 0 live, 3 any other state, 1 no such mount.
Without baton: getfattr --only-values -n system.baton.status MOUNTPOINT)";

constexpr const char* kRegisterFooter =
    R"(The process and all that it starts later carry the instance on that mount, until it
is unregistered or execs nothing more. Without --pid it is the process that called baton: a shell, a script.)";

// Everything that the command line can say.
struct Arguments {
  std::string state_dir;
  QueryOptions query;
  std::string path;
  EventsOptions events;
  std::string guid;
  bool force = false;
  RunOptions run;
  RegisterOptions registration;
  std::function<int()> action;
};

std::optional<std::string> Given(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

void AddQueries(CLI::App& app, Arguments& a) {
  const auto add = [&](const char* name, const char* help, std::function<int()> action) {
    CLI::App* command = app.add_subcommand(name, help);
    command->callback([&a, action] { a.action = action; });
    return command;
  };
  add("status", "the server: what it serves, its rules, and its counts", [&a] { return Status(a.query); });
  add("sessions", "the mounts that are known", [&a] { return Sessions(a.query); });
  add("instances", "the app instances, where each lives, its epoch and version",
      [&a] { return Instances(a.query); });
  add("opens", "the open files and the reserved claims", [&a] {
    return Opens(a.query, Given(a.path));
  })->add_option("PATH", a.path, "only this file: its path in the export");
  add("locks", "the locks: held, waiting, reserved", [&a] {
    return Locks(a.query, Given(a.path));
  })->add_option("PATH", a.path, "only this file: its path in the export");
  CLI::App* events = add("events", "takeovers, refusals, fences and sessions, the oldest first",
                         [&a] { return Events(a.query, a.events); });
  events->add_flag("--follow,-f", a.events.follow, "go on with those to come (--since 0s: only those)");
  events
      ->add_option("--since", a.events.since, "begin there: 10m before now, or 2026-11-23T06:49:31 (Z: UTC)")
      ->type_name("TIME");
}

void AddMountStatus(CLI::App& app, Arguments& a) {
  CLI::App* command = app.add_subcommand(
      "mount-status", "a mount of this node: its server, what waits, also when no server answers");
  command->footer(kMountStatusFooter);
  command->add_option("MOUNTPOINT", a.path, "the root directory of the mount")->required();
  command->callback([&a] { a.action = [&a] { return MountStatus(a.query, a.path); }; });
}

void AddChanges(CLI::App& app, Arguments& a) {
  const auto add = [&a](CLI::App& parent, const char* name, const char* command, const char* help) {
    CLI::App* added = parent.add_subcommand(name, help);
    added->add_option("GUID", a.guid, "the app instance")->required();
    added->callback(
        [&a, command] { a.action = [&a, command] { return ChangeInstance(a.query, command, a.guid); }; });
    added->fallthrough();
  };
  add(app, "fence", "fence",
      "fence the incarnation: all its later requests fail, for good; returns when that is so. Its next start "
      "is granted");
  add(app, "forget", "forget", "drop the record of an instance that is not in use");
  CLI::App* instance = app.add_subcommand("instance", "change the record of an instance");
  instance->require_subcommand(1);
  instance->fallthrough();
  add(*instance, "reset", "reset", "clear its recorded version, so that a lower one may start again");
}

void AddBackUp(CLI::App& app, Arguments& a) {
  CLI::App* command =
      app.add_subcommand("backup-state", "copy batond's state into a file, while it runs; docs/operations.md says how to restore");
  command->add_option("FILE", a.path, "the copy; batond writes it, readable by its own user only")->required();
  command->add_flag("--force", a.force, "replace FILE if it is there");
  command->callback([&a] { a.action = [&a] { return BackUpState(a.query, a.path, a.force); }; });
}

void AddRun(CLI::App& app, Arguments& a) {
  CLI::App* run = app.add_subcommand("run", "start a program as an app instance");
  run->footer(kRunFooter);
  run->add_option("--instance", a.run.guid, "its GUID")->required();
  run->add_option("--version", a.run.version, "its version: a higher one takes over, a lower one is refused")
      ->type_name("HIGH[.LOW]");
  run->add_option("--takeover", a.run.takeover, "no: use the instance's files only where it lives already")
      ->check(CLI::IsMember({"yes", "no"}));
  run->add_option("--stdout", a.run.logs.out, "the program's stdout goes there")->type_name("FILE");
  run->add_option("--stderr", a.run.logs.err, "the program's stderr goes there; may be the same file")
      ->type_name("FILE");
  run->add_flag("--append", a.run.logs.append, "append to these files instead of emptying them");
  run->add_option("--id-variable", a.run.id_variable, "as the mount's option id_variable")
      ->capture_default_str();
  run->add_option("--version-variable", a.run.version_variable, "as version_variable")->capture_default_str();
  run->add_option("--takeover-variable", a.run.takeover_variable, "as takeover_variable")
      ->capture_default_str();
  run->callback([&a] { a.action = [&a] { return Run(a.run); }; });

  CLI::App* child = app.add_subcommand("run-child", "what baton run becomes to open the log files");
  child->group("");
  child->add_option("--stdout", a.run.logs.out);
  child->add_option("--stderr", a.run.logs.err);
  child->add_flag("--append", a.run.logs.append);
  child->callback([&a] { a.action = [&a] { return RunChild(a.run.logs, a.run.program); }; });
}

void AddRegistration(CLI::App& app, Arguments& a) {
  const auto pid_option = [&a](CLI::App* command) {
    command
        ->add_option_function<std::int32_t>(
            "--pid", [&a](const std::int32_t& pid) { a.registration.pid = pid; },
            "the process (default: the one that called baton)")
        ->check(CLI::PositiveNumber)
        ->type_name("PID");
    command->add_option("MOUNTPOINT", a.registration.mount_point, "the root directory of the mount")
        ->required();
  };
  CLI::App* add = app.add_subcommand("register", "make a running process an app instance on a mount");
  add->footer(kRegisterFooter);
  add->add_option("GUID", a.registration.guid, "the app instance")->required();
  add->add_option("--version", a.registration.version, "its version")->type_name("HIGH[.LOW]");
  pid_option(add);
  add->callback([&a] { a.action = [&a] { return Register(a.registration); }; });
  CLI::App* remove = app.add_subcommand("unregister", "end that");
  pid_option(remove);
  remove->callback([&a] { a.action = [&a] { return Unregister(a.registration); }; });
}

// The program of `baton run` is what stands behind the first "--"; none of our business what is in it.
std::vector<std::string> CutProgram(int& argc, char** argv) {
  const auto is = [](const char* word) {
    return [word](const char* argument) { return std::strcmp(argument, word) == 0; };
  };
  char** const end = argv + argc;
  char** const cut = std::find_if(argv, end, is("--"));
  const bool runs = std::any_of(argv, cut, is("run")) || std::any_of(argv, cut, is("run-child"));
  if (cut == end || !runs) return {};
  argc = static_cast<int>(cut - argv);
  return {cut + 1, end};
}

int Main(int argc, char** argv) {
  Arguments a;
  a.run.program = CutProgram(argc, argv);
  CLI::App app("baton asks batond who has what, and starts programs as app instances.", "baton");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("baton ") + Version());
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--state-dir", a.state_dir,
                 "batond's state directory (default: " + DefaultStateDir().string() + ")")
      ->type_name("DIR");
  app.add_flag("--json", a.query.json, "one JSON object per line instead of a table");
  AddQueries(app, a);
  AddMountStatus(app, a);
  AddChanges(app, a);
  AddBackUp(app, a);
  AddRun(app, a);
  AddRegistration(app, a);
  for (CLI::App* command : app.get_subcommands({})) command->fallthrough();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    const std::vector<std::string> unknown = app.remaining();
    const bool no_such_command = app.get_subcommands().empty() && !unknown.empty();
    const std::string what =
        no_such_command ? "there is no command \"" + Printable(unknown.front()) + "\"" : error.what();
    std::cerr << "baton: " << what << "; baton --help says how\n";
    return kUsage;
  }
  a.query.state_dir = a.state_dir.empty() ? DefaultStateDir() : std::filesystem::path(a.state_dir);
  return a.action();
}

}  // namespace
}  // namespace baton::cli

int main(int argc, char** argv) {
  return baton::cli::Main(argc, argv);
}
