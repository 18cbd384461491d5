// The operator's socket: what `baton` asks, and what it makes of the answers.
#include <sys/socket.h>

#include "base/check.h"
#include "cli/views.h"
#include "fuzz/harness/choices.h"
#include "fuzz/harness/harness.h"
#include "server/control/control_client.h"
#include "unit/control/fake_backend.h"

namespace baton::fuzz {
namespace {

using Time = ControlClient::Time;

struct Server {
  Server() {
    backend.sessions.resize(1);
    backend.instances.resize(1);
    backend.opens.resize(1);
    backend.opens[0].path = "a\xff\n";
    backend.locks.resize(1);
    for (int i = 0; i < 3; ++i) events.Append({});
  }
  test::FakeBackend backend;
  EventLog events{{.write = [](bool, const std::string&) {}}};
};

// All that has come out; each line is an object.
std::size_t CountLines(int socket, std::string& text) {
  std::array<char, 4096> bytes;
  for (ssize_t got = 0; (got = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT)) > 0;)
    text.append(bytes.data(), static_cast<std::size_t>(got));
  std::size_t lines = 0;
  for (std::size_t end = 0; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1), ++lines)
    BATON_CHECK(Json::parse(text.substr(0, end), nullptr, false).is_object());
  return lines;
}

// Nothing in it that a terminal obeys.
void CheckShowable(const std::string& text) {
  for (const unsigned char c : text) BATON_CHECK(c == '\n' || (c >= 0x20 && c != 0x7f));
}

}  // namespace

bool ControlRequests(std::span<const std::byte> input) {
  static Server server;
  std::array<int, 2> ends{};
  BATON_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const UniqueFd peer(ends[0]);
  ControlClient client(1, UniqueFd(ends[1]), Time());
  bool follows = false;
  const ControlClient::Host host{server.backend,
                                 server.events,
                                 1024,
                                 [] { return true; },
                                 [&](std::uint64_t, const Guid& guid) { client.Fenced(guid, {}); },
                                 [&] { follows = true; }};
  Choices choices(input);
  const std::size_t piece = std::size_t{choices.Byte()} + 1;
  std::string text;
  std::size_t lines = 0;
  bool stays = true;
  while (stays && !choices.Done()) {
    const auto bytes = choices.Bytes(piece);
    BATON_CHECK(::send(peer.Get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(bytes.size()));
    client.Receive(host, Time());
    stays = client.Pump(host, Time());
    lines += CountLines(peer.Get(), text);
  }
  ::shutdown(peer.Get(), SHUT_WR);
  // Either it goes, or it has more to say, or it follows.
  while (stays) {
    client.Receive(host, Time());
    stays = client.Pump(host, Time());
    const std::size_t more = CountLines(peer.Get(), text);
    lines += more;
    BATON_CHECK(!stays || more > 0 || follows);
    if (more == 0) break;
  }
  BATON_CHECK(text.empty());
  return lines > 1;
}

bool ControlAnswers(std::span<const std::byte> input) {
  using namespace cli;
  using Show = std::string (*)(const Rows&);
  constexpr Show kShows[] = {ShowStatus, ShowSessions, ShowInstances,  ShowOpens,
                             ShowLocks,  ShowEvents,   ShowMountStatus};
  Choices choices(input);
  const Show show = kShows[choices.Byte() % std::size(kShows)];
  Rows rows;
  for (std::string_view text = TextOf(choices.Rest()); !text.empty();) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    (void)IsLive(object);
    CheckShowable(EventLine(object));
    rows.push_back(std::move(object));
  }
  CheckShowable(show(rows));
  return !rows.empty();
}

}  // namespace baton::fuzz
