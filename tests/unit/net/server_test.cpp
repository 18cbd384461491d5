// The server's network side on real loopback sockets: framing, order, concurrency, the clean end. Rules A4,
// O5 (order).
#include <sys/resource.h>

#include <cstring>
#include <thread>

#include "unit/net/net_fixture.h"

namespace baton::server::test {
namespace {

constexpr auto kUnordered = Operation::kGetattr;
constexpr auto kOrdered = Operation::kClose;

TEST_F(ServerTest, AnswersAFrameSplitAtEveryByte) {
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  const Bytes body = Filled(17, 1);
  const Bytes data = Filled(9, 2);
  const Bytes frame = Encoded(Request(Operation::kWrite), body, data);
  for (std::size_t split = 1; split < frame.size(); ++split) {
    const std::uint64_t heard = handler_.heard.load();
    ASSERT_TRUE(peer.Send(std::span(frame).first(split)));
    while (handler_.heard.load() == heard) std::this_thread::yield();
    ASSERT_TRUE(peer.Send(std::span(frame).subspan(split)));
    Received reply;
    ASSERT_TRUE(peer.ReceiveFrame(reply));
    EXPECT_EQ(reply.body, body);
    EXPECT_EQ(reply.data, data);
  }
}

TEST_F(ServerTest, AnswersEveryFrameOfOneSegment) {
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  Bytes all;
  constexpr std::uint32_t kCount = 2000;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    const Bytes frame = Encoded(Request(kUnordered, i), Filled(i % 97, i));
    all.insert(all.end(), frame.begin(), frame.end());
  }
  std::thread sender([&] { EXPECT_TRUE(peer.Send(all)); });
  std::set<std::uint32_t> answered;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    Received reply;
    ASSERT_TRUE(peer.ReceiveFrame(reply));
    EXPECT_EQ(reply.body, Filled(reply.header.sequence % 97, reply.header.sequence));
    answered.insert(reply.header.sequence);
  }
  sender.join();
  EXPECT_EQ(answered.size(), kCount);
}

TEST_F(ServerTest, CarriesTheLargestFramesBothWays) {
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  const Bytes body = Filled(protocol::kMaxBodySize, 5);
  const Bytes data = Filled(protocol::kMaxDataSize, 6);
  for (int i = 0; i < 4; ++i) {
    Bytes frames = Encoded(Request(kUnordered, 1), Filled(40, 1));  // a small one in the same segment
    const Bytes large = Encoded(Request(Operation::kWrite, 2), body, data);
    frames.insert(frames.end(), large.begin(), large.end());
    std::thread sender([&] { EXPECT_TRUE(peer.Send(frames)); });
    for (int k = 0; k < 2; ++k) {
      Received reply;
      ASSERT_TRUE(peer.ReceiveFrame(reply));
      EXPECT_TRUE(reply.header.sequence == 1 ? reply.body == Filled(40, 1)
                                             : reply.body == body && reply.data == data);
    }
    sender.join();
  }
}

TEST_F(ServerTest, ServesAThousandConnectionsAtOnce) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  const Running serving(*this);
  constexpr std::size_t kCount = 1000;
  std::vector<std::unique_ptr<Peer>> peers;
  for (std::size_t i = 0; i < kCount; ++i) peers.push_back(std::make_unique<Peer>(Port()));
  for (auto& peer : peers) ASSERT_TRUE(peer->Send(Encoded(Request(Operation::kHello))));
  for (std::uint32_t round = 0; round < 3; ++round) {
    for (auto& peer : peers) ASSERT_TRUE(peer->Send(Encoded(Request(kUnordered, round), Filled(64, round))));
  }
  for (auto& peer : peers) {
    for (int i = 0; i < 4; ++i) {
      Received reply;
      ASSERT_TRUE(peer->ReceiveFrame(reply));
    }
  }
  EXPECT_EQ(server_->Connections(), kCount);
  peers.clear();
  EXPECT_TRUE(handler_.WaitClosed(kCount));
}

