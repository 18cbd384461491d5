#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

namespace baton::log {
namespace {

// The journal's level prefix: "<6>" and so on, sd-daemon(3).
class JournalLevel : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    static constexpr const char* kPrefix[] = {"<7>", "<7>", "<6>", "<4>", "<3>", "<2>", "<6>"};
    const char* prefix = kPrefix[message.level];
    out.append(prefix, prefix + 3);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalLevel>(); }
};

spdlog::level::level_enum Of(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kCritical:
      return spdlog::level::critical;
    case Level::kOff:
      break;
  }
  return spdlog::level::off;
}

}  // namespace

bool IsWanted(Level level) { return spdlog::should_log(Of(level)); }
void Write(Level level, std::string_view line) {
  spdlog::log(Of(level), spdlog::string_view_t(line.data(), line.size()));
}

bool Open(const std::string& program, const std::string& file, Level level) try {
  std::shared_ptr<spdlog::logger> logger;
  if (file.empty()) {
    logger = std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  } else {
    logger = std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::basic_file_sink_mt>(file));
  }
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (file.empty() && std::getenv("JOURNAL_STREAM") != nullptr) {
    formatter->add_flag<JournalLevel>('*').set_pattern("%*%v");
  } else {
    formatter->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %n[%P] %l: %v");
  }
  logger->set_formatter(std::move(formatter));
  logger->set_level(Of(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return true;
} catch (const spdlog::spdlog_ex&) {
  if (errno == 0) errno = EIO;
  return false;
}

void OpenSyslog(const std::string& program, Level level) {
  auto sink = std::make_shared<spdlog::sinks::syslog_sink_mt>(program, LOG_PID, LOG_DAEMON, false);
  auto logger = std::make_shared<spdlog::logger>(program, std::move(sink));
  logger->set_level(Of(level));
  spdlog::set_default_logger(std::move(logger));
}

void Flush() { spdlog::default_logger_raw()->flush(); }

}  // namespace baton::log
