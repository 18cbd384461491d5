// baton mount-status: what a mount on this node says of itself (base/status_xattr.h). It asks neither batond
// nor, by the way to the mount point, the mount: so it answers while everything else there waits.
#include <fmt/format.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "base/status_xattr.h"
#include "base/text.h"
#include "cli/exit_codes.h"
#include "cli/query.h"
#include "cli/views.h"

namespace baton::cli {
namespace {

int Complain(int code, const std::string& message) {
  fmt::print(stderr, "baton: {}\n", message);
  return code;
}

// The kernel asks the mount about "." and "mnt/..", and about nothing when an absolute path ends at the mount
// point.
std::string WithoutAsking(const std::string& path) {
  std::error_code error;
  const auto here = std::filesystem::current_path(error);
  if (error) return path;
  const std::string whole = (here / path).lexically_normal().string();
  return whole.size() > 1 && whole.ends_with('/') ? whole.substr(0, whole.size() - 1) : whole;
}

std::string WhyNot(int error, const std::string& mount_point) {
  const std::string shown = Printable(mount_point);
  switch (error) {
    case EOPNOTSUPP:
    case ENODATA:
      return fmt::format("{} is not the root directory of a batonfs mount", shown);
    case ENOTCONN:
    case ECONNABORTED:
      return fmt::format("{}: the mount has died or was aborted; umount -l it and mount it again", shown);
    case EACCES:
      return fmt::format("{} is another user's private mount", shown);
    default:
      return fmt::format("{}: {}", shown, std::strerror(error));
  }
}

}  // namespace

int MountStatus(const QueryOptions& options, const std::string& mount_point) {
  std::array<char, 64 * 1024> value;
  const ssize_t size =
      ::getxattr(WithoutAsking(mount_point).c_str(), kStatusXattr, value.data(), value.size());
  if (size < 0) return Complain(kFailed, WhyNot(errno, mount_point));
  const std::string line(value.data(), static_cast<std::size_t>(size));
  Json status = Json::parse(line, nullptr, false);
  if (!status.is_object())
    return Complain(kFailed, "the mount said something that is not understood: " + Printable(line));
  const bool live = IsLive(status);
  const std::string text = options.json ? line + "\n" : ShowMountStatus({std::move(status)});
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Complain(kFailed, fmt::format("cannot write: {}", std::strerror(errno)));
  }
  return live ? kOk : kUnreachable;
}

}  // namespace baton::cli
