// Where batond may be reached: HOST[:PORT] as the user wrote it, and the socket addresses behind it. Names
// are resolved on threads of their own, never on the one that answers requests. Not a connection: see
// connection.h.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace baton {

inline constexpr std::uint16_t kDefaultPort = 7740;

struct Endpoint {
  std::string host;  // a name or a numeric address, without brackets
  std::uint16_t port = kDefaultPort;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// "HOST", "HOST:PORT", "[V6]", "[V6]:PORT"; IPv6 addresses may also stand without brackets and port.
std::string ToString(const Endpoint& endpoint);

// A list of the above, with commas: "HOST[:PORT][,HOST2...]". EINVAL if one does not parse or the list is
// empty.
Result<std::vector<Endpoint>> ParseEndpoints(std::string_view list);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  std::string text;  // for people: the numeric address and port
};

// The addresses of a list of endpoints, in its order. Any thread.
class AddressBook {
 public:
  explicit AddressBook(std::vector<Endpoint> endpoints);
  ~AddressBook();
  AddressBook(const AddressBook&) = delete;
  AddressBook& operator=(const AddressBook&) = delete;

  struct Listing {
    std::vector<SocketAddress> addresses;
    bool complete = false;  // every endpoint has been looked up once
    std::string error;      // why an endpoint has no address; empty: all have one
  };
  // What is known now; never blocks. Addresses once found are kept when a later look-up fails.
  Listing Get() const;
  // Begins to look the names up again, unless that is under way or all are numeric.
  void Refresh();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the resolving thread, which may outlive the book
};

}  // namespace baton
