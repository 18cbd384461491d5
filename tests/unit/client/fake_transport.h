// A Transport without sockets and threads: the test is the network and the server. Everything happens on the
// test's thread, inside Up, Down, Deliver and Pump. Not for tests of timing on a real link; see tcp_server.h.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fuse/client/session.h"
#include "protocol/codec.h"

namespace baton::client {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::kNoSlot;

class ManualClock final : public Clock {
 public:
  Instant Now() const override { return now; }
  Instant now = std::chrono::seconds(100);
};

struct SentFrame {
  FrameHeader header;
  std::vector<std::byte> body;
  std::vector<std::byte> data;
  Operation Op() const { return static_cast<Operation>(header.operation); }
};

template <class Message>
std::vector<std::byte> Encoded(const Message& message) {
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(message);
  return body;
}

class FakeTransport final : public Transport {
 public:
  explicit FakeTransport(const Clock& clock) : clock_(clock) {}

  // What the server says to the HELLO that Start's link brings.
  protocol::HelloReply welcome{.version = protocol::kProtocolVersion,
                               .session = SessionId{7},
                               .secret = {1, 2},
                               .slots = 8,
                               .lease = std::chrono::seconds(10)};
  std::vector<SentFrame> sent;  // without HELLO
  std::vector<protocol::HelloRequest> hellos;
  std::vector<std::string> drops;
  bool connects_at_start = true;
  std::function<void()> on_send;  // inside Send, before the frame is recorded

  void Start(Handler& handler) override {
    handler_ = &handler;
    if (connects_at_start) Connect();
  }
  void Stop() override { stopped = true; }
  bool Send(LinkId link, const FrameHeader& header, std::span<const std::byte> body,
            std::span<const std::byte> data) override {
    if (on_send) on_send();
    if (link != link_ || link == kNoLink) return false;
    if (static_cast<Operation>(header.operation) == Operation::kHello) {
      auto hello = protocol::Decode<protocol::HelloRequest>(body);
      EXPECT_TRUE(hello.has_value());
      if (hello) hellos.push_back(*hello);
    } else {
      sent.push_back({header, {body.begin(), body.end()}, {data.begin(), data.end()}});
    }
    return true;
  }
  void Drop(LinkId link, std::string_view reason) override {
    if (link == link_) drops.emplace_back(reason);
  }
  void Establish(LinkId, Duration) override {}
  void Wake() override { woken = true; }

  void Up() {
    link_ = LinkId{++links_};
    handler_->OnUp(link_, "fake:1");
  }
  void Down() {
    link_ = kNoLink;
    handler_->OnDown("cut", clock_.Now());
  }
  void Hello(int error = 0) {
    const FrameHeader header{.operation = static_cast<std::uint16_t>(Operation::kHello),
                             .kind = FrameKind::kReply,
                             .error = error};
    const auto body = error == 0 ? Encoded(welcome) : std::vector<std::byte>();
    handler_->OnFrame(header, body, {});
  }
  void Connect() {
    Up();
    Hello();
  }
  void Resume() {
    welcome.resumed = true;
    Connect();
  }
  void Unreachable(int error) { handler_->OnUnreachable(error, "fake:1: no"); }
  void Pump() {
    woken = false;
    handler_->OnTick();
  }
  void Deliver(const FrameHeader& header, std::span<const std::byte> body = {},
               std::span<const std::byte> data = {}) {
    handler_->OnFrame(header, body, data);
  }

  static FrameHeader ReplyTo(const SentFrame& request, int error = 0) {
    FrameHeader header = request.header;
    header.kind = FrameKind::kReply;
    header.flags = 0;
    header.error = error;
    return header;
  }
  template <class Message = protocol::Nothing>
  void Answer(const SentFrame& request, const Message& reply = {}) {
    const auto body = Encoded(reply);
    Deliver(ReplyTo(request), body);
  }
  void Refuse(const SentFrame& request, int error) { Deliver(ReplyTo(request, error)); }
  template <class Message>
  void Notify(Operation operation, const Message& notice) {
    const auto body = Encoded(notice);
    Deliver({.operation = static_cast<std::uint16_t>(operation), .kind = FrameKind::kNotice}, body);
  }

  bool stopped = false;
  bool woken = false;

 private:
  const Clock& clock_;
  Handler* handler_ = nullptr;
  LinkId link_ = kNoLink;
  std::uint64_t links_ = 0;
};

}  // namespace baton::client
