// Rule A4 at the operator's door: whatever a client sends or does not read, the others are served and memory
// is bounded.
#include "server/control/control_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <thread>

#include "base/state_dir.h"
#include "base/unix_address.h"
#include "server/control/json.h"
#include "support/temp_dir.h"
#include "unit/control/fake_backend.h"

namespace baton {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;
using Deadline = std::chrono::steady_clock::time_point;
using namespace std::chrono_literals;

constexpr auto kSoon = 10s;
const Guid kGuid = *ParseGuid("6f1c0000-0000-4000-8000-0000000000ab");
const std::string kGuidText = ToString(kGuid);

class Client {
 public:
  explicit Client(const std::filesystem::path& state_dir)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = MakeUnixAddress(ControlSocket(state_dir));
    EXPECT_EQ(::connect(fd_.Get(), address->Get(), UnixAddress::kSize), 0) << strerror(errno);
  }

  void Send(const std::string& bytes) {
    EXPECT_EQ(::send(fd_.Get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void EndSending() { ::shutdown(fd_.Get(), SHUT_WR); }

  // The next line; nothing if the server closed the connection or was silent for too long.
  std::optional<Json> Next() {
    const Deadline deadline = std::chrono::steady_clock::now() + kSoon;
    while (in_.find('\n') == std::string::npos) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd ready{fd_.Get(), POLLIN, 0};
      if (left <= 0ms || ::poll(&ready, 1, static_cast<int>(left.count())) != 1) {
        ADD_FAILURE() << "no answer in time";
        return std::nullopt;
      }
      char bytes[4096];
      const ssize_t got = ::recv(fd_.Get(), bytes, sizeof bytes, 0);
      if (got <= 0) return std::nullopt;
      in_.append(bytes, static_cast<std::size_t>(got));
    }
    const std::size_t end = in_.find('\n');
    Json json = Json::parse(in_.substr(0, end));
    in_.erase(0, end + 1);
    return json;
  }
  std::vector<Json> Ask(const std::string& request) {
    Send(request + "\n");
    std::vector<Json> lines;
    while (auto line = Next()) {
      lines.push_back(*line);
      if (line->contains("done") || line->contains("error")) break;
    }
    return lines;
  }

 private:
  UniqueFd fd_;
  std::string in_;
};

class ControlServerTest : public testing::Test {
 protected:
  ControlServerTest() : events_(EventOptions()) {}

  static EventLog::Options EventOptions() {
    EventLog::Options options;
    options.capacity = 1000;
    options.write = [](bool, const std::string&) {};
    return options;
  }
  void Start(ControlServer::Options options = {}) {
    auto started = ControlServer::Start(dir_.Path(), backend_, events_, options);
    ASSERT_TRUE(started) << started.error();
    server_ = std::move(*started);
  }
  Client Connect() { return Client(dir_.Path()); }
  void Happen(std::uint64_t number) {
    EventRecord event;
    event.kind = EventKind::kTakeover;
    event.handles = number;
    event.file = std::string(500, 'x');
    events_.Append(event);
  }
  // Waits until the backend was asked to fence.
  std::vector<std::pair<Guid, ControlBackend::Fenced>> AwaitFences(std::size_t count) {
    std::vector<std::pair<Guid, ControlBackend::Fenced>> fences;
    const Deadline deadline = std::chrono::steady_clock::now() + kSoon;
    while (fences.size() < count && std::chrono::steady_clock::now() < deadline) {
      for (auto& fence : backend_.TakeFences()) fences.push_back(std::move(fence));
      std::this_thread::yield();
    }
    EXPECT_THAT(fences, SizeIs(count));
    return fences;
  }

  test::TempDir dir_;
  test::FakeBackend backend_;
  EventLog events_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, MakesAPrivateSocketAndRemovesIt) {
  Start();
  struct stat attr {};
  ASSERT_EQ(::lstat(ControlSocket(dir_.Path()).c_str(), &attr), 0);
  EXPECT_TRUE(S_ISSOCK(attr.st_mode));
  EXPECT_EQ(attr.st_mode & 07777, 0600u);
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(ControlSocket(dir_.Path())));
}

TEST_F(ControlServerTest, ReplacesALeftOverSocketButNothingElse) {
  {
    const auto address = MakeUnixAddress(ControlSocket(dir_.Path()));
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::bind(dead.Get(), address->Get(), UnixAddress::kSize), 0);
  }
  Start();
  EXPECT_THAT(Connect().Ask(R"({"command":"status"})"), SizeIs(2));
  server_.reset();
  std::ofstream(ControlSocket(dir_.Path())) << "precious";
  auto refused = ControlServer::Start(dir_.Path(), backend_, events_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("is no socket"));
}

