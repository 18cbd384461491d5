// Peers that do not keep to the protocol, or vanish, or never read. Rule A4: a closed connection, bounded
// memory, one log line, and the others are unharmed.
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "unit/net/net_fixture.h"

namespace baton::server::test {
namespace {

using namespace std::chrono_literals;

class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  int Count(const std::string& part) {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(
        std::ranges::count_if(lines_, [&](const std::string& line) { return line.find(part) != line.npos; }));
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    lines_.emplace_back(message.payload.data(), message.payload.size());
  }
  void flush_() override {}

  std::vector<std::string> lines_;
};

class HostileTest : public ServerTest {
 protected:
  HostileTest() : before_(spdlog::default_logger()), lines_(std::make_shared<LineSink>()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", lines_));
  }
  ~HostileTest() override {
    StopServer();
    spdlog::set_default_logger(before_);
  }
  int CountLines(const std::string& part) { return lines_->Count(part); }
  void ExpectServes() {
    Peer peer(Port());
    EXPECT_TRUE(peer.Hello());
  }

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::shared_ptr<LineSink> lines_;
};

// Resident memory in bytes, statm of proc(5).
std::uint64_t Resident() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long size = 0;
  unsigned long resident = 0;
  EXPECT_EQ(std::fscanf(file, "%lu %lu", &size, &resident), 2);
  std::fclose(file);
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Sanitizers keep several bytes for each byte of ours.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kShadow = 8;
#else
constexpr std::uint64_t kShadow = 1;
#endif

Bytes RawHeader(std::uint32_t body_size, std::uint32_t data_size, std::uint8_t kind) {
  Bytes bytes = Encoded(Request(Operation::kGetattr));
  std::memcpy(bytes.data(), &body_size, sizeof body_size);
  std::memcpy(bytes.data() + 4, &data_size, sizeof data_size);
  std::memcpy(bytes.data() + 10, &kind, sizeof kind);
  return bytes;
}

TEST_F(HostileTest, BadHeadersCloseTheConnectionWithOneLine) {
  const Running serving(*this);
  const std::uint32_t huge = 0xffffffff;
  const std::vector<Bytes> bad = {RawHeader(protocol::kMaxBodySize + 1, 0, 1),
                                  RawHeader(0, protocol::kMaxDataSize + 1, 1),
                                  RawHeader(huge, huge, 1),
                                  RawHeader(0, 0, 0),
                                  RawHeader(0, 0, 2),
                                  RawHeader(0, 0, 3),
                                  RawHeader(0, 0, 9),
                                  Bytes(protocol::kFrameHeaderSize, std::byte{0xff})};
  for (const Bytes& bytes : bad) {
    Peer peer(Port());
    ASSERT_TRUE(peer.Hello());
    ASSERT_TRUE(peer.Send(bytes));
    EXPECT_TRUE(peer.SeesEnd());
    ExpectServes();
  }
  EXPECT_EQ(CountLines("closed the connection of 127.0.0.1:"), 1);  // the rest is left out, same host
}

TEST_F(HostileTest, AGoodFrameBeforeABadOneIsAnswered) {
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  Bytes frames = Encoded(Request(Operation::kClose, 7));
  const Bytes bad = RawHeader(0, 0, 9);
  frames.insert(frames.end(), bad.begin(), bad.end());
  ASSERT_TRUE(peer.Send(frames));
  Received reply;
  ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.sequence, 7u);
  EXPECT_TRUE(peer.SeesEnd());
}

TEST_F(HostileTest, TheFirstFrameMustBeASmallHello) {
  const Running serving(*this);
  Peer no_hello(Port());
  ASSERT_TRUE(no_hello.Send(Encoded(Request(Operation::kGetattr))));
  EXPECT_TRUE(no_hello.SeesEnd());
  Peer large(Port());
  FrameHeader header = Request(Operation::kHello);
  header.body_size = 65 * 1024;
  Bytes bytes(protocol::kFrameHeaderSize);
  protocol::EncodeFrameHeader(header,
                              std::span<std::byte, protocol::kFrameHeaderSize>(bytes.data(), bytes.size()));
  ASSERT_TRUE(large.Send(bytes));
  EXPECT_TRUE(large.SeesEnd());
  ExpectServes();
}

TEST_F(HostileTest, AnUnknownOperationReachesTheHandler) {
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(peer.Send(Encoded(Request(static_cast<Operation>(60000), 3))));
  Received reply;
  ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.operation, 60000);
}

TEST_F(HostileTest, ConnectionsWithoutACompleteHelloAreClosed) {
  config_.hello_timeout = 200ms;
  const Running serving(*this);
  Peer good(Port());
  ASSERT_TRUE(good.Hello());
  Peer silent(Port());
  Peer half(Port());
  const Bytes hello = Encoded(Request(Operation::kHello));
  ASSERT_TRUE(half.Send(std::span(hello).first(20)));
  EXPECT_TRUE(silent.SeesEnd());
  EXPECT_TRUE(half.SeesEnd());
  ASSERT_TRUE(good.Hello());
}

