#include "cli/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/state_dir.h"
#include "base/unix_address.h"

namespace baton::cli {
namespace {

std::string Unreachable(const std::filesystem::path& socket, int error) {
  const char* hint =
      error == EACCES || error == EPERM
          ? "only root and the user of batond may ask it"
          : "is batond running here? If it has another state directory, name it: baton --state-dir DIR ...";
  return fmt::format("cannot reach batond at {}: {}; {}", socket.string(), std::strerror(error), hint);
}

}  // namespace

tl::expected<ControlConnection, std::string> ControlConnection::Open(const std::filesystem::path& state_dir) {
  const std::filesystem::path path = ControlSocket(state_dir);
  const auto address = MakeUnixAddress(path);
  if (!address) return tl::unexpected(Unreachable(path, address.error().value));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.Get(), address->Get(), UnixAddress::kSize) != 0) {
    return tl::unexpected(Unreachable(path, errno));
  }
  return ControlConnection(std::move(socket));
}

bool ControlConnection::Ask(const Json& request) {
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t wrote = ::send(socket_.Get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    sent += static_cast<std::size_t>(wrote);
  }
  return true;
}

std::optional<std::string> ControlConnection::Next() {
  while (true) {
    const std::size_t end = buffer_.find('\n', read_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(read_, end - read_);
      read_ = end + 1;
      return line;
    }
    buffer_.erase(0, std::exchange(read_, 0));
    std::array<char, 64 * 1024> bytes;
    const ssize_t got = ::recv(socket_.Get(), bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    buffer_.append(bytes.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace baton::cli
