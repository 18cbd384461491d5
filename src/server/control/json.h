// What the control socket says, as JSON objects. Their keys are an interface for people's scripts: they are
// only ever added to, and an event has exactly those that its test names. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "server/service/control_backend.h"
#include "server/service/event_log.h"

namespace baton {

using Json = nlohmann::ordered_json;  // as written here: the reader sees what matters first

Json ToJson(const LoggedEvent& logged);
Json ToJson(const StatusInfo& status);
Json ToJson(const SessionRow& row);
Json ToJson(const InstanceInfo& info);
Json ToJson(const OpenInfo& info);
Json ToJson(const LockInfo& info);

// ISO 8601, UTC, microseconds: 2026-11-23T06:49:31.123456Z.
std::string IsoTime(WallTime time);

// One line with its newline. What is not UTF-8 (file names may be anything) comes as U+FFFD.
std::string ToLine(const Json& json);

}  // namespace baton
