// A Session on the transport without sockets, and everything that happens to it as text, in order.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fake_transport.h"
#include "fuse/client/session.h"

namespace baton::client {

// Everything that happens, in order, as text.
using Trace = std::vector<std::string>;

class TracingListener final : public SessionListener {
 public:
  explicit TracingListener(Trace& trace) : trace_(trace) {}
  void OnNewSession(const protocol::HelloReply& reply, Generation generation) override {
    trace_.push_back("new session " + std::to_string(Raw(reply.session)) + " generation " +
                     std::to_string(Raw(generation)));
  }
  void OnFences(const std::vector<protocol::Fence>& fences) override {
    if (!fences.empty()) trace_.push_back("fences " + std::to_string(fences.size()));
  }
  void OnFenced(const protocol::FencedNotice& notice) override {
    trace_.push_back("fenced " + std::to_string(Raw(notice.fence.epoch)));
  }
  void OnRevoked(const protocol::RevokedNotice& notice) override {
    trace_.push_back("revoked " + std::to_string(notice.handles.size()));
  }
  void OnChanged(const protocol::ChangedNotice& notice) override {
    trace_.push_back("changed " + std::to_string(notice.change.ino));
  }
  void OnResumed() override { trace_.push_back("resumed"); }
  void OnServerRebooted() override { trace_.push_back("rebooted"); }
  void OnSessionLost() override { trace_.push_back("lost"); }

 private:
  Trace& trace_;
};

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(session.Start(std::chrono::seconds(5)));
    trace.clear();
  }

  template <Operation kOp>
  std::string Text(const std::string& name, const Answer<kOp>& answer) {
    std::string text =
        name + (answer.reply ? " ok" : " " + std::string(strerrorname_np(answer.reply.error().value)));
    if (answer.fate == Fate::kUnknown) text += " fate-unknown";
    return text;
  }
  CallToken Fsync(const std::string& name, CallOptions<Operation::kFsync> options = {}) {
    options.token = session.NewToken();
    const CallToken token = options.token;
    session.Call<Operation::kFsync>(
        {.handle = HandleId{1}}, [this, name](auto&& answer) { trace.push_back(Text(name, answer)); },
        std::move(options));
    return token;
  }
  // An open that says what becomes of it when it was given up (rule O6).
  CallToken Open(const std::string& name, Duration op_timeout = {}) {
    const CallToken token = session.NewToken();
    session.Call<Operation::kOpen>(
        {}, [this, name](auto&& answer) { trace.push_back(Text(name, answer)); },
        {.op_timeout = op_timeout, .token = token, .late = [this, name](auto&& answer) {
           trace.push_back(Text("late " + name, answer));
           if (answer.reply) late_handle = answer.reply->handle;
         }});
    return token;
  }

  ManualClock clock;
  Trace trace;
  TracingListener listener{trace};
  FakeTransport transport{clock};
  HandleId late_handle{};
  Session session{transport,
                  clock,
                  {.node = "n1", .boot = "b", .machine = "m", .mount_point = "/m", .run = "r"},
                  listener};
};

}  // namespace baton::client