TEST_F(ControlServerTest, WorksInADirectoryWithALongName) {
  const auto deep = dir_.Path() / std::string(90, 'd') / std::string(90, 'e');
  std::filesystem::create_directories(deep);
  auto started = ControlServer::Start(deep, backend_, events_);
  ASSERT_TRUE(started) << started.error();
  EXPECT_THAT(Client(deep).Ask(R"({"command":"status"})"), SizeIs(2));
}

TEST_F(ControlServerTest, AnswersEachListingAndSeveralOnOneConnection) {
  backend_.status.version = "1.2.3";
  backend_.status.lease = 10s;
  backend_.sessions.push_back(
      {{SessionId{7}, "alpha", "b", "m", "/mnt", "active", 2}, "10.0.0.1:999", 1500us});
  backend_.instances.push_back({{kGuid, Epoch{3}, 1000, InstanceVersion{2, 1}, "alpha"}, "live", 1, 2, 3});
  OpenInfo open;
  open.path = "/f\xff";
  open.guid = kGuid;
  open.mode = "claim";
  backend_.opens.push_back(open);
  LockInfo lock;
  lock.path = "/f";
  lock.range = {5, 9};
  lock.kind = "record";
  backend_.locks.push_back(lock);
  Start();
  Client client = Connect();
  EXPECT_EQ(client.Ask(R"({"command":"status"})").at(0)["lease_micros"], 10'000'000);
  EXPECT_EQ(client.Ask(R"({"command":"sessions"})").at(0)["silent_micros"], 1500);
  const Json instance = client.Ask(R"({"command":"instances"})").at(0);
  EXPECT_EQ(instance["guid"], kGuidText);
  EXPECT_EQ(instance["version"], "2.1");
  EXPECT_EQ(client.Ask(R"({"command":"opens"})").at(0)["mode"], "claim");
  const Json locked = client.Ask(R"({"command":"locks","path":"/f"})").at(0);
  EXPECT_EQ(locked["start"], 5);
  EXPECT_EQ(locked["last"], 9);
  EXPECT_TRUE(locked["guid"].is_null());
  const auto missing = client.Ask(R"({"command":"locks","path":"/g"})");
  ASSERT_THAT(missing, SizeIs(1));
  EXPECT_EQ(missing[0]["error"], "ENOENT");
  // All at once, with a client that has nothing more to say.
  client.Send("{\"command\":\"status\"}\n{\"command\":\"sessions\"}\n");
  client.EndSending();
  for (const char* key : {"version", "done", "session", "done"})
    EXPECT_TRUE(client.Next()->contains(key)) << key;
  EXPECT_FALSE(client.Next());
}

