#include "cli/views.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/duration.h"
#include "base/text.h"
#include "cli/table.h"

namespace baton::cli {
namespace {

using Align = Table::Align;

// The member as text, whatever it is: another batond may answer otherwise than expected.
std::string Text(const Json& row, const char* key) {
  const auto at = row.find(key);
  if (at == row.end() || at->is_null()) return {};
  return Printable(at->is_string() ? at->get<std::string>() : at->dump());
}

std::int64_t Number(const Json& row, const char* key) {
  const auto at = row.find(key);
  return at != row.end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}

std::string Time(const Json& row, const char* key) {
  using std::chrono::microseconds;
  constexpr auto kMost = std::chrono::floor<microseconds>(Duration::max());
  return ToString(Duration(std::clamp(microseconds(Number(row, key)), -kMost, kMost)));
}

std::string Program(const Json& row) {
  const std::string program = Text(row, "program");
  const std::string pid = Text(row, "pid");
  if (program.empty() && (pid.empty() || pid == "0")) return {};
  return fmt::format("{}[{}]", program.empty() ? "?" : program, pid);
}

std::string YesNo(const Json& row, const char* key) {
  return Text(row, key) == "true" ? "yes" : "no";
}

std::string Epochs(const Json& event) {
  const auto before = Number(event, "old_epoch");
  const auto after = Number(event, "new_epoch");
  if (before == 0 && after == 0) return {};
  if (before == 0) return fmt::format("{}", after);
  if (after == 0) return fmt::format("{}", before);
  return fmt::format("{}->{}", before, after);
}

std::string Took(const Json& event) {
  return Number(event, "micros") == 0 ? "" : Time(event, "micros");
}

constexpr std::size_t kEventColumns = 12;
using EventCells = std::array<std::string, kEventColumns>;
constexpr std::array<std::pair<const char*, std::size_t>, kEventColumns> kEventHead{{{"TIME", 23},
                                                                                     {"KIND", 14},
                                                                                     {"GUID", 36},
                                                                                     {"EPOCH", 7},
                                                                                     {"FROM", 16},
                                                                                     {"TO", 16},
                                                                                     {"PROGRAM", 18},
                                                                                     {"HANDLES", 7},
                                                                                     {"LOCKS", 5},
                                                                                     {"TOOK", 7},
                                                                                     {"FILE", 24},
                                                                                     {"DETAIL", 0}}};

EventCells CellsOf(const Json& event) {
  return {LocalTime(Text(event, "time")),
          Text(event, "kind"),
          Text(event, "guid"),
          Epochs(event),
          Text(event, "from_node"),
          Text(event, "to_node"),
          Program(event),
          Text(event, "handles"),
          Text(event, "locks"),
          Took(event),
          Text(event, "file"),
          Text(event, "detail")};
}

std::string FixedLine(const EventCells& cells) {
  std::string line;
  for (std::size_t at = 0; at < cells.size(); ++at) {
    if (at > 0) line += "  ";
    line += Padded(cells[at].empty() ? "-" : cells[at], kEventHead[at].second);
  }
  return line + "\n";
}

std::string Range(const Json& lock) {
  const std::string last = Text(lock, "last");
  return fmt::format("{}-{}", Text(lock, "start"), last.empty() ? "end" : last);
}

}  // namespace

std::string LocalTime(const std::string& iso) {
  tm parts{};
  const char* rest = ::strptime(iso.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr || *rest != '.') return iso;
  const time_t seconds = ::timegm(&parts);
  tm local{};
  ::localtime_r(&seconds, &local);
  std::array<char, 32> text{};
  const std::size_t size = ::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
  return std::string(text.data(), size) + std::string(rest).substr(0, 4);
}

std::string ShowStatus(const Rows& rows) {
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<14}{}\n", name, value);
  };
  for (const Json& row : rows) {
    line("batond", fmt::format("{} (pid {}), up {}", Text(row, "version"), Text(row, "pid"),
                               Time(row, "uptime_micros")));
    line("export", Text(row, "export"));
    line("listen", Text(row, "listen"));
    line("state", Text(row, "state_dir"));
    line("rules",
         fmt::format("claim {}, reclaim scope {}, lease {}, reservation {}", Text(row, "claim"),
                     Text(row, "reclaim_scope"), Time(row, "lease_micros"), Time(row, "reservation_micros")));
    line("read-only", YesNo(row, "read_only"));
    line("squash root", YesNo(row, "squash_root"));
    line("sessions", fmt::format("{}, {} silent, {} connections", Text(row, "sessions"),
                                 Text(row, "silent_sessions"), Text(row, "connections")));
    line("instances", Text(row, "instances"));
    line("handles", Text(row, "handles"));
    line("locks", Text(row, "locks"));
    line("waiting", Text(row, "waiting"));
    line("since start", fmt::format("{} takeovers, {} refused, {} late", Text(row, "takeovers"),
                                    Text(row, "refused"), Text(row, "late")));
  }
  return text;
}

