#include "cli/query.h"

#include <fmt/format.h>
#include <time.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string_view>

#include "base/duration.h"
#include "base/guid.h"
#include "base/text.h"
#include "cli/connection.h"
#include "cli/exit_codes.h"
#include "cli/views.h"

namespace baton::cli {
namespace {

int Complain(int code, const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "baton: {}\n", message);
  return code;
}

bool Write(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
}

// Asks, and gives each object of the answer, as sent and as read, to `take`. Answers the exit code.
int Converse(const QueryOptions& options, const Json& request,
             const std::function<bool(const std::string& line, Json object)>& take) {
  if (options.state_dir.empty())
    return Complain(kUsage, "there is no default state directory without HOME: name one with --state-dir");
  auto connection = ControlConnection::Open(options.state_dir);
  if (!connection) return Complain(kUnreachable, connection.error());
  connection->Ask(request);  // if batond went away, Next says so, or has the reason that it gave
  while (const auto line = connection->Next()) {
    Json object = Json::parse(*line, nullptr, false);
    if (!object.is_object())
      return Complain(kFailed, "batond sent something that is not understood: " + Printable(*line));
    if (object.contains("done"))
      return std::fflush(stdout) == 0 ? kOk : Complain(kFailed, std::strerror(errno));
    if (const auto error = object.find("error"); error != object.end()) {
      const std::string why = object.contains("message") && object["message"].is_string()
                                  ? object["message"].get<std::string>()
                                  : error->dump();
      return Complain(kFailed, Printable(why));
    }
    if (const auto lost = object.find("lost"); lost != object.end()) {
      Complain(kOk, fmt::format("{} events were lost: they came faster than they were read", lost->dump()));
    } else if (!take(*line, std::move(object))) {
      return Complain(kFailed, fmt::format("cannot write: {}", std::strerror(errno)));
    }
  }
  return Complain(kUnreachable, "batond ended the connection before the answer was complete");
}

int List(const QueryOptions& options, const Json& request, std::string (*show)(const Rows&)) {
  Rows rows;
  const int code = Converse(options, request, [&](const std::string& line, Json object) {
    if (options.json) return Write(line + "\n");
    rows.push_back(std::move(object));
    return true;
  });
  if (code != kOk || options.json) return code;
  if (!Write(show(rows)) || std::fflush(stdout) != 0) {
    return Complain(kFailed, fmt::format("cannot write: {}", std::strerror(errno)));
  }
  return kOk;
}

Json WithPath(const char* command, const std::optional<std::string>& path) {
  Json request{{"command", command}};
  if (path) request["path"] = *path;
  return request;
}

// Microseconds since 1970.
std::optional<std::int64_t> ParseSince(const std::string& text) {
  using std::chrono::microseconds;
  if (const auto ago = ParseDuration(text)) {
    const auto then = std::chrono::system_clock::now() - *ago;
    return std::chrono::floor<microseconds>(then.time_since_epoch()).count();
  }
  tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  std::string_view tail = rest;
  std::int64_t micros = 0;
  if (tail.starts_with('.')) {
    const auto digits = tail.substr(1, tail.find_first_not_of("0123456789", 1) - 1);
    if (digits.empty() || digits.size() > 6) return std::nullopt;
    std::from_chars(digits.data(), digits.data() + digits.size(), micros);
    for (std::size_t at = digits.size(); at < 6; ++at) micros *= 10;
    tail.remove_prefix(digits.size() + 1);
  }
  const bool utc = tail == "Z";
  if (!utc && !tail.empty()) return std::nullopt;
  parts.tm_isdst = -1;
  const time_t seconds = utc ? ::timegm(&parts) : ::mktime(&parts);
  return std::int64_t{seconds} * 1'000'000 + micros;
}

int Follow(const QueryOptions& options, const Json& request) {
  if (!options.json && (!Write(EventHeader()) || std::fflush(stdout) != 0)) return kFailed;
  return Converse(options, request, [&](const std::string& line, const Json& object) {
    return Write(options.json ? line + "\n" : EventLine(object)) && std::fflush(stdout) == 0;
  });
}

}  // namespace

int Status(const QueryOptions& options) {
  return List(options, {{"command", "status"}}, ShowStatus);
}
int Sessions(const QueryOptions& options) {
  return List(options, {{"command", "sessions"}}, ShowSessions);
}
int Instances(const QueryOptions& options) {
  return List(options, {{"command", "instances"}}, ShowInstances);
}

int Opens(const QueryOptions& options, const std::optional<std::string>& path) {
  return List(options, WithPath("opens", path), ShowOpens);
}

int Locks(const QueryOptions& options, const std::optional<std::string>& path) {
  return List(options, WithPath("locks", path), ShowLocks);
}

int Events(const QueryOptions& options, const EventsOptions& events) {
  Json request{{"command", "events"}, {"follow", events.follow}};
  if (!events.since.empty()) {
    const auto since = ParseSince(events.since);
    if (!since) {
      return Complain(kUsage, fmt::format("--since: \"{}\" is neither a duration before now (10m) nor a time "
                                          "(2026-11-23T06:49:31, with Z for UTC)",
                                          Printable(events.since)));
    }
    request["since"] = *since;
  }
  return events.follow ? Follow(options, request) : List(options, request, ShowEvents);
}

int BackUpState(const QueryOptions& options, const std::string& file, bool force) {
  std::error_code error;
  const std::string path = std::filesystem::absolute(file, error).string();
  if (error) return Complain(kFailed, fmt::format("cannot name {}: {}", Printable(file), error.message()));
  const Json request{{"command", "backup-state"}, {"file", path}, {"force", force}};
  return Converse(options, request, [&](const std::string& line, const Json&) {
    return Write(options.json ? line + "\n" : fmt::format("the state is saved in {}\n", Printable(path)));
  });
}

int ChangeInstance(const QueryOptions& options, const std::string& command, const std::string& text) {
  const auto guid = ParseGuid(text);
  if (!guid) {
    return Complain(kUsage,
                    fmt::format("\"{}\" is no GUID: it has 8-4-4-4-12 hexadecimal digits and is not nil",
                                Printable(text)));
  }
  const std::string name = ToString(*guid);
  const Json request{{"command", command}, {"guid", name}};
  return Converse(options, request, [&](const std::string& line, const Json&) {
    if (options.json) return Write(line + "\n");
    if (command == "fence") return Write(fmt::format("{} is fenced\n", name));
    if (command == "reset") return Write(fmt::format("{}: the recorded version is cleared\n", name));
    return Write(fmt::format("{} is forgotten\n", name));
  });
}

}  // namespace baton::cli
