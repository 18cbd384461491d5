// Session over Connection, on real loopback sockets: cuts at every byte, resume, half-open links, several
// addresses, garbage, callers from many threads. Rules S1, S4, T10, A4.
#include "fuse/net/connection.h"

#include <gmock/gmock.h>

#include <future>
#include <memory>

#include "fuse/client/session.h"
#include "tcp_server.h"

namespace baton::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class QuietListener final : public SessionListener {
 public:
  void OnNewSession(const protocol::HelloReply&, Generation) override { ++sessions; }
  void OnFences(const std::vector<protocol::Fence>&) override {}
  void OnFenced(const protocol::FencedNotice&) override {}
  void OnRevoked(const protocol::RevokedNotice&) override {}
  void OnChanged(const protocol::ChangedNotice&) override {}
  void OnResumed() override {}
  void OnServerRebooted() override {}
  void OnSessionLost() override { ++losses; }
  std::atomic<int> sessions{0};
  std::atomic<int> losses{0};
};

// For tests of many breaks: the next link is there at once.
const Connection::Limits kHasty{.attempt_interval = milliseconds(2), .retry_interval = milliseconds(2)};

std::uint16_t DeadPort() {
  TcpServer server;
  return server.Port();
}

struct Mount {
  explicit Mount(std::vector<Endpoint> endpoints, const Connection::Limits& limits = Connection::Limits{})
      : connection(std::move(endpoints), clock, limits) {}
  explicit Mount(const TcpServer& server, const Connection::Limits& limits = Connection::Limits{})
      : Mount(std::vector<Endpoint>{{"127.0.0.1", server.Port()}}, limits) {}

  // The answer's error, 0 for success; the call is waited for.
  template <Operation kOp>
  int Ask(const typename MessagesOf<kOp>::Request& request, CallOptions<kOp> options = {}) {
    auto answered = std::make_shared<std::promise<int>>();
    auto result = answered->get_future();
    session.Call<kOp>(
        request,
        [answered](Answer<kOp>&& answer) {
          answered->set_value(answer.reply ? 0 : answer.reply.error().value);
        },
        std::move(options));
    return result.wait_for(seconds(20)) == std::future_status::ready ? result.get() : -1;
  }
  bool Await(LinkState state, Duration limit = seconds(10)) {
    return Eventually([&] { return session.State().state == state; }, limit);
  }
  template <class Condition>
  bool Eventually(Condition condition, Duration limit = seconds(10)) {
    const Instant end = clock.Now() + limit;
    while (!condition()) {
      if (clock.Now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  BootClock clock;
  QuietListener listener;
  Connection connection;
  Session session{connection, clock, {.node = "n"}, listener};
};

TEST(ConnectionTest, CallsAreAnsweredAndTheEndIsClean) {
  TcpServer server;
  Mount mount(server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(mount.Ask<Operation::kFsync>({}), 0);
  mount.session.End(seconds(5));
  EXPECT_EQ(server.executed, 101) << "and BYE";
  EXPECT_EQ(server.hellos, 1);
}

// One read, one write and one fsync, the server cutting the connection after each possible number of bytes
// sent.
TEST(ConnectionTest, CutAtEveryByteOfTheReplies) {
  TcpServer server;
  Mount mount(server, kHasty);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  static const std::vector<std::byte> written(100);
  constexpr long kReplies =
      3 * protocol::kFrameHeaderSize + 12 + 20;  // three headers, WriteReply, READ's data
  int cuts = 0;
  for (long at = 1; at <= kReplies; ++at) {
    const int hellos = server.hellos;
    server.CutAfter(at);
    auto read = std::async(std::launch::async, [&] {
      std::promise<bool> right;
      mount.session.Call<Operation::kRead>({.offset = 7, .size = 20}, [&](auto&& answer) {
        bool same = answer.data.size() == 20;
        for (std::size_t i = 0; same && i < 20; ++i) same = answer.data[i] == static_cast<std::byte>(7 + i);
        right.set_value(same);
      });
      return right.get_future().get();
    });
    CallOptions<Operation::kWrite> options;
    options.data.bytes = written;
    EXPECT_EQ(mount.Ask<Operation::kWrite>({}, std::move(options)), 0) << at;
    EXPECT_EQ(mount.Ask<Operation::kFsync>({}), 0) << at;
    EXPECT_TRUE(read.get()) << at;
    ASSERT_TRUE(mount.Eventually([&] { return server.hellos > hellos || at == kReplies; })) << at;
    cuts += server.hellos - hellos;
  }
  server.CutAfter(-1);
  EXPECT_GE(cuts, kReplies - 1);
  EXPECT_EQ(server.executed, 3 * kReplies) << "each request took effect exactly once";
  EXPECT_EQ(server.twice, 0);
  EXPECT_EQ(mount.listener.losses, 0);
}

TEST(ConnectionTest, ManyThreadsFewSlotsAndCutsInBetween) {
  TcpServer server;
  server.slots = 2;
  Mount mount(server, kHasty);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  constexpr int kThreads = 4;
  constexpr int kCalls = 300;
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCalls; ++i) right += mount.Ask<Operation::kFsync>({}) == 0;
    });
  }
  for (int cut = 0; cut < 3; ++cut) {
    const int hellos = server.hellos;
    server.CutAfter(500);
    mount.Eventually([&] { return server.hellos > hellos || right == kThreads * kCalls; });
  }
  server.CutAfter(-1);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads * kCalls);
  EXPECT_EQ(server.executed, kThreads * kCalls);
  EXPECT_EQ(server.twice, 0);
}

