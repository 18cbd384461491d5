#include "fuse/identity/registration.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <vector>

namespace baton {
namespace {

std::vector<std::string_view> Fields(std::string_view text) {
  std::vector<std::string_view> fields;
  while (true) {
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(' ')));
    if (text.empty()) return fields;
    fields.push_back(text.substr(0, text.find(' ')));
    text.remove_prefix(fields.back().size());
  }
}

std::optional<pid_t> ParsePid(std::string_view text) {
  pid_t pid = 0;
  const char* end = text.data() + text.size();
  std::from_chars_result result = std::from_chars(text.data(), end, pid);
  if (result.ec != std::errc() || result.ptr != end || pid <= 0 || text.front() == '+') return std::nullopt;
  return pid;
}

template <std::size_t kRoom>
std::string_view TextIn(const char (&field)[kRoom]) {
  return {field, ::strnlen(field, kRoom)};
}

}  // namespace

Result<Registration> ParseRegistration(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<std::string_view> fields = Fields(text);
  if (fields.empty() || fields.size() > 3) return Fail(EINVAL);
  std::optional<Guid> guid = ParseGuid(fields[0]);
  if (!guid) return Fail(EINVAL);
  Registration registration{.guid = *guid};
  std::size_t next = 1;
  if (fields.size() == 3 || (fields.size() == 2 && fields[1].find('.') != std::string_view::npos)) {
    registration.version = ParseInstanceVersion(fields[next++]);
    if (!registration.version) return Fail(EINVAL);
  }
  if (next < fields.size()) {
    std::optional<pid_t> pid = ParsePid(fields[next]);
    if (!pid) return Fail(EINVAL);
    registration.pid = *pid;
  }
  return registration;
}

Result<Registration> ParseRegistration(const RegisterIoctl& wanted) {
  const auto guid = ParseGuid(TextIn(wanted.guid));
  if (!guid || wanted.pid < 0) return Fail(EINVAL);
  Registration registration{.guid = *guid, .version = std::nullopt, .pid = wanted.pid};
  if (TextIn(wanted.version).empty()) return registration;
  registration.version = ParseInstanceVersion(TextIn(wanted.version));
  if (!registration.version) return Fail(EINVAL);
  return registration;
}

}  // namespace baton
