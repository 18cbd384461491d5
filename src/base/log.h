// Logging: one line an event, to stderr or a file, through spdlog. Lines begin with the journal's level prefix
// (<3>..<7>, sd-daemon(3)) when stderr is the journal. Any thread.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace baton::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError, kCritical, kOff };

// What is less than the level given to Open is not formatted.
bool IsWanted(Level level);
void Write(Level level, std::string_view line);

template <class... Args>
void Format(Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (IsWanted(level)) Write(level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  Format<Args...>(Level::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  Format<Args...>(Level::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void Warn(fmt::format_string<Args...> format, Args&&... args) {
  Format<Args...>(Level::kWarn, format, std::forward<Args>(args)...);
}
template <class... Args>
void Error(fmt::format_string<Args...> format, Args&&... args) {
  Format<Args...>(Level::kError, format, std::forward<Args>(args)...);
}
template <class... Args>
void Critical(fmt::format_string<Args...> format, Args&&... args) {
  Format<Args...>(Level::kCritical, format, std::forward<Args>(args)...);
}

// Call once from main before the first line. `file` empty: stderr. Returns false, with errno set, if the file cannot be
// opened.
bool Open(const std::string& program, const std::string& file, Level level);
// The same to syslog(3), for a daemon without stderr.
void OpenSyslog(const std::string& program, Level level);
void Flush();

}  // namespace baton::log