TEST(ConnectionTest, LargeDataGoesBothWaysWhole) {
  TcpServer server;
  Mount mount(server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  static const std::vector<std::byte> megabyte(protocol::kMaxDataSize, std::byte{0x5a});
  std::atomic<int> whole{0};
  constexpr int kEach = 32;
  for (int i = 0; i < kEach; ++i) {
    CallOptions<Operation::kWrite> options;
    options.data.bytes = megabyte;
    mount.session.Call<Operation::kWrite>(
        {}, [&](auto&& answer) { whole += answer.reply && answer.reply->written == protocol::kMaxDataSize; },
        std::move(options));
    mount.session.Call<Operation::kRead>({.offset = 1, .size = protocol::kMaxDataSize}, [&](auto&& answer) {
      bool same = answer.data.size() == protocol::kMaxDataSize;
      for (std::size_t at = 0; same && at < answer.data.size(); ++at) {
        same = answer.data[at] == static_cast<std::byte>((1 + at) % 251);
      }
      whole += same;
    });
  }
  EXPECT_TRUE(mount.Eventually([&] { return whole == 2 * kEach; }, seconds(60)));
}

// The server stops like a SIGSTOPped one: TCP is alive, nobody answers. The link is given up, and found again
// within a second of the server's return.
TEST(ConnectionTest, HalfOpenLinkIsGivenUpAndMendedWithinASecond) {
  TcpServer server;
  Mount mount(server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  server.Freeze();
  auto answer = std::async(std::launch::async, [&] { return mount.Ask<Operation::kFsync>({}); });
  ASSERT_TRUE(mount.Await(LinkState::kBroken));
  EXPECT_NE(answer.wait_for(seconds(0)), std::future_status::ready) << "requests wait";
  const Instant mended = mount.clock.Now();
  server.Thaw();
  EXPECT_TRUE(mount.Await(LinkState::kLive));
  EXPECT_EQ(answer.get(), 0);
  EXPECT_LT(mount.clock.Now() - mended, seconds(1));
  EXPECT_EQ(server.executed, 1);
  EXPECT_EQ(mount.listener.losses, 0);
}

TEST(ConnectionTest, ServerThatComesBackOnItsPortIsFoundWithinASecond) {
  auto server = std::make_unique<TcpServer>();
  const std::uint16_t port = server->Port();
  Mount mount(*server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  server.reset();
  ASSERT_TRUE(mount.Await(LinkState::kBroken));
  server = std::make_unique<TcpServer>(nullptr, port);
  const Instant back = mount.clock.Now();
  EXPECT_TRUE(mount.Await(LinkState::kLive));
  EXPECT_LT(mount.clock.Now() - back, seconds(1));
  EXPECT_EQ(mount.listener.losses, 1) << "a new server knows nothing of the session";
  EXPECT_EQ(mount.session.CurrentGeneration(), Generation{2});
}

// The shortest of some: other programs on the machine make a thread late now and then.
template <class Measure>
Duration Shortest(Measure measure) {
  Duration shortest = seconds(100);
  for (int i = 0; i < 5; ++i) shortest = std::min(shortest, measure());
  return shortest;
}

// From the port's return to the session that is there again, or a new one.
Duration RestartTakes(std::unique_ptr<TcpServer>& server, Mount& mount, std::string_view trouble) {
  const std::uint16_t port = server->Port();
  server.reset();
  EXPECT_TRUE(mount.Eventually([&] {
    const auto report = mount.session.Describe();
    return report.status.state != LinkState::kLive && report.trouble.find(trouble) != std::string::npos;
  }));
  server = std::make_unique<TcpServer>(nullptr, port);
  const Instant back = mount.clock.Now();
  EXPECT_TRUE(mount.Await(LinkState::kLive));
  return mount.clock.Now() - back;
}

TEST(ConnectionTest, ServerThatIsStartedAgainIsFoundWithin100Ms) {
  auto server = std::make_unique<TcpServer>();
  Mount mount(*server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  EXPECT_LT(Shortest([&] { return RestartTakes(server, mount, "Connection refused"); }), milliseconds(100));
}

// A port whose queue is full: the kernel takes no notice of who connects.
struct SilentPort {
  SilentPort() {
    listener.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener.Get(), any, size), 0);
    EXPECT_EQ(listen(listener.Get(), 0), 0);
    EXPECT_EQ(getsockname(listener.Get(), any, &size), 0);
    for (UniqueFd& fd : fill) {
      fd.Reset(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      [[maybe_unused]] const int ignored = connect(fd.Get(), any, size);
    }
  }
  std::uint16_t Port() const { return ntohs(address.sin_port); }
  UniqueFd listener;
  sockaddr_in address{};
  std::array<UniqueFd, 4> fill;
};

TEST(ConnectionTest, AddressThatIsSilentDelaysNoOther) {
  const SilentPort silent;
  for (const bool is_first : {true, false}) {
    auto server = std::make_unique<TcpServer>();
    std::vector<Endpoint> endpoints{{"127.0.0.1", silent.Port()}, {"127.0.0.1", server->Port()}};
    if (!is_first) std::ranges::reverse(endpoints);
    Mount mount(endpoints);
    const Instant begun = mount.clock.Now();
    ASSERT_TRUE(mount.session.Start(seconds(5)));
    EXPECT_LT(mount.clock.Now() - begun, milliseconds(900)) << "the silent one is not waited for";
    EXPECT_LT(Shortest([&] { return RestartTakes(server, mount, ""); }), milliseconds(100));
  }
}

TEST(ConnectionTest, NewSessionAfterALossComesAtOnce) {
  TcpServer server;
  Mount mount(server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  const Duration took = Shortest([&] {
    server.ForgetSession();
    const int sessions = mount.listener.sessions;
    const Instant begun = mount.clock.Now();
    server.CutAfter(1);
    mount.session.Call<Operation::kFsync>({}, [](auto&&) {});
    EXPECT_TRUE(mount.Eventually([&] { return mount.listener.sessions > sessions; }));
    return mount.clock.Now() - begun;
  });
  EXPECT_LT(took, milliseconds(200));
}

struct AheadClock final : Clock {
  Instant Now() const override { return real.Now() + ahead.load(); }
  BootClock real;
  std::atomic<Duration> ahead{Duration::zero()};
};

// How long it takes from one refusal to the next.
struct RefusalTimer final : Transport::Handler {
  void OnUp(LinkId, std::string_view) override {}
  void OnFrame(const FrameHeader&, std::span<const std::byte>, std::span<const std::byte>) override {}
  void OnDown(std::string_view, Instant) override {}
  void OnTick() override {}
  void OnUnreachable(int, std::string_view) override {
    const std::scoped_lock lock(mutex);
    times.push_back(real.Now());
    changed.notify_all();
  }
  Duration Next() {
    std::unique_lock lock(mutex);
    times.clear();
    EXPECT_TRUE(changed.wait_for(lock, seconds(20), [this] { return times.size() >= 3; }));
    return times.size() < 3 ? Duration() : times[2] - times[1];
  }
  BootClock real;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Instant> times;
};

TEST(ConnectionTest, RefusalsAreAskedForLessOftenTheLongerTheyGoOn) {
  AheadClock clock;
  RefusalTimer timer;
  Connection connection({{"127.0.0.1", DeadPort()}}, clock);
  connection.Start(timer);
  EXPECT_LT(Shortest([&] { return timer.Next(); }), milliseconds(100));
  clock.ahead = seconds(3600);
  timer.Next();  // the one that was due is among them
  EXPECT_GE(timer.Next(), milliseconds(450));
  connection.Stop();
}

TEST(ConnectionTest, LostSessionAnswersEstaleAndGoesOn) {
  TcpServer server;
  Mount mount(server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  server.ForgetSession();
  server.CutAfter(1);
  EXPECT_EQ(mount.Ask<Operation::kFsync>({}), ESTALE);
  server.CutAfter(-1);
  EXPECT_EQ(mount.Ask<Operation::kFsync>({}), 0);
  EXPECT_EQ(mount.listener.losses, 1);
  EXPECT_EQ(mount.listener.sessions, 2);
}

TEST(ConnectionTest, AbandonedOverABreakIsSettledAndNeverExecuted) {
  TcpServer server([](TcpServer&, TcpServer::Peer& peer, const FrameHeader& header, auto, auto) {
    // The request is lost with its connection.
    if (static_cast<Operation>(header.operation) != Operation::kOpen) return false;
    peer.closed = true;
    return true;
  });
  Mount mount(server);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  std::promise<int> done;
  std::promise<int> late;
  const CallToken token = mount.session.NewToken();
  mount.session.Call<Operation::kOpen>(
      {}, [&](auto&& answer) { done.set_value(answer.reply.error().value); },
      {.token = token, .late = [&](auto&& answer) { late.set_value(answer.reply.error().value); }});
  EXPECT_TRUE(mount.session.Abandon(token));
  EXPECT_EQ(done.get_future().get(), EINTR);
  EXPECT_EQ(late.get_future().get(), ECANCELED);
  EXPECT_EQ(server.executed, 0);
  EXPECT_EQ(server.settles, 1);
}

TEST(ConnectionTest, GarbageClosesTheLinkAndTheSessionSurvives) {
  std::atomic<int> garbage{20};
  TcpServer server([&](TcpServer& self, TcpServer::Peer& peer, const FrameHeader& header, auto, auto) {
    if (static_cast<Operation>(header.operation) != Operation::kFsync || garbage <= 0) return false;
    const int kind = garbage--;
    // A length beyond the bounds, noise, and a frame that is well formed and means nothing.
    std::vector<std::byte> bytes(200, static_cast<std::byte>(kind % 3 == 0 ? 0xff : 37 * kind));
    if (kind % 3 == 1) {
      FrameHeader nonsense{.body_size = 10, .operation = 999, .kind = FrameKind::kNotice};
      EncodeFrameHeader(nonsense, std::span<std::byte, protocol::kFrameHeaderSize>(
                                      bytes.data(), protocol::kFrameHeaderSize));
    }
    self.SendRaw(peer, bytes);
    return true;
  });
  Mount mount(server, kHasty);
  ASSERT_TRUE(mount.session.Start(seconds(5)));
  EXPECT_EQ(mount.Ask<Operation::kFsync>({}), 0);
  EXPECT_EQ(server.hellos, 21);
  EXPECT_EQ(server.executed, 1);
}

// --- Addresses
// ----------------------------------------------------------------------------------------------------------

TEST(ConnectionTest, AddressesAreTriedInTurn) {
  TcpServer server;
  Mount mount(std::vector<Endpoint>{{"127.0.0.1", DeadPort()},
                                    {"no-such-host.invalid", 7740},
                                    {"::1", DeadPort()},
                                    {"127.0.0.1", server.Port()}});
  const Instant begun = mount.clock.Now();
  ASSERT_TRUE(mount.session.Start(seconds(20)));
  EXPECT_LT(mount.clock.Now() - begun, seconds(2));
  EXPECT_EQ(mount.Ask<Operation::kFsync>({}), 0);
}

TEST(ConnectionTest, NobodyThereIsReportedAtOnce) {
  Mount mount(std::vector<Endpoint>{{"127.0.0.1", DeadPort()}});
  const Instant begun = mount.clock.Now();
  const auto result = mount.session.Start(seconds(20));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ConnectError::Kind::kUnreachable);
  EXPECT_THAT(result.error().text, ::testing::HasSubstr("Connection refused"));
  EXPECT_LT(mount.clock.Now() - begun, seconds(2));
}

TEST(ConnectionTest, ServerThatNeverAnswersHelloIsATimeout) {
  TcpServer server;
  server.Freeze();
  Mount mount(server);
  const auto result = mount.session.Start(milliseconds(300));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ConnectError::Kind::kTimeout);
}

TEST(EndpointTest, Parses) {
  const auto parse = [](std::string_view text) {
    return ParseEndpoints(text).value_or(std::vector<Endpoint>{});
  };
  EXPECT_EQ(parse("a"), (std::vector<Endpoint>{{"a", 7740}}));
  EXPECT_EQ(parse("a:1,b"), (std::vector<Endpoint>{{"a", 1}, {"b", 7740}}));
  EXPECT_EQ(parse("::1"), (std::vector<Endpoint>{{"::1", 7740}}));
  EXPECT_EQ(parse("[::1]"), (std::vector<Endpoint>{{"::1", 7740}}));
  EXPECT_EQ(parse("[fe80::1%eth0]:9"), (std::vector<Endpoint>{{"fe80::1%eth0", 9}}));
  EXPECT_EQ(ToString(Endpoint{"::1", 9}), "[::1]:9");
  for (const char* bad :
       {"", ",", "a,", "a:", "a:0", "a:65536", "a:x", "[::1", "[::1]x", "[]", ":1", "a b"}) {
    EXPECT_FALSE(ParseEndpoints(bad)) << bad;
  }
}

}  // namespace
}  // namespace baton::client
