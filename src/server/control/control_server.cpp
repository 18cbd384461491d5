#include "server/control/control_server.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/state_dir.h"
#include "base/unix_address.h"
#include "server/control/control_loop.h"

namespace baton {
namespace {

tl::unexpected<std::string> Problem(const char* what, const std::filesystem::path& path, int error) {
  return tl::unexpected(
      fmt::format("cannot {} the control socket {}: {}", what, path.string(), std::strerror(error)));
}

// Removes what an earlier server left; nothing that is not a socket.
tl::expected<void, std::string> RemoveOld(const std::filesystem::path& path) {
  struct stat attr {};
  if (::lstat(path.c_str(), &attr) != 0) {
    if (errno == ENOENT) return {};
    return Problem("look at", path, errno);
  }
  if (!S_ISSOCK(attr.st_mode)) {
    return tl::unexpected(
        fmt::format("{} is in the way of the control socket and is no socket; move it away", path.string()));
  }
  if (::unlink(path.c_str()) != 0) return Problem("replace", path, errno);
  return {};
}

tl::expected<UniqueFd, std::string> Bind(const std::filesystem::path& path) {
  if (auto removed = RemoveOld(path); !removed) return tl::unexpected(removed.error());
  const auto address = MakeUnixAddress(path);
  if (!address) return Problem("name", path, address.error().value);
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return Problem("make", path, errno);
  if (::bind(listener.Get(), address->Get(), UnixAddress::kSize) != 0) return Problem("bind", path, errno);
  // Nobody gets in before listen(2).
  if (::chmod(path.c_str(), 0600) != 0) return Problem("set the mode of", path, errno);
  if (::listen(listener.Get(), 64) != 0) return Problem("listen on", path, errno);
  return listener;
}

}  // namespace

tl::expected<std::unique_ptr<ControlServer>, std::string> ControlServer::Start(
    const std::filesystem::path& state_dir, ControlBackend& backend, EventLog& events, Options options) {
  const std::filesystem::path path = ControlSocket(state_dir);
  auto listener = Bind(path);
  if (!listener) return tl::unexpected(listener.error());
  UniqueFd woken(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  UniqueFd appended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!woken || !appended) return Problem("make an eventfd for", path, errno);
  return std::unique_ptr<ControlServer>(new ControlServer(std::make_unique<Loop>(
      backend, events, options, std::move(*listener), std::move(woken), std::move(appended), path)));
}

ControlServer::ControlServer(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
ControlServer::~ControlServer() = default;

}  // namespace baton
