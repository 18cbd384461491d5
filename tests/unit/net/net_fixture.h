// What the tests of the server's network side share: a handler made of functions, and a peer that speaks raw
// bytes.
#pragma once

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "protocol/codec.h"
#include "protocol/operations.h"
#include "server/net/server.h"
#include "server/net/worker_pool.h"

namespace baton::server::test {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::Operation;
using Bytes = std::vector<std::byte>;

inline constexpr auto kPatience = std::chrono::seconds(20);

// Waits for a condition that other threads bring about, and are to call Changed() for.
class Watch {
 public:
  void Changed(const std::function<void()>& change = [] {}) {
    const std::lock_guard lock(mutex_);
    change();
    condition_.notify_all();
  }
  bool Until(const std::function<bool()>& holds, std::chrono::nanoseconds patience = kPatience) {
    std::unique_lock lock(mutex_);
    return condition_.wait_for(lock, patience, holds);
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
};

inline Bytes Encoded(FrameHeader header, std::span<const std::byte> body = {},
                     std::span<const std::byte> data = {}) {
  header.body_size = static_cast<std::uint32_t>(body.size());
  header.data_size = static_cast<std::uint32_t>(data.size());
  Bytes out(protocol::kFrameHeaderSize);
  protocol::EncodeFrameHeader(header,
                              std::span<std::byte, protocol::kFrameHeaderSize>(out.data(), out.size()));
  out.insert(out.end(), body.begin(), body.end());
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

inline FrameHeader Request(Operation operation, std::uint32_t sequence = 0) {
  FrameHeader header;
  header.operation = static_cast<std::uint16_t>(operation);
  header.sequence = sequence;
  return header;
}

inline Bytes Filled(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + i / 251 + seed) & 0xff);
  return bytes;
}

struct Received {
  FrameHeader header;
  Bytes body;
  Bytes data;
};

class Peer {
 public:
  explicit Peer(std::uint16_t port, int receive_buffer = 0) {
    fd_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_buffer != 0) {
      ::setsockopt(fd_.Get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const int on = 1;
    ::setsockopt(fd_.Get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval patience{20, 0};
    ::setsockopt(fd_.Get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_.Get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }

  int Fd() const { return fd_.Get(); }
  void Drop() { fd_.Reset(); }

  // False if the server closed the connection.
  bool Send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.Get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // Takes what the socket takes at once.
  std::size_t SendSome(std::span<const std::byte> bytes) {
    const ssize_t sent = ::send(fd_.Get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }

  bool Receive(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t got = ::recv(fd_.Get(), bytes.data(), bytes.size(), 0);
      if (got <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }

  bool ReceiveFrame(Received& frame) {
    std::array<std::byte, protocol::kFrameHeaderSize> head;
    if (!Receive(head) || !protocol::DecodeFrameHeader(head, frame.header)) return false;
    frame.body.resize(frame.header.body_size);
    frame.data.resize(frame.header.data_size);
    return Receive(frame.body) && Receive(frame.data);
  }

  // True if the server closed the connection (within the patience), with nothing left to read.
  bool SeesEnd() {
    std::byte byte;
    const ssize_t got = ::recv(fd_.Get(), &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }

  bool Hello() {
    Received reply;
    return Send(Encoded(Request(Operation::kHello))) && ReceiveFrame(reply) &&
           reply.header.operation == static_cast<std::uint16_t>(Operation::kHello);
  }

 private:
  UniqueFd fd_;
};

inline void Echo(const std::shared_ptr<Connection>& connection, FrameHeader header,
                 std::span<const std::byte> body, std::span<const std::byte> data) {
  header.kind = FrameKind::kReply;
  connection->Send(header, body, data);
}

class Handler final : public FrameHandler {
 public:
  using Function = std::function<void(const std::shared_ptr<Connection>&, FrameHeader,
                                      std::span<const std::byte>, std::span<const std::byte>)>;

  Function on_frame = Echo;  // everything but HELLO, which is echoed
  Watch watch;
  std::set<const Connection*> closed;  // under watch
  std::vector<std::string> limits;     // under watch
  std::uint64_t closed_twice = 0;
  std::atomic<std::uint64_t> heard = 0;

  void OnFrame(const std::shared_ptr<Connection>& connection, FrameHeader header,
               std::span<const std::byte> body, std::span<const std::byte> data) override {
    if (static_cast<Operation>(header.operation) == Operation::kHello) {
      Echo(connection, header, body, data);
    } else {
      on_frame(connection, header, body, data);
    }
  }
  void OnHeard(const std::shared_ptr<Connection>&) override { heard.fetch_add(1); }
  void OnClosed(const std::shared_ptr<Connection>& connection) override {
    watch.Changed([&] {
      // Kept, so that no other connection gets the address.
      kept_.push_back(connection);
      if (!closed.insert(connection.get()).second) ++closed_twice;
    });
  }
  void OnLimit(const char* option, const std::string&, const std::shared_ptr<Connection>&) override {
    watch.Changed([&] { limits.emplace_back(option); });
  }
  bool WaitClosed(std::size_t count) {
    return watch.Until([&] { return closed.size() >= count; });
  }

 private:
  std::vector<std::shared_ptr<Connection>> kept_;
};

class ServerTest : public ::testing::Test {
 protected:
  // Ends the server before the locals that its handler uses: declare it after them.
  class Running {
   public:
    explicit Running(ServerTest& test) : test_(test) { test_.StartServer(); }
    ~Running() { test_.StopServer(); }

   private:
    ServerTest& test_;
  };

  void StartServer() {
    config_.listen = "127.0.0.1:0";
    auto pool = WorkerPool::Create(pool_config_);
    ASSERT_TRUE(pool);
    pool_ = std::move(*pool);
    server_ = std::make_unique<Server>(config_, *pool_, handler_);
    ASSERT_TRUE(server_->Start());
  }
  void StopServer() {
    server_.reset();
    pool_.reset();
  }
  ~ServerTest() override {
    StopServer();
    EXPECT_EQ(handler_.closed_twice, 0u);
  }
  std::uint16_t Port() const { return server_->Port(); }

  PoolConfig pool_config_;
  ServerConfig config_;
  Handler handler_;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<Server> server_;
};

}  // namespace baton::server::test
