// A batond of a few lines on a loopback socket, with the exactly-once bookkeeping of slots and with the
// faults a test asks for: cut in the middle of a reply, freeze, garbage. One thread; hooks run on it.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "fake_transport.h"
#include "fuse/net/frame_reader.h"

namespace baton::client {

class TcpServer {
 public:
  struct Peer {
    UniqueFd fd;
    FrameReader reader;
    bool closed = false;
  };
  // Asked before the usual handling of a request; true: the hook has dealt with it.
  using Hook = std::function<bool(TcpServer&, Peer&, const FrameHeader&, std::span<const std::byte> body,
                                  std::span<const std::byte> data)>;

  explicit TcpServer(Hook hook = nullptr, std::uint16_t port = 0)
      : hook_(std::move(hook)), wake_(eventfd(0, EFD_CLOEXEC)) {
    Listen(port);
    thread_ = std::thread([this] { Run(); });
  }
  ~TcpServer() {
    stopping_ = true;
    Thaw();
    Kick();
    thread_.join();
  }

  std::uint16_t Port() const { return port_; }

  // As SIGSTOP: the kernel still accepts and acknowledges, nobody answers.
  void Freeze() {
    const std::scoped_lock lock(mutex_);
    frozen_ = true;
    Kick();
  }
  void Thaw() {
    const std::scoped_lock lock(mutex_);
    frozen_ = false;
    changed_.notify_all();
  }
  // Every connection is closed after the server has sent so many bytes more; -1: never.
  void CutAfter(long bytes) { cut_after_ = bytes; }
  void ForgetSession() { forget_ = true; }

  std::atomic<int> hellos{0};
  std::atomic<int> executed{0};  // requests that took effect
  std::atomic<int> twice{0};     // that took effect a second time: must stay 0
  std::atomic<int> settles{0};
  std::atomic<std::uint32_t> slots{4};

  void Reply(Peer& peer, const FrameHeader& request, std::span<const std::byte> body = {},
             std::span<const std::byte> data = {}, int error = 0) {
    FrameHeader header = request;
    header.kind = FrameKind::kReply;
    header.flags = 0;
    header.error = error;
    header.body_size = static_cast<std::uint32_t>(body.size());
    header.data_size = static_cast<std::uint32_t>(data.size());
    std::vector<std::byte> bytes(protocol::kFrameHeaderSize);
    EncodeFrameHeader(header, std::span<std::byte, protocol::kFrameHeaderSize>(bytes));
    bytes.insert(bytes.end(), body.begin(), body.end());
    bytes.insert(bytes.end(), data.begin(), data.end());
    SendRaw(peer, bytes);
  }
  void SendRaw(Peer& peer, std::span<const std::byte> bytes) {
    long allowed = static_cast<long>(bytes.size());
    if (cut_after_ >= 0) {
      allowed = std::min(allowed, cut_after_.load());
      cut_after_ -= allowed;
    }
    for (std::size_t sent = 0; sent < static_cast<std::size_t>(allowed);) {
      const ssize_t taken =
          send(peer.fd.Get(), bytes.data() + sent, static_cast<std::size_t>(allowed) - sent, MSG_NOSIGNAL);
      if (taken <= 0) break;
      sent += static_cast<std::size_t>(taken);
    }
    if (cut_after_ == 0) {
      peer.closed = true;
      cut_after_ = -1;
    }
  }

