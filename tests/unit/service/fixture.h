// A service for tests: the real Service, Coordinator and arbiter on a PosixStore in a directory of its own and
// a state in memory; connections that keep what was sent to them; executor, timers and clock by hand. Only the
// coordinator's commit thread is real: Bench::Until waits for what it brings.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "protocol/codec.h"
#include "server/service/coordinator.h"
#include "server/service/service.h"
#include "server/state/sqlite_state_store.h"
#include "server/store/faulty_store.h"
#include "server/store/posix_store.h"
#include "support/temp_dir.h"

namespace baton::server {

using protocol::Operation;

// What everything here waits with.
struct Bell {
  std::mutex mutex;
  std::condition_variable rung;
  void Ring() { rung.notify_all(); }
};

class ManualClock final : public Clock {
 public:
  Instant Now() const override { return Instant(now_.load()); }
  void Advance(Duration by) { now_.fetch_add(by.count()); }

 private:
  std::atomic<std::int64_t> now_{Duration(std::chrono::hours(1)).count()};
};

// Runs nothing by itself.
class ManualExecutor final : public Executor, public Timers {
 public:
  explicit ManualExecutor(Bell& bell) : bell_(bell) {}

  void Post(std::function<void()> task) override {
    const std::lock_guard lock(bell_.mutex);
    tasks_.push_back(std::move(task));
    bell_.Ring();
  }
  TimerId At(Instant when, std::function<void()> task) override {
    const std::lock_guard lock(bell_.mutex);
    const TimerId id{++last_timer_};
    timers_.emplace(std::pair(when, id), std::move(task));
    return id;
  }
  bool Cancel(TimerId id) override {
    const std::lock_guard lock(bell_.mutex);
    return std::erase_if(timers_, [id](const auto& timer) { return timer.first.second == id; }) > 0;
  }

  // Runs what is posted until nothing is.
  void RunPosted() {
    while (RunOne()) {
    }
  }
  // False if nothing is posted.
  bool RunOne() {
    auto task = Next();
    if (task) task();
    return task != nullptr;
  }
  void RunDueTimers(Instant now) {
    for (;;) {
      std::function<void()> task;
      {
        const std::lock_guard lock(bell_.mutex);
        if (timers_.empty() || timers_.begin()->first.first > now) return;
        task = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
      }
      task();
    }
  }
  bool HasPosted() const { return !tasks_.empty(); }  // with the bell's mutex

 private:
  std::function<void()> Next() {
    const std::lock_guard lock(bell_.mutex);
    if (tasks_.empty()) return {};
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    return task;
  }

  Bell& bell_;
  std::deque<std::function<void()>> tasks_;
  std::map<std::pair<Instant, TimerId>, std::function<void()>> timers_;
  std::uint64_t last_timer_ = 0;
};

struct Frame {
  protocol::FrameHeader header;
  std::vector<std::byte> body;
  std::vector<std::byte> data;
};

class FakeConnection final : public Connection {
 public:
  explicit FakeConnection(Bell& bell) : bell_(bell) {}

  void Send(protocol::FrameHeader header, std::span<const std::byte> body,
            std::span<const std::byte> data) override {
    EXPECT_LE(body.size(), protocol::kMaxBodySize);  // the real connection ends the server
    const std::lock_guard lock(bell_.mutex);
    if (closed_) return;
    frames_.push_back({header, {body.begin(), body.end()}, {data.begin(), data.end()}});
    bell_.Ring();
  }
  void Close() override { closed_ = true; }
  bool IsClosed() const override { return closed_; }
  const std::string& PeerName() const override { return peer_; }

  void Clear() {
    const std::lock_guard lock(bell_.mutex);
    frames_.clear();
  }
  std::vector<Frame> Frames() const {
    const std::lock_guard lock(bell_.mutex);
    return frames_;
  }
  std::optional<Frame> ReplyTo(std::uint32_t slot, std::uint32_t sequence) const {
    for (const Frame& frame : Frames()) {
      if (frame.header.kind == protocol::FrameKind::kReply && frame.header.slot == slot &&
          frame.header.sequence == sequence) {
        return frame;
      }
    }
    return std::nullopt;
  }
  template <class Notice>
  std::vector<Notice> Notices(Operation operation) const {
    std::vector<Notice> notices;
    for (const Frame& frame : Frames()) {
      if (frame.header.kind != protocol::FrameKind::kNotice ||
          frame.header.operation != static_cast<std::uint16_t>(operation)) {
        continue;
      }
      const auto notice = protocol::Decode<Notice>(frame.body);
      EXPECT_TRUE(notice);
      if (notice) notices.push_back(*notice);
    }
    return notices;
  }

