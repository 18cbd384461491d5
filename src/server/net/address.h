// Listening addresses as text: "ADDR:PORT", "[V6]:PORT", "HOST:PORT", or any of them without a port. Pure but
// for name resolution, which may block: for the start of the program only.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace baton::server {

inline constexpr std::uint16_t kDefaultPort = 7740;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// Every address that `text` stands for. EINVAL: it does not parse. EADDRNOTAVAIL: no such host.
Result<std::vector<SocketAddress>> ResolveAddress(std::string_view text);

bool IsLoopback(const SocketAddress& address);
// True only if all that `text` stands for is loopback (rule A2).
bool IsLoopback(std::string_view text);

std::string ToString(const SocketAddress& address);
// The same without the port.
std::string HostOf(const SocketAddress& address);

}  // namespace baton::server