TEST_F(ServerTest, ABlockedFrameStopsNeitherItsConnectionNorOthers) {
  pool_config_.threads = 2;
  Watch gate;
  bool is_open = false;
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto body, auto data) {
    if (header.sequence == 1) {
      ASSERT_TRUE(gate.Until([&] { return is_open; }));
    }
    Echo(connection, header, body, data);
  };
  const Running serving(*this);
  Peer peer(Port());
  Peer other(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(other.Hello());
  // More blocked frames than the pool has threads: it has to grow.
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(peer.Send(Encoded(Request(kUnordered, 1))));
  ASSERT_TRUE(peer.Send(Encoded(Request(kUnordered, 2))));
  Received reply;
  ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.sequence, 2u);
  ASSERT_TRUE(other.Send(Encoded(Request(kUnordered, 3))));
  ASSERT_TRUE(other.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.sequence, 3u);
  gate.Changed([&] { is_open = true; });
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(peer.ReceiveFrame(reply));
    EXPECT_EQ(reply.header.sequence, 1u);
  }
}

TEST_F(ServerTest, NothingPassesAnOrderedOperation) {
  Watch gate;
  bool is_open = false;
  std::atomic<int> passed = 0;
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto body, auto data) {
    if (static_cast<Operation>(header.operation) == kOrdered) {
      ASSERT_TRUE(gate.Until([&] { return is_open; }));
    } else {
      gate.Changed([&] { passed += is_open ? 0 : 1; });
    }
    Echo(connection, header, body, data);
  };
  const Running serving(*this);
  Peer peer(Port());
  Peer other(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(other.Hello());
  Bytes frames = Encoded(Request(kOrdered, 1));
  for (std::uint32_t i = 2; i < 50; ++i) {
    const Bytes frame = Encoded(Request(kUnordered, i));
    frames.insert(frames.end(), frame.begin(), frame.end());
  }
  ASSERT_TRUE(peer.Send(frames));
  Received reply;
  for (std::uint32_t i = 0; i < 200; ++i) {  // the rest of the server is busy meanwhile
    ASSERT_TRUE(other.Send(Encoded(Request(Operation::kHello, i))));
    ASSERT_TRUE(other.ReceiveFrame(reply));
  }
  gate.Changed([&] { is_open = true; });
  ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.sequence, 1u);
  for (int i = 2; i < 50; ++i) ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_EQ(passed.load(), 0);
}

TEST_F(ServerTest, OrderedOperationsRunInTheirOrder) {
  std::vector<std::uint32_t> order;
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto body, auto data) {
    handler_.watch.Changed([&] { order.push_back(header.sequence); });
    Echo(connection, header, body, data);
  };
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  Bytes frames;
  for (std::uint32_t i = 0; i < 500; ++i) {
    const Bytes frame = Encoded(Request(kOrdered, i));
    frames.insert(frames.end(), frame.begin(), frame.end());
  }
  ASSERT_TRUE(peer.Send(frames));
  Received reply;
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST_F(ServerTest, FramesInExecutionOfOneConnectionAreBounded) {
  config_.max_executing = 4;
  Watch gate;
  int running = 0;
  int most = 0;
  bool is_open = false;
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto body, auto data) {
    gate.Changed([&] { most = std::max(most, ++running); });
    ASSERT_TRUE(gate.Until([&] { return is_open; }));
    gate.Changed([&] { --running; });
    Echo(connection, header, body, data);
  };
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  Bytes frames;
  for (std::uint32_t i = 0; i < 100; ++i) {
    const Bytes frame = Encoded(Request(kUnordered, i));
    frames.insert(frames.end(), frame.begin(), frame.end());
  }
  ASSERT_TRUE(peer.Send(frames));
  ASSERT_TRUE(gate.Until([&] { return running == 4; }));
  Peer other(Port());
  ASSERT_TRUE(other.Hello());
  gate.Changed([&] { is_open = true; });
  Received reply;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_EQ(most, 4);
}

TEST_F(ServerTest, AttachedRecordsAreEachConnectionsOwn) {
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto body, auto data) {
    if (header.sequence == 1) connection->Attach(std::make_shared<std::uint32_t>(body.size()));
    const auto record = connection->template Attached<std::uint32_t>();
    header.sequence = record ? *record : 0;
    Echo(connection, header, body, data);
  };
  const Running serving(*this);
  Peer a(Port());
  Peer b(Port());
  ASSERT_TRUE(a.Hello());
  ASSERT_TRUE(b.Hello());
  Received reply;
  ASSERT_TRUE(a.Send(Encoded(Request(kUnordered, 1), Filled(7, 0))) && a.ReceiveFrame(reply));
  ASSERT_TRUE(b.Send(Encoded(Request(kUnordered, 2))) && b.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.sequence, 0u);
  ASSERT_TRUE(a.Send(Encoded(Request(kUnordered, 2))) && a.ReceiveFrame(reply));
  EXPECT_EQ(reply.header.sequence, 7u);
}