TEST_F(HostileTest, HalfAFrameIsNotWaitedForForEver) {
  config_.stall_timeout = 200ms;
  const Running serving(*this);
  Peer idle(Port());
  Peer half(Port());
  ASSERT_TRUE(idle.Hello());
  ASSERT_TRUE(half.Hello());
  const Bytes frame = Encoded(Request(Operation::kWrite), {}, Filled(1024 * 1024, 1));
  ASSERT_TRUE(half.Send(std::span(frame).first(frame.size() / 2)));
  EXPECT_TRUE(half.SeesEnd());
  EXPECT_TRUE(idle.Hello());
  EXPECT_EQ(CountLines("the rest of a frame did not come"), 1);
}

TEST_F(HostileTest, APeerThatNeverReadsIsNotReadAndThenClosed) {
  config_.stall_timeout = 1s;
  std::atomic<std::uint64_t> asked = 0;
  const Bytes megabyte = Filled(protocol::kMaxDataSize, 3);
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto, auto) {
    asked.fetch_add(1);
    header.kind = FrameKind::kReply;
    connection->Send(header, {}, megabyte);
  };
  const Running serving(*this);
  Peer peer(Port(), 64 * 1024);
  ASSERT_TRUE(peer.Hello());
  const std::uint64_t before = Resident();
  Bytes requests;
  constexpr std::uint64_t kRequests = 4000;  // four GiB of replies
  for (std::uint32_t i = 0; i < kRequests; ++i) {
    const Bytes frame = Encoded(Request(Operation::kRead, i));
    requests.insert(requests.end(), frame.begin(), frame.end());
  }
  ASSERT_GT(peer.SendSome(requests), 0u);
  do {
    EXPECT_LT(Resident(), before + kShadow * 192 * 1024 * 1024);
  } while (!handler_.watch.Until([&] { return !handler_.closed.empty(); }, 10ms) && asked.load() < 128);
  EXPECT_LT(asked.load(), 128u);
  EXPECT_TRUE(handler_.WaitClosed(1));
  EXPECT_EQ(CountLines("it takes no output"), 1);
  ExpectServes();
}

TEST_F(HostileTest, ASlowReaderGetsEverything) {
  const Bytes data = Filled(protocol::kMaxDataSize, 3);
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto, auto) {
    header.kind = FrameKind::kReply;
    connection->Send(header, {}, data);
  };
  const Running serving(*this);
  Peer peer(Port(), 64 * 1024);
  ASSERT_TRUE(peer.Hello());
  constexpr std::uint32_t kRequests = 100;
  for (std::uint32_t i = 0; i < kRequests; ++i) ASSERT_TRUE(peer.Send(Encoded(Request(Operation::kRead, i))));
  std::set<std::uint32_t> answered;
  for (std::uint32_t i = 0; i < kRequests; ++i) {
    Received reply;
    ASSERT_TRUE(peer.ReceiveFrame(reply));
    ASSERT_EQ(reply.data, data);
    answered.insert(reply.header.sequence);
  }
  EXPECT_EQ(answered.size(), kRequests);
}

TEST_F(HostileTest, ConnectionsBeyondTheBoundAreClosedAtOnce) {
  config_.max_connections = 3;
  const Running serving(*this);
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 3; ++i) {
    peers.push_back(std::make_unique<Peer>(Port()));
    ASSERT_TRUE(peers.back()->Hello());
  }
  Peer fourth(Port());
  EXPECT_TRUE(fourth.SeesEnd());
  EXPECT_EQ(CountLines("refused the connection of 127.0.0.1:"), 1);
  peers.pop_back();
  ASSERT_TRUE(handler_.WaitClosed(1));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  bool is_served = false;  // the place is free a moment after OnClosed
  while (!is_served && std::chrono::steady_clock::now() < deadline) is_served = Peer(Port()).Hello();
  EXPECT_TRUE(is_served);
}

TEST_F(HostileTest, WhoSaysNoHelloGivesWayToWhoComes) {
  config_.max_ungreeted = 2;
  const Running serving(*this);
  Peer good(Port());
  ASSERT_TRUE(good.Hello());
  Peer first(Port()), second(Port());
  EXPECT_TRUE(handler_.limits.empty());
  Peer third(Port());
  EXPECT_TRUE(first.SeesEnd());
  EXPECT_TRUE(second.Hello());
  EXPECT_TRUE(third.Hello());
  EXPECT_TRUE(good.Hello());
  Peer fourth(Port()), fifth(Port());  // who has greeted does not count
  EXPECT_TRUE(fourth.Hello());
  EXPECT_TRUE(fifth.Hello());
  ASSERT_TRUE(handler_.watch.Until([&] { return !handler_.limits.empty(); }));
  EXPECT_THAT(handler_.limits, testing::ElementsAre("max-ungreeted"));
}