 private:
  Bell& bell_;
  const std::string peer_ = "127.0.0.1:1";
  std::atomic<bool> closed_{false};
  std::vector<Frame> frames_;
};

class Bench;

// One mount, as far as the server sees it.
class TestMount {
 public:
  TestMount(Bench& bench, std::string node) : bench_(bench), node_(std::move(node)) {}

  // HELLO on a new connection: the session's beginning, or its resumption. The error of the reply.
  // `on`: a connection of the test's own.
  int Hello(std::string mount_point = "/mnt", std::shared_ptr<FakeConnection> on = nullptr);
  void Disconnect();

  // Sends one request on the slot; its sequence number.
  template <Operation kOperation>
  std::uint32_t Send(const typename protocol::MessagesOf<kOperation>::Request& request, std::uint32_t slot,
                     std::string_view data = {});
  // Sends it again, as after a resume.
  template <Operation kOperation>
  void SendAgain(const typename protocol::MessagesOf<kOperation>::Request& request, std::uint32_t slot,
                 std::uint32_t sequence, std::string_view data = {});
  void Cancel(std::uint32_t slot, std::uint32_t sequence);

  template <class Reply>
  struct Answer {
    int error = 0;
    Reply reply;
    std::vector<std::byte> data;
  };
  // The request on the first slot, and its answer.
  template <Operation kOperation>
  auto Call(const typename protocol::MessagesOf<kOperation>::Request& request, std::string_view data = {})
      -> Answer<typename protocol::MessagesOf<kOperation>::Reply>;
  // The error of the answer to a request sent before; waits for it.
  int ErrorOf(std::uint32_t slot, std::uint32_t sequence);

  std::shared_ptr<FakeConnection> connection;
  std::string boot = "boot";
  std::uint64_t features = 0;
  protocol::HelloReply welcome;

 private:
  Bench& bench_;
  const std::string node_;
  std::map<std::uint32_t, std::uint32_t> sequences_;
};

class Bench {
 public:
  enum class Checks : std::uint8_t { kInvariants, kNone };  // the first takes time by the state

  explicit Bench(const ArbiterOptions& options = {}, const ServiceOptions& service_options = {},
                 Checks checks = Checks::kInvariants) {
    auto posix = store::PosixStore::Open(dir.Path(), {std::byte{7}}, {});
    if (!posix) throw std::runtime_error(posix.error());
    store = store::MakeFaultyStore(std::move(*posix), faults);
    coordinator.emplace(options, Recovered(), state, events, executor, executor, clock, checks == Checks::kInvariants);
    service.emplace(service_options, *store, *coordinator, *replies, executor, clock);
  }
  ~Bench() {
    service->Stop();
    coordinator->Stop();
    executor.RunPosted();
    // As a server that stops does: a session and its connection hold each other until then.
    for (const auto& connection : connections) {
      connection->Close();
      service->OnClosed(connection);
    }
  }

  // Runs what is posted until `done`; false at the deadline.
  bool Until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    for (;;) {
      executor.RunPosted();
      if (done()) return true;
      std::unique_lock lock(bell.mutex);
      // What was done may not ring: looked at again soon.
      bell.rung.wait_for(lock, std::chrono::milliseconds(5), [this] { return executor.HasPosted(); });
      if (std::chrono::steady_clock::now() > deadline) return false;
    }
  }
  void Advance(Duration by) {
    clock.Advance(by);
    executor.RunDueTimers(clock.Now());
    executor.RunPosted();
  }
  std::string StateOf(SessionId id) {
    for (const auto& info : coordinator->WithArbiter([](Arbiter& arbiter) { return arbiter.ListSessions(); })) {
      if (info.session == id) return info.state;
    }
    return "gone";
  }
  FileRef Root() { return store->Root().ref; }

  Bell bell;
  ManualClock clock;
  test::TempDir dir;
  std::shared_ptr<store::Faults> faults = std::make_shared<store::Faults>();
  std::unique_ptr<store::BackingStore> store;
  std::unique_ptr<StateStore> state_in_memory = SqliteStateStore::OpenInMemory();
  StateStore& state = *state_in_memory;
  test::TempDir state_dir;
  std::unique_ptr<ReplyFile> replies = ReplyFile::Open(state_dir.Path(), "boot").value();
  EventLog events{{.write = [](bool, const std::string&) {}}};
  ManualExecutor executor{bell};
  std::vector<std::shared_ptr<FakeConnection>> connections;  // all that said HELLO
  std::optional<Coordinator> coordinator;
  std::optional<Service> service;
};