TEST_F(ControlServerTest, StreamsALongListing) {
  OpenInfo open;
  open.path = std::string(300, 'p');
  backend_.opens.assign(20'000, open);
  for (std::size_t at = 0; at < backend_.opens.size(); ++at) backend_.opens[at].handle = HandleId{at};
  Start();
  const auto lines = Connect().Ask(R"({"command":"opens"})");
  ASSERT_THAT(lines, SizeIs(20'001));
  EXPECT_EQ(lines[19'999]["handle"], 19'999);
}

TEST_F(ControlServerTest, RefusesGarbageAndServesTheNext) {
  Start({.max_request = 1024});
  const std::string cases[] = {"garbage\n",
                               "\n",
                               "[1,2]\n",
                               "{\"command\":7}\n",
                               "{}\n",
                               std::string("\0\xff\x01\n", 4),
                               std::string(5000, 'x'),
                               std::string(2000, '[') + "\n"};
  for (const auto& bytes : cases) {
    Client client = Connect();
    client.Send(bytes);
    const auto answer = client.Next();
    ASSERT_TRUE(answer) << bytes.substr(0, 20);
    EXPECT_TRUE(answer->contains("error")) << *answer;
    EXPECT_FALSE(client.Next()) << "the connection is closed";
  }
  Client client = Connect();
  const char* mistakes[] = {R"({"command":"dance"})",
                            R"({"command":"opens","path":1})",
                            R"({"command":"events","follow":"yes"})",
                            R"({"command":"events","since":"yesterday"})",
                            R"({"command":"fence"})",
                            R"({"command":"fence","guid":"00000000-0000-0000-0000-000000000000"})",
                            R"({"command":"reset","guid":[]})"};
  for (const char* mistake : mistakes) {
    const auto lines = client.Ask(mistake);
    ASSERT_THAT(lines, SizeIs(1)) << mistake;
    EXPECT_TRUE(lines[0].contains("error") && lines[0].contains("message")) << lines[0];
  }
  EXPECT_THAT(client.Ask(R"({"command":"status"})"), SizeIs(2));
}

TEST_F(ControlServerTest, FencesAndAnswersWhenItIsDone) {
  Start();
  Client client = Connect();
  client.Send("{\"command\":\"fence\",\"guid\":\"" + kGuidText + "\"}\n{\"command\":\"status\"}\n");
  auto fences = AwaitFences(1);
  EXPECT_EQ(fences.at(0).first, kGuid);
  EXPECT_THAT(Connect().Ask(R"({"command":"status"})"), SizeIs(2)) << "others are served meanwhile";
  fences[0].second({});
  EXPECT_EQ((*client.Next())["fenced"], true);
  EXPECT_TRUE(client.Next()->contains("done"));
  EXPECT_TRUE(client.Next()->contains("version")) << "the next request waited its turn";

  Client refused = Connect();
  refused.Send("{\"command\":\"fence\",\"guid\":\"" + kGuidText + "\"}\n");
  AwaitFences(1).at(0).second(tl::unexpected(ControlError{ENOENT, "no such instance"}));
  EXPECT_EQ((*refused.Next())["error"], "ENOENT");
}

TEST_F(ControlServerTest, OutlivesAFenceWhoseClientOrServerIsGone) {
  Start();
  const std::string request = "{\"command\":\"fence\",\"guid\":\"" + kGuidText + "\"}\n";
  std::vector<std::pair<Guid, ControlBackend::Fenced>> fences;
  for (int round = 0; round < 2; ++round) {
    Client client = Connect();
    client.Send(request);
    for (auto& fence : AwaitFences(1)) fences.push_back(std::move(fence));
  }
  ASSERT_THAT(fences, SizeIs(2));
  fences[0].second({});
  EXPECT_THAT(Connect().Ask(R"({"command":"status"})"), SizeIs(2));
  server_.reset();
  fences[1].second({});
}

TEST_F(ControlServerTest, ResetsAndForgets) {
  backend_.forget_answer = tl::unexpected(ControlError{EBUSY, "it is in use"});
  Start();
  Client client = Connect();
  const auto reset = client.Ask(R"({"command":"reset","guid":")" + kGuidText + "\"}");
  ASSERT_THAT(reset, SizeIs(2));
  EXPECT_EQ(reset[0]["reset"], true);
  const auto forget = client.Ask(R"({"command":"forget","guid":")" + kGuidText + "\"}");
  ASSERT_THAT(forget, SizeIs(1));
  EXPECT_EQ(forget[0]["error"], "EBUSY");
  EXPECT_EQ(forget[0]["message"], "it is in use");
}

TEST_F(ControlServerTest, ListsPastEventsAndFollowsNewOnes) {
  Start();
  for (std::uint64_t number = 1; number <= 3; ++number) Happen(number);
  EXPECT_THAT(Connect().Ask(R"({"command":"events"})"), SizeIs(4));
  EXPECT_THAT(Connect().Ask(R"({"command":"events","since":99999999999999999})"), SizeIs(1));
  Client follower = Connect();
  follower.Send("{\"command\":\"events\",\"follow\":true}\n");
  for (std::uint64_t number = 1; number <= 3; ++number) EXPECT_EQ((*follower.Next())["handles"], number);
  for (std::uint64_t number = 4; number <= 300; ++number) {
    Happen(number);
    ASSERT_EQ((*follower.Next())["handles"], number);
  }
  Client fresh = Connect();
  fresh.Send("{\"command\":\"events\",\"follow\":true,\"since\":99999999999999999}\n");
  // Its subscription is certain once an answer to somebody later has come.
  EXPECT_THAT(Connect().Ask(R"({"command":"status"})"), SizeIs(2));
  Happen(301);
  EXPECT_EQ((*fresh.Next())["handles"], 301);
}

TEST_F(ControlServerTest, TellsASlowFollowerHowManyItLost) {
  Start();
  Client slow = Connect();
  slow.Send("{\"command\":\"events\",\"follow\":true}\n");
  Happen(1);
  EXPECT_EQ((*slow.Next())["handles"], 1);
  // Never reads, while far more happens than the socket, the buffer and the log hold.
  constexpr std::uint64_t kMany = 20'000;
  for (std::uint64_t number = 2; number <= kMany; ++number) Happen(number);
  EXPECT_THAT(Connect().Ask(R"({"command":"status"})"), SizeIs(2)) << "the others are served";
  std::uint64_t seen = 1;
  std::uint64_t lost = 0;
  while (seen + lost < kMany) {
    const auto line = slow.Next();
    ASSERT_TRUE(line);
    if (line->contains("lost")) {
      lost += (*line)["lost"].get<std::uint64_t>();
    } else {
      ++seen;
      ASSERT_EQ((*line)["handles"], seen + lost) << "in order, and every gap is told";
    }
  }
  EXPECT_GT(lost, 0u);
}

TEST_F(ControlServerTest, CutsOffWhoNeitherAsksNorReads) {
  backend_.opens.assign(20'000, OpenInfo{.path = std::string(300, 'p')});
  Start({.patience = 100ms});
  Client silent = Connect();
  EXPECT_FALSE(silent.Next());
  Client half = Connect();
  half.Send("{\"command\":");
  EXPECT_FALSE(half.Next());
  Client deaf = Connect();
  deaf.Send("{\"command\":\"opens\"}\n");
  // Its slot is free again when another, that comes later, has been cut off too.
  EXPECT_FALSE(Connect().Next());
  std::size_t lines = 0;
  while (deaf.Next()) ++lines;
  EXPECT_LT(lines, 20'001u);
}

TEST_F(ControlServerTest, BoundsItsClients) {
  Start({.max_clients = 3});
  std::vector<Client> clients;
  for (int at = 0; at < 3; ++at) {
    clients.push_back(Connect());
    EXPECT_THAT(clients.back().Ask(R"({"command":"status"})"), SizeIs(2));
  }
  Client fourth = Connect();
  EXPECT_EQ((*fourth.Next())["error"], "EAGAIN");
  clients.erase(clients.begin());
  // The server notices that on its own time.
  const Deadline deadline = std::chrono::steady_clock::now() + kSoon;
  bool served = false;
  while (!served && std::chrono::steady_clock::now() < deadline) {
    Client next = Connect();
    next.Send("{\"command\":\"status\"}\n");
    const auto line = next.Next();
    served = line && line->contains("version");
  }
  EXPECT_TRUE(served);
}

TEST_F(ControlServerTest, LetsInOnlyRootAndItsOwnUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  Start();
  ASSERT_EQ(::chmod(ControlSocket(dir_.Path()).c_str(), 0666), 0);  // past the first door
  ASSERT_EQ(::chmod(dir_.Path().c_str(), 0755), 0);
  // The system call itself: only this thread becomes somebody else.
  ASSERT_EQ(::syscall(SYS_setresuid, -1, 65534, -1), 0);
  Client stranger = Connect();
  ASSERT_EQ(::syscall(SYS_setresuid, -1, 0, -1), 0);
  EXPECT_EQ((*stranger.Next())["error"], "EACCES");
  EXPECT_FALSE(stranger.Next());
}

}  // namespace
}  // namespace baton
