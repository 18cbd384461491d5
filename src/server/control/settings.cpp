#include "server/control/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "base/duration.h"
#include "base/name_patterns.h"
#include "base/text.h"

namespace baton {
namespace {

using Text = std::string_view;
using Kind = Setting::Kind;

std::optional<std::uint64_t> ParseNumber(Text text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <class Number>
std::string ReadNumber(Text text, std::uint64_t least, std::uint64_t most, Number& to) {
  const auto number = ParseNumber(text);
  if (!number || *number < least || *number > most) {
    return fmt::format("\"{}\" is not a whole number from {} to {}", text, least, most);
  }
  to = static_cast<Number>(*number);
  return {};
}

std::string ReadDuration(Text text, Duration least, Duration most, Duration& to) {
  const auto duration = ParseDuration(text);
  if (!duration) return duration.error();
  if (*duration < least || *duration > most) {
    return fmt::format("{} is not between {} and {}", text, ToString(least), ToString(most));
  }
  to = *duration;
  return {};
}

std::string ReadFlag(Text text, bool& to) {
  to = text == "true";
  return {};
}

template <class Value, std::size_t N>
std::string ReadWord(Text text, const std::array<std::pair<Text, Value>, N>& words, Value& to) {
  std::string all;
  for (const auto& [word, value] : words) {
    if (word == text) {
      to = value;
      return {};
    }
    all += (all.empty() ? "" : ", ") + std::string(word);
  }
  return fmt::format("\"{}\" is not one of {}", text, all);
}

std::string ReadPath(Text text, std::filesystem::path& to) {
  if (text.empty()) return "the path is empty";
  to = text;
  return {};
}

std::string ReadPatterns(Text text, std::vector<std::string>& to) {
  to.clear();
  for (; !text.empty(); text.remove_prefix(text.find('\0') + 1)) {
    to.emplace_back(text.substr(0, text.find('\0')));
    if (std::string why = NamePatterns::Check(to.back()); !why.empty()) {
      return fmt::format("\"{}\": {}", Printable(to.back()), why);
    }
  }
  return to.size() <= NamePatterns::kMost ? std::string()
                                          : fmt::format("more than {} patterns", NamePatterns::kMost);
}

std::string ReadListen(Text text, ListenAddress& to) {
  Text host = text;
  Text port;
  const auto wrong = [&] {
    return fmt::format("\"{}\" is no address: write ADDR:PORT, for example 127.0.0.1:7740 or [::1]:7740",
                       text);
  };
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == Text::npos) return wrong();
    host = text.substr(1, end - 1);
    const Text rest = text.substr(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return wrong();
    if (!rest.empty()) port = rest.substr(1);
    if (!rest.empty() && port.empty()) return wrong();
  } else if (const auto colon = text.find(':'); colon != Text::npos) {
    if (text.find(':', colon + 1) != Text::npos) return wrong() + " (IPv6 needs brackets)";
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return wrong();
  }
  if (host.empty()) return wrong();
  to = {std::string(host), ListenAddress().port};
  if (port.empty()) return {};
  const auto number = ParseNumber(port);
  if (!number || *number > std::numeric_limits<std::uint16_t>::max()) return wrong();
  to.port = static_cast<std::uint16_t>(*number);
  return {};
}

constexpr std::array<std::pair<Text, ClaimMode>, 3> kClaims{
    {{"write", ClaimMode::kWrite}, {"exclusive", ClaimMode::kExclusive}, {"none", ClaimMode::kNone}}};
constexpr std::array<std::pair<Text, ReclaimScope>, 2> kScopes{
    {{"instance", ReclaimScope::kInstance}, {"file", ReclaimScope::kFile}}};
constexpr std::array<std::pair<Text, log::Level>, 4> kLevels{{{"debug", log::Level::kDebug},
                                                              {"info", log::Level::kInfo},
                                                              {"warn", log::Level::kWarn},
                                                              {"error", log::Level::kError}}};

constexpr Duration kMillisecond = std::chrono::milliseconds(1);
constexpr Duration kDay = std::chrono::hours(24);

constexpr Setting kSettings[] = {
    {"export", Kind::kText, "DIR", "the directory to serve (required)",
     [](Text text, Config& config) { return ReadPath(text, config.export_dir); }},
    {"listen", Kind::kText, "ADDR:PORT",
     "where to listen; port 0 takes any free one (default: 127.0.0.1:7740)",
     [](Text text, Config& config) { return ReadListen(text, config.listen); }},
    {"state-dir", Kind::kText, "DIR",
     "where the state and the control socket are (default: /var/lib/batond for root, else "
     "~/.local/state/batond)",
     [](Text text, Config& config) { return ReadPath(text, config.state_dir); }},
    {"lease", Kind::kText, "TIME",
     "how long a silent session's state is kept against the world (default: 10s)",
     [](Text text, Config& config) { return ReadDuration(text, 100 * kMillisecond, kDay, config.lease); }},
    {"reservation", Kind::kText, "TIME",
     "how long what a dead instance held is kept for its next incarnation; 0 for not at all (default: the "
     "lease)",
     [](Text text, Config& config) {
       return ReadDuration(text, Duration::zero(), kDay, config.reservation);
     }},
    {"claim", Kind::kText, "write|exclusive|none",
     "what an instance's open for writing excludes: strangers' writing, their reading too, or nothing "
     "(default: write)",
     [](Text text, Config& config) { return ReadWord(text, kClaims, config.claim); }},
    {"reclaim-scope", Kind::kText, "instance|file",
     "what a takeover fences: all files of the old incarnation, or only the one opened (default: instance)",
     [](Text text, Config& config) { return ReadWord(text, kScopes, config.reclaim_scope); }},
    {"strict", Kind::kFlag, "",
     "an instance may not claim a file that a caller without an instance has open for writing",
     [](Text text, Config& config) { return ReadFlag(text, config.strict); }},
    {"flap-limit", Kind::kNumber, "N",
     "takeovers of one instance within the window before they are refused; 0: no limit "
     "(default: 3)",
     [](Text text, Config& config) { return ReadNumber(text, 0, 1'000'000, config.flap_limit); }},
    {"flap-window", Kind::kText, "TIME", "that window, and how long they are refused then (default: 60s)",
     [](Text text, Config& config) { return ReadDuration(text, kMillisecond, kDay, config.flap_window); }},
    {"forget-after", Kind::kText, "TIME",
     "how long an instance that nobody uses stays on record (default: 30d)",
     [](Text text, Config& config) {
       return ReadDuration(text, std::chrono::hours(1), 3650 * kDay, config.forget_after);
     }},
    {"stale-locks", Kind::kList, "PATTERN",
     "names of lock files that an instance's new incarnation may create with O_EXCL although an earlier one "
     "left them behind; "
     "fnmatch(3) on the last component, may be repeated (default: none)",
     [](Text text, Config& config) { return ReadPatterns(text, config.stale_locks); }},
    {"squash-root", Kind::kFlag, "", "root of a node is nobody here",
     [](Text text, Config& config) { return ReadFlag(text, config.squash_root); }},
    {"read-only", Kind::kFlag, "", "refuse every change",
     [](Text text, Config& config) { return ReadFlag(text, config.read_only); }},
    {"insecure", Kind::kFlag, "", "listen on other addresses than loopback although there is no TLS",
     [](Text text, Config& config) { return ReadFlag(text, config.insecure); }},
    {"boot-id-file", Kind::kText, "FILE",
     "which boot of this machine it is; for tests (default: /proc/sys/kernel/random/boot_id)",
     [](Text text, Config& config) { return ReadPath(text, config.boot_id_file); }},
    {"log-level", Kind::kText, "debug|info|warn|error", "what is logged to stderr (default: info)",
     [](Text text, Config& config) { return ReadWord(text, kLevels, config.log_level); }},
};

template <std::size_t kAt>
std::string ReadLimit(Text text, Config& config) {
  constexpr Limit kLimit = kLimits[kAt];
  return ReadNumber(text, kLimit.least, kLimit.most, config.limits.*kLimit.field);
}

// What --help says of each; kept for as long as the program runs.
const std::string& HelpOf(const Limit& limit) {
  static const auto* texts = [] {
    auto* made = new std::map<Text, std::string>;
    for (const Limit& each : kLimits) {
      (*made)[each.name] = fmt::format("{} (default: {})", each.what, Limits().*each.field);
    }
    return made;
  }();
  return texts->at(limit.name);
}

template <std::size_t... kAt>
std::vector<Setting> LimitSettings(std::index_sequence<kAt...>) {
  return {Setting{kLimits[kAt].name, Kind::kNumber, kLimits[kAt].value, HelpOf(kLimits[kAt]).c_str(), &ReadLimit<kAt>}...};
}

}  // namespace

std::span<const Setting> AllSettings() {
  static const std::vector<Setting> settings = [] {
    std::vector<Setting> all(std::begin(kSettings), std::end(kSettings));
    const auto limits = LimitSettings(std::make_index_sequence<std::size(kLimits)>());
    all.insert(all.end() - 1, limits.begin(), limits.end());
    return all;
  }();
  return settings;
}

const Setting* FindSetting(std::string_view name) {
  const auto all = AllSettings();
  const auto at = std::ranges::find_if(all, [&](const Setting& setting) { return name == setting.name; });
  return at == all.end() ? nullptr : &*at;
}

std::string ToString(const ListenAddress& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port)
            : fmt::format("{}:{}", address.host, address.port);
}

}  // namespace baton