inline Guid GuidOf(unsigned char number) {
  Guid guid{};
  guid.data[15] = number;
  return guid;
}

inline protocol::Caller Anonymous() {
  protocol::Caller caller;
  caller.uid = ::geteuid();
  caller.gid = ::getegid();
  caller.pid = 100;
  caller.program = "program";
  return caller;
}
inline protocol::Caller MemberOf(const Guid& guid, Epoch epoch = kNewEpoch) {
  protocol::Caller caller = Anonymous();
  caller.member = protocol::Member{.guid = guid, .epoch = epoch, .owner_uid = caller.uid};
  return caller;
}

inline int TestMount::Hello(std::string mount_point, std::shared_ptr<FakeConnection> on) {
  connection = on ? std::move(on) : std::make_shared<FakeConnection>(bench_.bell);
  bench_.connections.push_back(connection);
  protocol::HelloRequest hello;
  hello.magic = protocol::kMagic;
  hello.oldest_version = hello.newest_version = protocol::kProtocolVersion;
  hello.features = features;
  hello.session = welcome.session;
  hello.secret = welcome.secret;
  hello.node = node_;
  hello.boot = boot;
  hello.machine = "machine of " + node_;
  hello.mount_point = std::move(mount_point);
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(hello);
  protocol::FrameHeader header;
  header.operation = static_cast<std::uint16_t>(Operation::kHello);
  bench_.service->OnFrame(connection, header, body, {});
  bench_.Until([this] { return connection->IsClosed() || connection->ReplyTo(protocol::kNoSlot, 0); });
  const auto reply = connection->ReplyTo(protocol::kNoSlot, 0);
  if (!reply) return ENOTCONN;
  if (reply->header.error == 0) {
    const auto decoded = protocol::Decode<protocol::HelloReply>(reply->body);
    EXPECT_TRUE(decoded);
    if (decoded) welcome = *decoded;
  }
  return reply->header.error;
}

inline void TestMount::Disconnect() {
  connection->Close();
  bench_.service->OnClosed(connection);
}

template <Operation kOperation>
void TestMount::SendAgain(const typename protocol::MessagesOf<kOperation>::Request& request, std::uint32_t slot,
                          std::uint32_t sequence, std::string_view data) {
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(request);
  protocol::FrameHeader header;
  header.operation = static_cast<std::uint16_t>(kOperation);
  header.slot = slot;
  header.sequence = sequence;
  bench_.service->OnFrame(connection, header, body, std::as_bytes(std::span(data)));
}

template <Operation kOperation>
std::uint32_t TestMount::Send(const typename protocol::MessagesOf<kOperation>::Request& request,
                              std::uint32_t slot, std::string_view data) {
  const std::uint32_t sequence = ++sequences_[slot];
  SendAgain<kOperation>(request, slot, sequence, data);
  return sequence;
}

inline void TestMount::Cancel(std::uint32_t slot, std::uint32_t sequence) {
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(protocol::CancelRequest{slot, sequence});
  protocol::FrameHeader header;
  header.operation = static_cast<std::uint16_t>(Operation::kCancel);
  bench_.service->OnFrame(connection, header, body, {});
}

inline int TestMount::ErrorOf(std::uint32_t slot, std::uint32_t sequence) {
  if (!bench_.Until([&] { return connection->ReplyTo(slot, sequence).has_value(); })) return -1;
  return connection->ReplyTo(slot, sequence)->header.error;
}

template <Operation kOperation>
auto TestMount::Call(const typename protocol::MessagesOf<kOperation>::Request& request, std::string_view data)
    -> Answer<typename protocol::MessagesOf<kOperation>::Reply> {
  Answer<typename protocol::MessagesOf<kOperation>::Reply> answer;
  const std::uint32_t sequence = Send<kOperation>(request, 0, data);
  answer.error = ErrorOf(0, sequence);
  const auto frame = connection->ReplyTo(0, sequence);
  if (!frame) return answer;
  answer.data = frame->data;
  if (answer.error != 0) return answer;
  const auto reply = protocol::Decode<typename protocol::MessagesOf<kOperation>::Reply>(frame->body);
  EXPECT_TRUE(reply);
  if (reply) answer.reply = *reply;
  return answer;
}

}  // namespace baton::server