TEST_F(HostileTest, MoreThanMayWaitForOneConnectionClosesIt) {
  config_.max_unread = 2 * 1024 * 1024;
  const Bytes data = Filled(protocol::kMaxDataSize, 3);
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto, auto) {
    header.kind = FrameKind::kNotice;
    for (std::uint32_t i = 0; i < header.sequence; ++i) connection->Send(header, {}, data);
  };
  const Running serving(*this);
  Peer peer(Port(), 64 * 1024);
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(peer.Send(Encoded(Request(Operation::kRead, 30))));
  EXPECT_TRUE(handler_.WaitClosed(1));
  EXPECT_THAT(handler_.limits, testing::ElementsAre("max-unread-output"));
}

// A notice that nobody asked for is all that they get: no connection is near its own bound.
TEST_F(HostileTest, MoreThanMayWaitForAllClosesThoseWithTheMost) {
  config_.max_unread_in_all = 16 * 1024 * 1024;
  const Bytes data = Filled(protocol::kMaxDataSize, 3);
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto, auto) {
    header.kind = FrameKind::kNotice;
    for (std::uint32_t i = 0; i < header.sequence; ++i) connection->Send(header, {}, data);
  };
  const Running serving(*this);
  Peer most(Port(), 64 * 1024), less(Port(), 64 * 1024);
  ASSERT_TRUE(most.Hello());
  ASSERT_TRUE(less.Hello());
  ASSERT_TRUE(less.Send(Encoded(Request(Operation::kRead, 4))));
  ASSERT_TRUE(most.Send(Encoded(Request(Operation::kRead, 30))));
  EXPECT_TRUE(handler_.WaitClosed(1));
  Received notice;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(less.ReceiveFrame(notice)) << i;
  EXPECT_TRUE(less.Hello());
  EXPECT_THAT(handler_.limits, testing::ElementsAre("max-unread-output-in-all"));
}

TEST_F(HostileTest, FramesUnderWayShareBoundedMemory) {
  config_.max_receive_memory = 4 * BufferPool::kLarge;
  config_.stall_timeout = 500ms;
  const Running serving(*this);
  const Bytes frame = Encoded(Request(Operation::kWrite, 1), {}, Filled(1024 * 1024, 1));
  std::vector<std::unique_ptr<Peer>> holders;
  for (int i = 0; i < 12; ++i) {  // three times as many halves as there is memory for
    holders.push_back(std::make_unique<Peer>(Port()));
    ASSERT_TRUE(holders.back()->Hello());
    holders.back()->SendSome(std::span(frame).first(frame.size() / 2));
  }
  ExpectServes();  // small frames need none of it
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(peer.Send(frame));
  Received reply;
  ASSERT_TRUE(peer.ReceiveFrame(reply));  // as soon as the halves are given up
  EXPECT_EQ(reply.header.sequence, 1u);
}

TEST_F(HostileTest, ResetsInTheMiddleOfEverythingHarmNobody) {
  const Running serving(*this);
  Peer steady(Port());
  ASSERT_TRUE(steady.Hello());
  const Bytes hello = Encoded(Request(Operation::kHello));
  const Bytes frame = Encoded(Request(Operation::kWrite, 1), Filled(100, 1), Filled(70000, 1));
  for (int i = 0; i < 200; ++i) {
    Peer peer(Port());
    const linger at_once{1, 0};  // close sends a reset
    ::setsockopt(peer.Fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    peer.Send(hello);
    peer.SendSome(std::span(frame).first(frame.size() * static_cast<std::size_t>(i) / 200));
    peer.Drop();
    ASSERT_TRUE(steady.Hello());
  }
  EXPECT_TRUE(handler_.WaitClosed(200));
  EXPECT_TRUE(steady.Hello());
}

TEST_F(HostileTest, NoDescriptorsLeftIsSurvivedWithoutSpinning) {
  const Running serving(*this);
  Peer first(Port());
  ASSERT_TRUE(first.Hello());
  const UniqueFd pending(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // UBSan needs a descriptor to check an object of a class it has not seen before: let it see those of a log line.
  log::Error("descriptors: {}, {}", 0, std::uint64_t{0});
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit none = limit;
  none.rlim_cur = 3;  // nothing new can be opened
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(Port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(pending.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  const auto until = std::chrono::steady_clock::now() + 300ms;
  while (std::chrono::steady_clock::now() < until) {
    pollfd waiting{pending.Get(), POLLIN, 0};
    EXPECT_EQ(::poll(&waiting, 1, 50), 0);  // neither accepted nor closed
    EXPECT_TRUE(first.Hello());
  }
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  const auto Used = [](const rusage& usage) {
    return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  EXPECT_LT(Used(after) - Used(before), 150ms);
  const Bytes hello = Encoded(Request(Operation::kHello));
  EXPECT_EQ(::send(pending.Get(), hello.data(), hello.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(hello.size()));
  pollfd waiting{pending.Get(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 20000), 1);
}

}  // namespace
}  // namespace baton::server::test
