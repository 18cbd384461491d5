#include "fuse/kernel/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>

namespace baton {
namespace {

using Problem = std::optional<std::string>;  // nothing: all is well

// --- Values
// ---------------------------------------------------------------------------------------------------------

std::optional<double> ParseSeconds(std::string_view text) {
  double value = 0;
  auto [stop, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  constexpr double kMost = 1e9;
  const bool whole = error == std::errc() && stop == text.data() + text.size();
  if (!whole || !std::isfinite(value) || value < 0 || value > kMost) return std::nullopt;
  return value;
}

Problem SetSeconds(std::string_view name, std::string_view value, double& to) {
  const auto seconds = ParseSeconds(value);
  if (!seconds) {
    return fmt::format("option {}={}: not a number of seconds (0 or more, fractions allowed)", name, value);
  }
  to = *seconds;
  return std::nullopt;
}

Problem SetDuration(std::string_view name, std::string_view value, Duration& to) {
  double seconds = 0;
  if (auto problem = SetSeconds(name, value, seconds)) return problem;
  to = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  return std::nullopt;
}

Problem SetText(std::string_view name, std::string_view value, std::string& to) {
  if (value.empty()) return fmt::format("option {} needs a value: {}=...", name, name);
  to = value;
  return std::nullopt;
}

Problem SetVariable(std::string_view name, std::string_view value, std::string& to) {
  if (value.empty() || value.find('=') != std::string_view::npos) {
    return fmt::format("option {}={}: not a name of an environment variable", name, value);
  }
  to = value;
  return std::nullopt;
}

Problem SetLogLevel(std::string_view value, log::Level& to) {
  constexpr std::pair<std::string_view, log::Level> kLevels[] = {
      {"debug", log::Level::kDebug}, {"info", log::Level::kInfo},         {"warning", log::Level::kWarn},
      {"warn", log::Level::kWarn},   {"error", log::Level::kError},       {"critical", log::Level::kCritical},
      {"off", log::Level::kOff}};
  for (const auto& [name, level] : kLevels) {
    if (value != name) continue;
    to = level;
    return std::nullopt;
  }
  return fmt::format("option log_level={}: not one of debug, info, warning, error, critical, off", value);
}

Problem SetUnidentified(std::string_view value, bool& anonymous) {
  if (value != "anonymous" && value != "refuse") {
    return fmt::format("option unidentified={}: not one of refuse, anonymous", value);
  }
  anonymous = value == "anonymous";
  return std::nullopt;
}

// --- The table of options
// -------------------------------------------------------------------------------------------

struct ValueOption {
  std::string_view name;
  Problem (*set)(std::string_view name, std::string_view value, MountOptions& options);
};

using View = std::string_view;
constexpr ValueOption kValueOptions[] = {
    {"node", [](View n, View v, MountOptions& o) { return SetText(n, v, o.node); }},
    {"claim_wait", [](View n, View v, MountOptions& o) { return SetDuration(n, v, o.claim_wait); }},
    {"op_timeout", [](View n, View v, MountOptions& o) { return SetDuration(n, v, o.op_timeout); }},
    {"log", [](View n, View v, MountOptions& o) { return SetText(n, v, o.log_file); }},
    {"log_level", [](View, View v, MountOptions& o) { return SetLogLevel(v, o.log_level); }},
    {"unidentified",
     [](View, View v, MountOptions& o) { return SetUnidentified(v, o.unidentified_anonymous); }},
    {"id_variable", [](View n, View v, MountOptions& o) { return SetVariable(n, v, o.instance_variable); }},
    {"version_variable",
     [](View n, View v, MountOptions& o) { return SetVariable(n, v, o.version_variable); }},
    {"takeover_variable",
     [](View n, View v, MountOptions& o) { return SetVariable(n, v, o.takeover_variable); }},
    {"attr_timeout", [](View n, View v, MountOptions& o) { return SetSeconds(n, v, o.attr_timeout); }},
    {"entry_timeout", [](View n, View v, MountOptions& o) { return SetSeconds(n, v, o.entry_timeout); }},
};

struct Flag {
  View name;
  bool MountOptions::*option;
};
constexpr Flag kFlags[] = {{"allow_other", &MountOptions::allow_other},
                           {"background_mount", &MountOptions::background_mount}};

// Words of mount(2), as libfuse passes them on; the last of a contradicting pair wins there.
constexpr View kKernelWords[] = {"ro",      "rw",      "suid",       "nosuid",      "dev",
                                 "nodev",   "exec",    "noexec",     "sync",        "async",
                                 "dirsync", "noatime", "nodiratime", "auto_unmount"};
constexpr View kKernelPrefixes[] = {"context=", "fscontext=", "defcontext=", "rootcontext="};

// Words of fstab(5) and mount(8) that are not for the file system, and kernel words that are the default
// anyway.
constexpr View kIgnoredWords[] = {"defaults",   "auto",       "noauto",      "user",          "nouser",
                                  "users",      "owner",      "group",       "_netdev",       "nofail",
                                  "relatime",   "norelatime", "strictatime", "nostrictatime", "lazytime",
                                  "nolazytime", "atime",      "diratime",    "mand",          "nomand",
                                  "silent",     "loud",       "iversion",    "noiversion",    "_rnetdev"};

template <class List>
bool Contains(const List& list, View word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

bool IsIgnored(View word) {
  const bool prefixed = word.starts_with("x-") || word.starts_with("X-") || word.starts_with("comment=") ||
                        word.starts_with("user=") || word.starts_with("uhelper=") ||
                        word.starts_with("helper=");
  return prefixed || Contains(kIgnoredWords, word);
}

bool SetKernelWord(View word, MountOptions& options) {
  const bool known =
      Contains(kKernelWords, word) || std::any_of(std::begin(kKernelPrefixes), std::end(kKernelPrefixes),
                                                  [&](View prefix) { return word.starts_with(prefix); });
  if (!known) return false;
  if (word == "ro" || word == "rw") options.read_only = word == "ro";
  if (word == "suid" || word == "nosuid") options.suid = word == "suid";
  options.kernel_options.emplace_back(word);
  return true;
}

enum class Unknown { kRefuse, kTolerate };

Problem SetOption(View word, Unknown unknown, MountOptions& options) {
  if (word.empty() || IsIgnored(word) || SetKernelWord(word, options)) return std::nullopt;
  for (const Flag& flag : kFlags) {
    if (word != flag.name) continue;
    options.*flag.option = true;
    return std::nullopt;
  }
  const std::size_t equals = word.find('=');
  const View name = word.substr(0, equals);
  for (const ValueOption& option : kValueOptions) {
    if (option.name != name) continue;
    if (equals == View::npos) return fmt::format("option {} needs a value: {}=...", name, name);
    return option.set(name, word.substr(equals + 1), options);
  }
  if (unknown == Unknown::kTolerate) return std::nullopt;
  return fmt::format("unknown option '{}'; see batonfs --help", word);
}

// `list` as after -o. A comma inside a value is written "\,".
Problem SetOptionList(View list, Unknown unknown, MountOptions& options) {
  std::string word;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size() && list[i] == '\\' && i + 1 < list.size()) {
      word += list[++i];
    } else if (i == list.size() || list[i] == ',') {
      if (auto problem = SetOption(word, unknown, options)) return problem;
      word.clear();
    } else {
      word += list[i];
    }
  }
  return std::nullopt;
}

// --- The command line
// -----------------------------------------------------------------------------------------------

class CommandLine {
 public:
  explicit CommandLine(const std::vector<std::string>& arguments) : arguments_(arguments) {
    const View program = arguments.empty() ? View() : View(arguments[0]);
    as_helper_ = program.substr(program.rfind('/') + 1).starts_with("mount.");
  }

