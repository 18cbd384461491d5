// What the server's network side adds to a bare loopback round trip: measured against an echo of the same
// bytes in the same run. The bound is loose, for busy machines and sanitizers; a delayed segment or a wait in
// between breaks it.
#include <algorithm>
#include <thread>

#include "unit/net/net_fixture.h"

namespace baton::server::test {
namespace {

using namespace std::chrono_literals;
using Microseconds = std::chrono::duration<double, std::micro>;

constexpr int kRounds = 200;
constexpr int kBlocks = 20;

class BareEcho {
 public:
  BareEcho() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.Get(), 1), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(listener_.Get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~BareEcho() { thread_.join(); }
  std::uint16_t Port() const { return port_; }

 private:
  void Serve() {
    const UniqueFd fd(::accept(listener_.Get(), nullptr, nullptr));
    const int on = 1;
    ::setsockopt(fd.Get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::array<std::byte, 4096> bytes;
    for (ssize_t got; (got = ::recv(fd.Get(), bytes.data(), bytes.size(), 0)) > 0;) {
      ::send(fd.Get(), bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
    }
  }

  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

struct Times {
  std::vector<Microseconds> all;
  double At(double part) {
    std::ranges::sort(all);
    return all[static_cast<std::size_t>(part * static_cast<double>(all.size() - 1))].count();
  }
};

void Measure(Peer& peer, const Bytes& frame, Times& times) {
  Bytes answer(frame.size());
  for (int i = 0; i < kRounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(peer.Send(frame));
    ASSERT_TRUE(peer.Receive(answer));
    times.all.push_back(std::chrono::steady_clock::now() - start);
  }
}

TEST_F(ServerTest, ARoundTripCostsLittleMoreThanABareOne) {
  const Running serving(*this);
  BareEcho echo;
  Peer bare(echo.Port());
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  const Bytes frame = Encoded(Request(Operation::kGetattr), Filled(64, 1));
  Times bare_times;
  Times times;
  for (int i = 0; i < kBlocks; ++i) {
    Measure(bare, frame, bare_times);
    Measure(peer, frame, times);
  }
  std::printf("64 bytes and header, us: bare p50 %.1f p90 %.1f p99 %.1f; server p50 %.1f p90 %.1f p99 %.1f\n",
              bare_times.At(0.5), bare_times.At(0.9), bare_times.At(0.99), times.At(0.5), times.At(0.9),
              times.At(0.99));
  EXPECT_LT(times.At(0.5), 5 * bare_times.At(0.5) + 1000);
  bare.Drop();
}

}  // namespace
}  // namespace baton::server::test
