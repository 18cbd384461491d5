#include "fuse/net/endpoint.h"

#include <netdb.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <mutex>
#include <thread>

namespace baton {
namespace {

std::string Bracketed(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool ParsePort(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

Result<Endpoint> ParseEndpoint(std::string_view text) {
  Endpoint endpoint;
  std::string_view rest;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == text.npos) return Fail(EINVAL);
    endpoint.host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
  } else if (std::ranges::count(text, ':') == 1) {
    endpoint.host = text.substr(0, text.find(':'));
    rest = text.substr(text.find(':'));
  } else {
    endpoint.host = text;
  }
  if (!rest.empty() && (rest[0] != ':' || !ParsePort(rest.substr(1), endpoint.port))) return Fail(EINVAL);
  const auto blank = [](unsigned char c) { return c <= ' '; };
  if (endpoint.host.empty() || std::ranges::any_of(endpoint.host, blank)) return Fail(EINVAL);
  return endpoint;
}

// One endpoint's addresses; `error` says why there are none.
std::vector<SocketAddress> LookUp(const Endpoint& endpoint, int flags, std::string& error) {
  addrinfo hints{};
  hints.ai_flags = flags | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int result =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (result != 0) {
    const char* why = result == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(result);
    error = "cannot resolve " + endpoint.host + ": " + why;
    return {};
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    address.size = info->ai_addrlen;
    char numeric[NI_MAXHOST] = "";
    getnameinfo(info->ai_addr, info->ai_addrlen, numeric, sizeof numeric, nullptr, 0, NI_NUMERICHOST);
    address.text = Bracketed(numeric, endpoint.port);
  }
  freeaddrinfo(found);
  return addresses;
}

}  // namespace

std::string ToString(const Endpoint& endpoint) {
  return Bracketed(endpoint.host, endpoint.port);
}

Result<std::vector<Endpoint>> ParseEndpoints(std::string_view list) {
  std::vector<Endpoint> endpoints;
  for (;;) {
    const auto comma = list.find(',');
    auto endpoint = ParseEndpoint(list.substr(0, comma));
    if (!endpoint) return tl::unexpected(endpoint.error());
    endpoints.push_back(std::move(*endpoint));
    if (comma == list.npos) return endpoints;
    list.remove_prefix(comma + 1);
  }
}

struct AddressBook::State {
  struct Entry {
    Endpoint endpoint;
    bool numeric = false;
    std::vector<SocketAddress> addresses;
    std::string error;
  };

  std::mutex mutex;
  std::vector<Entry> entries;
  bool complete = false;
  bool looking = false;

  void LookUpNames() {
    for (Entry& entry : entries) {
      if (entry.numeric) continue;
      std::string error;
      auto addresses = LookUp(entry.endpoint, AI_ADDRCONFIG, error);
      const std::scoped_lock lock(mutex);
      entry.error = error;
      if (!addresses.empty()) entry.addresses = std::move(addresses);
    }
    const std::scoped_lock lock(mutex);
    complete = true;
    looking = false;
  }
};

AddressBook::AddressBook(std::vector<Endpoint> endpoints) : state_(std::make_shared<State>()) {
  state_->complete = true;
  for (Endpoint& endpoint : endpoints) {
    std::string ignored;
    auto addresses = LookUp(endpoint, AI_NUMERICHOST, ignored);
    const bool numeric = !addresses.empty();
    state_->complete = state_->complete && numeric;
    state_->entries.push_back({std::move(endpoint), numeric, std::move(addresses), ""});
  }
}

AddressBook::~AddressBook() = default;

AddressBook::Listing AddressBook::Get() const {
  const std::scoped_lock lock(state_->mutex);
  Listing listing{.complete = state_->complete};
  for (const State::Entry& entry : state_->entries) {
    listing.addresses.insert(listing.addresses.end(), entry.addresses.begin(), entry.addresses.end());
    if (entry.addresses.empty() && !entry.error.empty()) listing.error = entry.error;
  }
  return listing;
}

void AddressBook::Refresh() {
  {
    const std::scoped_lock lock(state_->mutex);
    if (state_->looking || std::ranges::all_of(state_->entries, &State::Entry::numeric)) return;
    state_->looking = true;
  }
  // Detached: a name server that does not answer must not hold up the end of the mount.
  std::thread([state = state_] { state->LookUpNames(); }).detach();
}

}  // namespace baton
