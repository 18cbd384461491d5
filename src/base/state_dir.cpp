#include "base/state_dir.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace baton {
namespace {

// As the XDG base directory specification has it: a relative path there is ignored.
std::filesystem::path AbsoluteFrom(const char* variable) {
  const char* value = std::getenv(variable);
  std::filesystem::path path = value == nullptr ? "" : value;
  return path.is_absolute() ? path : std::filesystem::path();
}

}  // namespace

std::filesystem::path DefaultStateDir() {
  if (::geteuid() == 0) return "/var/lib/batond";
  if (const auto state = AbsoluteFrom("XDG_STATE_HOME"); !state.empty()) return state / "batond";
  if (const auto home = AbsoluteFrom("HOME"); !home.empty()) return home / ".local/state/batond";
  const passwd* user = ::getpwuid(::geteuid());
  if (user == nullptr || user->pw_dir == nullptr || user->pw_dir[0] != '/') return {};
  return std::filesystem::path(user->pw_dir) / ".local/state/batond";
}

}  // namespace baton