std::string ShowMountStatus(const Rows& rows) {
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<14}{}\n", name, value.empty() ? "-" : value);
  };
  const auto member = [](const Json& row, const char* key) {
    return row.contains(key) ? row[key] : Json::object();
  };
  for (const Json& row : rows) {
    const std::string trouble = Text(row, "trouble");
    const std::string refusal = Text(row, "refusal");
    const Json oldest = member(row, "oldest");
    line("mount point", Text(row, "mount_point"));
    line("batonfs", fmt::format("{} (pid {})", Text(row, "version"), Text(row, "pid")));
    line("node", Text(row, "node"));
    line("state", fmt::format("{} for {}{}{}", Text(row, "state"), Time(row, "since_micros"),
                              trouble.empty() ? "" : ": ", trouble));
    if (!refusal.empty()) line("refused", refusal + "; it is asked again, but will hardly change its mind");
    line("server", Text(row, "server"));
    line("addresses", Text(row, "servers"));
    line("session", Text(row, "session"));
    line("lease", Number(row, "lease_micros") == 0 ? "" : Time(row, "lease_micros"));
    line("waiting", oldest.empty() ? Text(row, "waiting")
                                   : fmt::format("{}, the oldest for {}: {} by {}", Text(row, "waiting"),
                                                 Time(oldest, "age_micros"), Text(oldest, "operation"),
                                                 Program(oldest)));
    line("fences", Text(row, "fences"));
    for (const Json& fence : member(row, "fence_list")) {
      line("", fmt::format("{} up to epoch {}", Text(fence, "guid"), Text(fence, "epoch")));
    }
    std::string options;
    const Json chosen = member(row, "options");
    for (const auto& [name, value] : chosen.items()) {
      options +=
          fmt::format("{}{}={}", options.empty() ? "" : ", ", Printable(name), Text(chosen, name.c_str()));
    }
    line("options", options);
  }
  return text;
}

bool IsLive(const Json& mount_status) {
  const auto state = mount_status.find("state");
  return state != mount_status.end() && *state == "live";
}

std::string ShowSessions(const Rows& rows) {
  Table table(
      {{"NODE"}, {"MOUNT"}, {"STATE"}, {"HANDLES", Align::kRight}, {"LAST HEARD", Align::kRight}, {"PEER"}});
  for (const Json& row : rows) {
    table.Add({Text(row, "node"), Text(row, "mount_point"), Text(row, "state"), Text(row, "handles"),
               Time(row, "silent_micros") + " ago", Text(row, "peer")});
  }
  return table.Text();
}

std::string ShowInstances(const Rows& rows) {
  Table table({{"GUID"},
               {"STATE"},
               {"NODE"},
               {"EPOCH", Align::kRight},
               {"VERSION", Align::kRight},
               {"OWNER", Align::kRight},
               {"HANDLES", Align::kRight},
               {"LOCKS", Align::kRight},
               {"RESERVED", Align::kRight}});
  for (const Json& row : rows) {
    table.Add({Text(row, "guid"), Text(row, "state"), Text(row, "node"), Text(row, "epoch"),
               Text(row, "version"), Text(row, "owner"), Text(row, "handles"), Text(row, "locks"),
               Text(row, "reservations")});
  }
  return table.Text();
}

std::string ShowOpens(const Rows& rows) {
  Table table({{"MODE"},
               {"NODE"},
               {"GUID"},
               {"EPOCH", Align::kRight},
               {"UID", Align::kRight},
               {"PROGRAM"},
               {"PATH"}});
  for (const Json& row : rows) {
    table.Add({Text(row, "mode"), Text(row, "node"), Text(row, "guid"), Text(row, "epoch"), Text(row, "uid"),
               Program(row), Text(row, "path")});
  }
  return table.Text();
}

std::string ShowLocks(const Rows& rows) {
  Table table({{"STATE"}, {"KIND"}, {"TYPE"}, {"RANGE"}, {"NODE"}, {"GUID"}, {"PROGRAM"}, {"PATH"}});
  for (const Json& row : rows) {
    table.Add({Text(row, "state"), Text(row, "kind"), Text(row, "type"), Range(row), Text(row, "node"),
               Text(row, "guid"), Program(row), Text(row, "path")});
  }
  return table.Text();
}

std::string ShowEvents(const Rows& rows) {
  std::vector<Table::Column> columns;
  for (const auto& [head, width] : kEventHead) columns.push_back({head});
  Table table(std::move(columns));
  for (const Json& row : rows) {
    EventCells cells = CellsOf(row);
    table.Add(std::vector<std::string>(cells.begin(), cells.end()));
  }
  return table.Text();
}

std::string EventHeader() {
  EventCells cells;
  for (std::size_t at = 0; at < cells.size(); ++at) cells[at] = kEventHead[at].first;
  return FixedLine(cells);
}

std::string EventLine(const Json& event) {
  return FixedLine(CellsOf(event));
}

}  // namespace baton::cli
