// baton register and unregister: through the ioctl of the mount's root directory.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/guid.h"
#include "base/register_ioctl.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "cli/exit_codes.h"
#include "cli/identity.h"

namespace baton::cli {
namespace {

int Complain(int code, const std::string& message) {
  fmt::print(stderr, "baton: {}\n", message);
  return code;
}

std::string WhyNot(int error, const std::string& mount_point, std::int32_t pid) {
  const std::string shown = Printable(mount_point);
  switch (error) {
    case ENOTTY:
    case ENOSYS:
    case EOPNOTSUPP:
    case EINVAL:
      return fmt::format("{} is not the root directory of a batonfs mount", shown);
    case ESRCH:
      return fmt::format("there is no process {} (as the mount at {} counts them)", pid, shown);
    case EPERM:
    case EACCES:
      return fmt::format("process {} is not yours: only root may register another user's", pid);
    case ENODATA:
      return fmt::format("process {} is not registered at {}", pid, shown);
    case ESTALE:
      return fmt::format("process {} belongs to a fenced incarnation", pid);
    default:
      return fmt::format("{}: {}", shown, std::strerror(error));
  }
}

int Send(RegisterIoctl request, const RegisterOptions& options) {
  request.pid = options.pid.value_or(::getppid());
  const UniqueFd root(::open(options.mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) {
    return Complain(kFailed,
                    fmt::format("cannot open {}: {}", Printable(options.mount_point), std::strerror(errno)));
  }
  if (::ioctl(root.Get(), kRegisterIoctl, &request) == 0) return kOk;
  return Complain(kFailed, WhyNot(errno, options.mount_point, request.pid));
}

}  // namespace

int Register(const RegisterOptions& options) {
  const auto guid = ParseGuid(options.guid);
  if (!guid) {
    return Complain(kUsage,
                    fmt::format("\"{}\" is no GUID: it has 8-4-4-4-12 hexadecimal digits and is not nil",
                                Printable(options.guid)));
  }
  RegisterIoctl request{};
  std::ranges::copy(ToString(*guid), request.guid);
  if (!options.version.empty()) {
    const auto version = ParseInstanceVersion(options.version);
    if (!version) {
      return Complain(kUsage, fmt::format("--version: \"{}\" is no version: write HIGH.LOW or HIGH, decimal",
                                          Printable(options.version)));
    }
    std::ranges::copy(ToString(*version), request.version);
  }
  return Send(request, options);
}

int Unregister(const RegisterOptions& options) {
  return Send(RegisterIoctl{}, options);
}

}  // namespace baton::cli