TEST_F(ServerTest, StopLetsFramesInExecutionFinishAndClosesAll) {
  Watch gate;
  bool is_running = false;
  bool is_open = false;
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto body, auto data) {
    gate.Changed([&] { is_running = true; });
    ASSERT_TRUE(gate.Until([&] { return is_open; }));
    Echo(connection, header, body, data);
  };
  const Running serving(*this);
  Peer peer(Port());
  Peer idle(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(idle.Hello());
  ASSERT_TRUE(peer.Send(Encoded(Request(kUnordered, 1))));
  ASSERT_TRUE(gate.Until([&] { return is_running; }));
  std::thread opener([&] { gate.Changed([&] { is_open = true; }); });
  EXPECT_TRUE(server_->Stop(kPatience));
  opener.join();
  Received reply;
  EXPECT_TRUE(peer.ReceiveFrame(reply));
  EXPECT_TRUE(peer.SeesEnd());
  EXPECT_TRUE(idle.SeesEnd());
  EXPECT_TRUE(handler_.WaitClosed(2));
}

TEST_F(ServerTest, StopGivesUpOnAFrameThatDoesNotReturn) {
  Watch gate;
  bool is_running = false;
  bool is_open = false;
  handler_.on_frame = [&](const auto&, FrameHeader, auto, auto) {
    gate.Changed([&] { is_running = true; });
    ASSERT_TRUE(gate.Until([&] { return is_open; }));
  };
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(peer.Send(Encoded(Request(kUnordered, 1))));
  ASSERT_TRUE(gate.Until([&] { return is_running; }));
  EXPECT_FALSE(server_->Stop(std::chrono::milliseconds(1)));
  EXPECT_TRUE(peer.SeesEnd());
  gate.Changed([&] { is_open = true; });
}

TEST_F(ServerTest, SendingOnAClosedConnectionDoesNothing) {
  std::shared_ptr<Connection> kept;
  handler_.on_frame = [&](const auto& connection, FrameHeader, auto, auto) {
    handler_.watch.Changed([&] { kept = connection; });
    connection->Close();
  };
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(peer.Send(Encoded(Request(kUnordered))));
  EXPECT_TRUE(peer.SeesEnd());
  EXPECT_TRUE(handler_.WaitClosed(1));
  StopServer();
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->IsClosed());
  kept->Send({}, Filled(10, 0), {});  // outlives its server, as a session may keep it
  kept->Close();
}

TEST_F(ServerTest, SendsFromManyThreadsArriveWhole) {
  constexpr int kThreads = 4;
  constexpr std::uint32_t kEach = 200;
  std::vector<std::thread> senders;
  handler_.on_frame = [&](const auto& connection, FrameHeader header, auto, auto) {
    header.kind = FrameKind::kNotice;
    for (int t = 0; t < kThreads; ++t) {
      senders.emplace_back([connection, header]() mutable {
        for (header.sequence = 0; header.sequence < kEach; ++header.sequence) {
          connection->Send(header, Filled(header.sequence, header.sequence), Filled(20000, header.sequence));
        }
      });
    }
  };
  const Running serving(*this);
  Peer peer(Port());
  ASSERT_TRUE(peer.Hello());
  ASSERT_TRUE(peer.Send(Encoded(Request(kUnordered))));
  for (std::uint32_t i = 0; i < kThreads * kEach; ++i) {
    Received notice;
    ASSERT_TRUE(peer.ReceiveFrame(notice));
    ASSERT_EQ(notice.body, Filled(notice.header.sequence, notice.header.sequence));
    ASSERT_EQ(notice.data, Filled(20000, notice.header.sequence));
  }
  for (std::thread& sender : senders) sender.join();
}

}  // namespace
}  // namespace baton::server::test