 private:
  void Listen(std::uint16_t port) {
    listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(listener_.Get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.Get(), 64), 0);
    socklen_t size = sizeof address;
    getsockname(listener_.Get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  void Kick() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto ignored = ::write(wake_.Get(), &one, sizeof one);
  }
  void Run() {
    while (!stopping_) {
      WaitWhileFrozen();
      std::vector<pollfd> polled{{wake_.Get(), POLLIN, 0}, {listener_.Get(), POLLIN, 0}};
      for (Peer& peer : peers_) polled.push_back({peer.fd.Get(), POLLIN, 0});
      poll(polled.data(), polled.size(), -1);
      if (polled[0].revents != 0) {
        std::uint64_t count;
        [[maybe_unused]] const auto ignored = ::read(wake_.Get(), &count, sizeof count);
        continue;
      }
      std::size_t i = 2;
      for (Peer& peer : peers_) {
        if (polled[i++].revents != 0) Receive(peer);
      }
      peers_.remove_if([](const Peer& peer) { return peer.closed; });
      if (polled[1].revents != 0) peers_.emplace_back().fd.Reset(accept(listener_.Get(), nullptr, nullptr));
    }
  }
  void WaitWhileFrozen() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !frozen_ || stopping_; });
  }
  void Receive(Peer& peer) {
    const auto space = peer.reader.Space();
    const ssize_t size = recv(peer.fd.Get(), space.data(), space.size(), 0);
    if (size <= 0) {
      peer.closed = true;
      return;
    }
    peer.reader.Filled(static_cast<std::size_t>(size));
    FrameHeader header;
    std::span<const std::byte> body;
    std::span<const std::byte> data;
    while (!peer.closed && peer.reader.Take(header, body, data) == FrameReader::Next::kFrame) {
      Handle(peer, header, body, data);
    }
  }
  void Handle(Peer& peer, const FrameHeader& header, std::span<const std::byte> body,
              std::span<const std::byte> data) {
    const auto operation = static_cast<Operation>(header.operation);
    if (operation == Operation::kHello) ++hellos;
    if (hook_ && hook_(*this, peer, header, body, data)) return;
    if (operation == Operation::kHello) return Hello(peer, header, body);
    if (header.slot == kNoSlot) return Reply(peer, header);
    Slot& slot = cache_[header.slot];
    if (header.sequence == slot.sequence) return Reply(peer, slot.header, slot.body, slot.data);
    if (operation == Operation::kSettle) {
      ++settles;
    } else {
      ++executed;
      if (header.sequence != slot.sequence + 1) ++twice;
    }
    slot = {header.sequence, header, {}, {}};
    if (operation == Operation::kWrite) {
      slot.body = Encoded(protocol::WriteReply{.written = static_cast<std::uint32_t>(data.size())});
    }
    if (operation == Operation::kRead) {
      const auto read = protocol::Decode<protocol::ReadRequest>(body);
      for (std::uint32_t i = 0; i < read->size; ++i)
        slot.data.push_back(static_cast<std::byte>((read->offset + i) % 251));
    }
    Reply(peer, slot.header, slot.body, slot.data);
  }
  void Hello(Peer& peer, const FrameHeader& header, std::span<const std::byte> body) {
    const auto hello = protocol::Decode<protocol::HelloRequest>(body);
    const bool resumes = hello->session == session_ && session_ != SessionId{} && !forget_;
    if (hello->session != SessionId{} && !resumes) {
      forget_ = false;
      return Reply(peer, header, {}, {}, ESTALE);
    }
    if (!resumes) {
      session_ = SessionId{Raw(session_) + 1};
      cache_.clear();
    }
    Reply(peer, header,
          Encoded(protocol::HelloReply{.version = protocol::kProtocolVersion,
                                       .session = session_,
                                       .resumed = resumes,
                                       .slots = slots,
                                       .lease = std::chrono::seconds(10)}));
  }

  struct Slot {
    std::uint32_t sequence = 0;
    FrameHeader header;
    std::vector<std::byte> body;
    std::vector<std::byte> data;
  };

  Hook hook_;
  UniqueFd wake_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> forget_{false};
  std::atomic<long> cut_after_{-1};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool frozen_ = false;
  std::list<Peer> peers_;
  std::map<std::uint32_t, Slot> cache_;
  SessionId session_{};
  std::thread thread_;
};

}  // namespace baton::client
