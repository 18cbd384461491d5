// Logging: one line an event, to stderr or a file, through spdlog. Lines begin with the journal's level prefix
// (<3>..<7>, sd-daemon(3)) when stderr is the journal. Any thread.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

namespace baton::log {

template <class... Args>
void Debug(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::debug(format, std::forward<Args>(args)...);
}
template <class... Args>
void Info(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::info(format, std::forward<Args>(args)...);
}
template <class... Args>
void Warn(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::warn(format, std::forward<Args>(args)...);
}
template <class... Args>
void Error(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::error(format, std::forward<Args>(args)...);
}
template <class... Args>
void Critical(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::critical(format, std::forward<Args>(args)...);
}

// Call once from main before the first line. `file` empty: stderr. Returns false, with errno set, if the file cannot be
// opened.
bool Open(const std::string& program, const std::string& file, spdlog::level::level_enum level);
// The same to syslog(3), for a daemon without stderr.
void OpenSyslog(const std::string& program, spdlog::level::level_enum level);
void Flush();

}  // namespace baton::log
