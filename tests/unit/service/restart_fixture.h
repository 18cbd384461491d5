// Lives of a server for tests: one after the other over the same export and reply file, as a batond that was
// killed and started again. The session is simply there in each of them, as after its assertion: without the
// handles.
#pragma once

#include <fstream>
#include <iterator>
#include <thread>

#include "unit/service/fixture.h"

namespace baton::server {

using store::StoreOperation;

// What outlives them.
struct Disk {
  test::TempDir exported;
  test::TempDir state;
  std::uint64_t starts = 0;
  std::optional<Guid> absent;  // has not come back for ten seconds in each life
  std::filesystem::path ReplyPath() const { return state.Path() / "replies"; }
  std::filesystem::path At(const std::string& name) const { return exported.Path() / name; }
  std::string Replies() const {
    std::ifstream file(ReplyPath(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // In place: the file may still be mapped.
  void SetReplies(const std::string& bytes) {
    std::fstream(ReplyPath(), std::ios::in | std::ios::out | std::ios::binary) << bytes;
  }
  std::string Content(const std::string& name) const {
    std::ifstream file(At(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& name, const std::string& content) {
    std::ofstream(At(name), std::ios::binary) << content;
  }
};

class Life {
 public:
  static constexpr SessionId kSession{77};

  explicit Life(Disk& on, std::shared_ptr<store::Faults> with = std::make_shared<store::Faults>())
      : disk(on), faults(with) {
    auto posix = store::PosixStore::Open(disk.exported.Path(), {std::byte{7}}, {});
    if (!posix) throw std::runtime_error(posix.error());
    store = store::MakeFaultyStore(std::move(*posix), faults);
    replies = ReplyFile::Open(disk.state.Path(), "boot").value();
    Recovered recovered;
    recovered.starts = ++disk.starts;
    recovered.survivors.first_handle = HandleId{disk.starts << 40};
    if (disk.absent) {
      recovered.survivors.sessions = {{SessionId{78}, "b", "boot", "other machine", "/mnt"}};
      recovered.survivors.uses = {{SessionId{78}, *disk.absent, Epoch{1}}};
      recovered.survivors.absent_until = clock.Now() + std::chrono::seconds(10);
    }
    coordinator.emplace(ArbiterOptions(), recovered, *state, events, executor, executor, clock, true);
    session = std::make_shared<Session>(kSession, protocol::SessionSecret{}, "a", false, clock.Now());
    bool welcome = false;
    coordinator->BeginSession(
        session, {kSession, "a", "boot", "machine", "/mnt"}, [&](const auto&) { welcome = true; },
        [](int error) { FAIL() << error; });
    EXPECT_TRUE(Until([&] { return coordinator->FindSession(kSession) != nullptr; }));
    coordinator->WithStateStore([](StateStore&) {});  // the welcome is over
    EXPECT_TRUE(welcome);
    service.emplace(ServiceOptions(), *store, *coordinator, *replies, executor, clock);
    connection->Attach(session);
    session->Adopt(connection, [](Connection&) {});
    session->begun.store(true);
  }
  ~Life() {
    service->Stop();
    coordinator->Stop();
    executor.RunPosted();
    connection->Close();
    service->OnClosed(connection);
    connection->Attach(nullptr);
  }

  bool Until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done()) {
      executor.RunPosted();
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::unique_lock lock(bell.mutex);
      bell.rung.wait_for(lock, std::chrono::milliseconds(1), [this] { return executor.HasPosted(); });
    }
    return true;
  }
  FileRef Root() { return store->Root().ref; }

  template <Operation kOperation>
  void Send(const typename protocol::MessagesOf<kOperation>::Request& request, std::uint32_t slot,
            std::uint32_t sequence, std::string_view data = {}) {
    std::vector<std::byte> body;
    protocol::Encoder(body).Put(request);
    protocol::FrameHeader header;
    header.operation = static_cast<std::uint16_t>(kOperation);
    header.slot = slot;
    header.sequence = sequence;
    service->OnFrame(connection, header, body, std::as_bytes(std::span(data)));
  }
  // The error of the answer; -1: there is none.
  template <Operation kOperation>
  int Ask(const typename protocol::MessagesOf<kOperation>::Request& request, std::uint32_t slot,
          std::uint32_t sequence, std::string_view data = {}) {
    Send<kOperation>(request, slot, sequence, data);
    const bool came = Until([&] { return connection->IsClosed() || connection->ReplyTo(slot, sequence); });
    const auto reply = connection->ReplyTo(slot, sequence);
    return came && reply ? reply->header.error : -1;
  }
  template <Operation kOperation>
  auto ReplyOf(std::uint32_t slot, std::uint32_t sequence) {
    const auto frame = connection->ReplyTo(slot, sequence);
    EXPECT_TRUE(frame);
    EXPECT_EQ(frame->header.operation, static_cast<std::uint16_t>(kOperation));
    const auto reply = protocol::Decode<typename protocol::MessagesOf<kOperation>::Reply>(frame->body);
    EXPECT_TRUE(reply);
    return reply.value();
  }
  // On a slot of its own.
  FileRef Find(const std::string& name) { return store->Find(Root(), name).value().ref; }

  Disk& disk;
  Bell bell;
  ManualClock clock;
  ManualExecutor executor{bell};
  std::shared_ptr<store::Faults> faults;
  std::unique_ptr<store::BackingStore> store;
  std::unique_ptr<ReplyFile> replies;
  std::unique_ptr<StateStore> state = SqliteStateStore::OpenInMemory();
  EventLog events{{.write = [](bool, const std::string&) {}}};
  std::shared_ptr<FakeConnection> connection = std::make_shared<FakeConnection>(bell);
  std::shared_ptr<Session> session;
  std::optional<Coordinator> coordinator;
  std::optional<Service> service;
};

// Where the server was killed.
enum class Killed : std::uint8_t { kBeforeEffect, kAfterEffect, kAfterReply };
inline constexpr std::array kEverywhere = {Killed::kBeforeEffect, Killed::kAfterEffect, Killed::kAfterReply};
inline const char* Name(Killed killed) {
  constexpr std::array kNames = {"before the effect", "after the effect", "after the reply"};
  return kNames[static_cast<std::size_t>(killed)];
}

// A life that ends in the middle of a request on slot 0: `at` is the call of the store that has the effect,
// or comes behind it. What the reply file was then is what the next life finds.
template <Operation kOperation>
void RunUntilKilled(Life& life, const typename protocol::MessagesOf<kOperation>::Request& request,
                    Killed killed, StoreOperation at, std::string_view data = {},
                    std::uint32_t sequence = 1) {
  if (killed == Killed::kAfterReply) {
    ASSERT_EQ(life.Ask<kOperation>(request, 0, sequence, data), 0);
    return;
  }
  life.faults->Stall(at);
  std::thread worker([&] { life.Send<kOperation>(request, 0, sequence, data); });
  EXPECT_TRUE(life.faults->AwaitStalled(at, 1, std::chrono::seconds(10)));
  const std::string as_it_was = life.disk.Replies();
  if (killed == Killed::kBeforeEffect) life.faults->FailNext(at, EIO);
  life.faults->Release(at);
  worker.join();
  EXPECT_TRUE(life.Until([&] { return life.connection->ReplyTo(0, sequence).has_value(); }));
  life.disk.SetReplies(as_it_was);  // stores into the mapping are over
}

}  // namespace baton::server