  tl::expected<MountOptions, std::string> Parse() {
    if (as_helper_ && std::find(arguments_.begin(), arguments_.end(), "-s") != arguments_.end()) {
      unknown_ = Unknown::kTolerate;
    }
    for (next_ = 1; next_ < arguments_.size(); ++next_) {
      if (auto problem = TakeWord(arguments_[next_])) return tl::unexpected(*problem);
      if (options_.task != MountOptions::Task::kMount) return options_;
    }
    if (auto problem = TakePlaces()) return tl::unexpected(*problem);
    return options_;
  }

 private:
  Problem TakeWord(View word) {
    if (word == "--help" || (word == "-h" && !as_helper_)) {
      options_.task = MountOptions::Task::kHelp;
    } else if (word == "--version" || word == "-V") {
      options_.task = MountOptions::Task::kVersion;
    } else if (word == "-o" || word == "--options") {
      if (next_ + 1 >= arguments_.size()) return fmt::format("{} needs a list of options behind it", word);
      return SetOptionList(arguments_[++next_], unknown_, options_);
    } else if (word.starts_with("-o")) {
      return SetOptionList(word.substr(2), unknown_, options_);
    } else if (word.size() > 1 && word.starts_with('-')) {
      return as_helper_ ? TakeHelperFlags(word) : TakeFlags(word);
    } else {
      places_.push_back(word);
    }
    return std::nullopt;
  }

