#include "server/net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace baton::server {
namespace {

struct HostPort {
  std::string host;
  std::uint16_t port = kDefaultPort;
};

bool ParsePort(std::string_view text, std::uint16_t& port) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return !text.empty() && error == std::errc() && stop == end;
}

bool Split(std::string_view text, HostPort& out) {
  std::string_view host = text;
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (!rest.empty() && !rest.starts_with(':')) return false;
  } else if (std::ranges::count(text, ':') == 1) {  // more than one: an IPv6 address without a port
    host = text.substr(0, text.find(':'));
    rest = text.substr(text.find(':'));
  }
  out.host = host;
  return !host.empty() && (rest.empty() || ParsePort(rest.substr(1), out.port));
}

}  // namespace

Result<std::vector<SocketAddress>> ResolveAddress(std::string_view text) {
  HostPort wanted;
  if (!Split(text, wanted)) return Fail(EINVAL);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (::getaddrinfo(wanted.host.c_str(), std::to_string(wanted.port).c_str(), &hints, &list) != 0) {
    return Fail(EADDRNOTAVAIL);
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.size = entry->ai_addrlen;
  }
  ::freeaddrinfo(list);
  return addresses;
}

bool IsLoopback(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
    return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
  }
  if (address.storage.ss_family != AF_INET6) return false;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

bool IsLoopback(std::string_view text) {
  const auto addresses = ResolveAddress(text);
  return addresses && !addresses->empty() &&
         std::ranges::all_of(*addresses, [](const SocketAddress& address) { return IsLoopback(address); });
}

std::string HostOf(const SocketAddress& address) {
  char host[NI_MAXHOST];
  const auto* from = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::getnameinfo(from, address.size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0) return "unknown";
  return host;
}

std::string ToString(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
    return HostOf(address) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
  return "[" + HostOf(address) + "]:" + std::to_string(ntohs(v6.sin6_port));
}

}  // namespace baton::server
