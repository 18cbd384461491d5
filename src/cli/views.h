// How batond's answers look to people. Pure: objects in, text out. Names are made safe to show on a terminal.
#pragma once

#include <string>
#include <vector>

#include "cli/connection.h"

namespace baton::cli {

using Rows = std::vector<Json>;

std::string ShowStatus(const Rows& rows);
std::string ShowSessions(const Rows& rows);
std::string ShowInstances(const Rows& rows);
std::string ShowOpens(const Rows& rows);
std::string ShowLocks(const Rows& rows);
std::string ShowMountStatus(const Rows& rows);
std::string ShowEvents(const Rows& rows);

// Whether a mount says that it has its server.
bool IsLive(const Json& mount_status);

// A stream of events: widths are fixed, since what comes is not known.
std::string EventHeader();
std::string EventLine(const Json& event);

// 2026-11-23T06:49:31.123456Z as local time with milliseconds; anything else as it is.
std::string LocalTime(const std::string& iso);

}  // namespace baton::cli