  Problem TakeFlags(View word) {
    if (word != "-f" && word != "--foreground")
      return fmt::format("unknown flag '{}'; see batonfs --help", word);
    options_.foreground = true;
    return std::nullopt;
  }

  // mount(8), "EXTERNAL HELPERS": one letter each, -N and -t with a value.
  Problem TakeHelperFlags(View word) {
    for (std::size_t i = 1; i < word.size(); ++i) {
      switch (word[i]) {
        case 'f':
          options_.fake = true;
          break;
        case 'v':
          options_.verbose = true;
          break;
        case 's':
        case 'n':
          break;
        case 'N':
        case 't':
          if (i + 1 == word.size() && ++next_ >= arguments_.size()) {
            return fmt::format("-{} needs a value behind it", word[i]);
          }
          return std::nullopt;
        default:
          return fmt::format("unknown flag '-{}'; see batonfs --help", word[i]);
      }
    }
    return std::nullopt;
  }

  Problem TakePlaces() {
    if (places_.empty())
      return std::string("which server? Usage: batonfs HOST[:PORT] MOUNTPOINT [-o option,...]");
    if (places_.size() == 1) {
      return fmt::format("where to? Usage: batonfs {} MOUNTPOINT [-o option,...]", places_[0]);
    }
    if (places_.size() > 2)
      return fmt::format("'{}': one server list and one mount point are enough", places_[2]);
    options_.servers = places_[0];
    options_.mount_point = places_[1];
    return std::nullopt;
  }

  const std::vector<std::string>& arguments_;
  bool as_helper_ = false;
  Unknown unknown_ = Unknown::kRefuse;
  std::size_t next_ = 0;
  std::vector<View> places_;
  MountOptions options_;
};

}  // namespace

tl::expected<MountOptions, std::string> ParseMountOptions(const std::vector<std::string>& arguments) {
  return CommandLine(arguments).Parse();
}

std::string_view MountUsage() {
  return R"(batonfs - mounts a directory that batond serves

  batonfs HOST[:PORT][,HOST2...] MOUNTPOINT [-f] [-o option,...]
  mount -t batonfs HOST[:PORT][,HOST2...] MOUNTPOINT [-o option,...]

Several hosts are addresses of one server, tried in turn, the one that worked last first; [V6]:PORT for IPv6.

  -f, --foreground           stay in the foreground, log to stderr
  -o, --options LIST         options, separated by commas (a comma in a value: \,)
      --help, --version

Options
  node=NAME                  this mount's name for the server and the operator (HOSTNAME:MOUNTPOINT)
  background_mount           come up though no server answers yet, and go on trying; requests wait (off)
  claim_wait=SECONDS         how long an open waits for a file that another instance holds (1; 0: not at all)
  op_timeout=SECONDS         how long a request waits for a server that cannot be reached (0: for ever)
  allow_other                every user may use the mount (always so when root mounts)
  ro                         read-only
  suid, dev                  honour set-uid bits and device files (off)
  unidentified=anonymous     a process that cannot be read may change files, as one without an instance (refuse)
  id_variable=NAME           environment variable with the app instance's GUID (APP_INSTANCE_ID)
  version_variable=NAME      ... with its version, HIGH.LOW (APP_INSTANCE_VERSION)
  takeover_variable=NAME     ... with "no": never take over (APP_INSTANCE_TAKEOVER)
  attr_timeout=SECONDS       how long the kernel may believe attributes that nobody changed (1)
  entry_timeout=SECONDS      how long the kernel may believe names that nobody changed (0)
  log=FILE                   log there instead of to the journal (stderr with -f)
  log_level=LEVEL            debug, info, warning, error, critical, off (info)
  noexec, noatime, sync, ... as in mount(8)

End it with umount MOUNTPOINT, or fusermount3 -u MOUNTPOINT.
)";
}

}  // namespace baton
