// The baton command as its users meet it: the program itself is run, against a control socket with a fake
// behind it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/unique_fd.h"
#include "server/control/control_server.h"
#include "support/temp_dir.h"
#include "unit/control/fake_backend.h"

namespace baton {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using namespace std::chrono_literals;

constexpr const char* kGuidText = "6f1c0000-0000-4000-8000-0000000000ab";

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

// A running baton. Both outputs go to files of `dir`, so that nothing can block.
class Command {
 public:
  Command(const test::TempDir& dir, const std::vector<std::string>& arguments) {
    static int number = 0;
    out_ = dir.Path() / ("out." + std::to_string(++number));
    err_ = dir.Path() / ("err." + std::to_string(number));
    std::vector<std::string> words{"baton"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT_EQ(::posix_spawn(&pid_, BATON_COMMAND, &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Command() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), ::waitpid(pid_, nullptr, 0);
  }

  Outcome Wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, true);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), Read(out_), Read(err_)};
  }
  std::string Output() const { return Read(out_); }
  pid_t Pid() const { return pid_; }

  static std::string Read(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path out_, err_;
  pid_t pid_ = -1;
};

template <class Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class CliTest : public testing::Test {
 protected:
  CliTest() : events_(Quiet()) {}
  static EventLog::Options Quiet() {
    EventLog::Options options;
    options.write = [](bool, const std::string&) {};
    return options;
  }
  void Serve() {
    auto started = ControlServer::Start(dir_.Path(), backend_, events_);
    ASSERT_TRUE(started) << started.error();
    server_ = std::move(*started);
  }
  std::vector<std::string> WithDir(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--state-dir", dir_.Path().string()});
    return arguments;
  }
  Outcome Baton(const std::vector<std::string>& arguments) { return Command(dir_, arguments).Wait(); }
  Outcome Ask(const std::vector<std::string>& arguments) { return Baton(WithDir(arguments)); }
  void Happen(const std::string& file) {
    EventRecord event;
    event.kind = EventKind::kTakeover;
    event.guid = ParseGuid(kGuidText);
    event.old_epoch = Epoch{1};
    event.new_epoch = Epoch{2};
    event.from_node = "alpha";
    event.to_node = "beta";
    event.file = file;
    event.took = 900us;
    events_.Append(event);
  }

  test::TempDir dir_;
  test::FakeBackend backend_;
  EventLog events_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(CliTest, SaysThatBatondIsNotThere) {
  const Outcome outcome = Ask({"status"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, AllOf(HasSubstr((dir_.Path() / "batond.sock").string()),
                                 HasSubstr("is batond running"), HasSubstr("--state-dir")));
}

TEST_F(CliTest, ListsInAlignedColumnsAndAsJson) {
  backend_.instances.push_back(
      {{*ParseGuid(kGuidText), Epoch{3}, 1000, std::nullopt, "alpha"}, "live", 10, 2, 0});
  backend_.instances.push_back({{*ParseGuid("00000000-0000-4000-8000-000000000001"), Epoch{12}, 0,
                                 InstanceVersion{2, 5}, "a-longer-node"},
                                "taking over",
                                7,
                                0,
                                1});
  Serve();
  const Outcome table = Ask({"instances"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_EQ(table.out,
            "GUID                                  STATE        NODE           EPOCH  VERSION  OWNER  "
            "HANDLES  LOCKS  RESERVED\n"
            "6f1c0000-0000-4000-8000-0000000000ab  live         alpha              3        -   1000       "
            "10      2         0\n"
            "00000000-0000-4000-8000-000000000001  taking over  a-longer-node     12      2.5      0        "
            "7      0         1\n");
  // The option may stand on either side.
  for (const auto& arguments : {WithDir({"--json", "instances"}), WithDir({"instances", "--json"})}) {
    const Outcome json = Baton(arguments);
    EXPECT_EQ(json.code, 0);
    std::istringstream lines(json.out);
    std::string line;
    std::vector<nlohmann::json> objects;
    while (std::getline(lines, line)) objects.push_back(nlohmann::json::parse(line));
    ASSERT_EQ(objects.size(), 2u);
    EXPECT_EQ(objects[0]["guid"], kGuidText);
    EXPECT_EQ(objects[1]["version"], "2.5");
  }
}

TEST_F(CliTest, ShowsEveryListing) {
  backend_.status.version = "9.8.7";
  backend_.status.lease = 10s;
  backend_.sessions.push_back(
      {{SessionId{1}, "alpha", "b", "m", "/mnt/x", "silent", 4}, "10.0.0.1:9", 12500ms});
  OpenInfo open;
  open.path = "/evil\n\x1b[31mname";
  open.mode = "claim";
  open.program = "redis-server";
  open.pid = 77;
  backend_.opens.push_back(open);
  LockInfo lock;
  lock.path = "/f";
  lock.state = "waiting";
  lock.range = {10, kRangeEnd};
  backend_.locks.push_back(lock);
  Serve();
  EXPECT_THAT(Ask({"status"}).out, AllOf(HasSubstr("9.8.7"), HasSubstr("lease 10.0s")));
  EXPECT_THAT(Ask({"sessions"}).out, AllOf(StartsWith("NODE "), HasSubstr("silent"), HasSubstr("12.5s ago")));
  EXPECT_THAT(Ask({"opens"}).out, AllOf(HasSubstr("redis-server[77]"), HasSubstr("/evil\\n\\x1b[31mname"),
                                        Not(HasSubstr("\x1b"))));
  EXPECT_THAT(Ask({"locks", "/f"}).out, AllOf(HasSubstr("waiting"), HasSubstr("10-end")));
  const Outcome missing = Ask({"opens", "/nowhere"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_EQ(missing.err, "baton: no such file in the export: /nowhere\n");
}

TEST_F(CliTest, ListsAndFollowsEvents) {
  Serve();
  Happen("/past");
  EXPECT_THAT(Ask({"events"}).out,
              AllOf(HasSubstr("takeover"), HasSubstr("1->2"), HasSubstr("900us"), HasSubstr("/past")));
  EXPECT_THAT(Ask({"events", "--since", "0s"}).out, Not(HasSubstr("/past")));
  EXPECT_THAT(Ask({"events", "--since", "2020-01-01T00:00:00.5Z"}).out, HasSubstr("/past"));
  const Outcome wrong = Ask({"events", "--since", "yesterday"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("\"yesterday\""));
  Command follower(dir_, WithDir({"events", "--follow", "--json"}));
  ASSERT_TRUE(Eventually([&] { return follower.Output().find("/past") != std::string::npos; }));
  Happen("/new");
  EXPECT_TRUE(Eventually([&] { return follower.Output().find("/new") != std::string::npos; }));
  server_.reset();
  const Outcome ended = follower.Wait();
  EXPECT_EQ(ended.code, 3) << "batond is gone";
  const auto event = nlohmann::json::parse(ended.out.substr(0, ended.out.find('\n')));
  EXPECT_EQ(event["old_epoch"], 1);
}

TEST_F(CliTest, FenceReturnsWhenItIsFenced) {
  Serve();
  Command fence(dir_, WithDir({"fence", kGuidText}));
  std::vector<std::pair<Guid, ControlBackend::Fenced>> asked;
  ASSERT_TRUE(Eventually([&] { return !(asked = backend_.TakeFences()).empty(); }));
  EXPECT_EQ(fence.Output(), "");
  asked[0].second({});
  const Outcome outcome = fence.Wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, std::string(kGuidText) + " is fenced\n");
}

TEST_F(CliTest, ResetsAndForgets) {
  backend_.forget_answer = tl::unexpected(ControlError{EBUSY, "the instance is in use on alpha"});
  Serve();
  EXPECT_EQ(Ask({"instance", "reset", kGuidText}).code, 0);
  const Outcome forget = Ask({"forget", kGuidText});
  EXPECT_EQ(forget.code, 1);
  EXPECT_EQ(forget.err, "baton: the instance is in use on alpha\n");
}

TEST_F(CliTest, RefusesWrongCommandLines) {
  const std::vector<std::string> cases[] = {
      {},
      {"dance"},
      {"fence"},
      {"fence", "xyz"},
      {"fence", "00000000-0000-0000-0000-000000000000"},
      {"instance"},
      {"instance", "reset"},
      {"sessions", "extra"},
      {"run", "--instance", kGuidText},
      {"run", "--", "true"},
      {"run", "--instance", "xyz", "--", "true"},
      {"run", "--instance", "", "--", "true"},
      {"run", "--instance", kGuidText, "--version", "1.2.3", "--", "true"},
      {"run", "--instance", kGuidText, "--takeover", "maybe", "--", "true"},
      {"register", "xyz", "/"},
      {"register", kGuidText, "--version", "x", "/"},
      {"register", kGuidText, "--pid", "0", "/"},
  };
  for (const auto& arguments : cases) {
    const Outcome outcome = Baton(arguments);
    EXPECT_EQ(outcome.code, 2) << testing::PrintToString(arguments) << outcome.err;
    EXPECT_THAT(outcome.err, StartsWith("baton")) << testing::PrintToString(arguments);
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(CliTest, RegisterSaysWhatIsNoMount) {
  const Outcome outcome = Baton({"register", kGuidText, dir_.Path().string()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("is not the root directory of a batonfs mount"));
  EXPECT_EQ(Baton({"unregister", "/no/such/place"}).code, 1);
}

TEST_F(CliTest, RunSetsTheIdentityAndBecomesTheProgram) {
  ::setenv("APP_INSTANCE_VERSION", "9", 1);
  const std::vector<std::string> print{"--", "sh", "-c", "env | grep ^APP_ | sort; exit 42"};
  std::vector<std::string> plain{"run", "--instance", kGuidText};
  plain.insert(plain.end(), print.begin(), print.end());
  const Outcome outcome = Baton(plain);
  ::unsetenv("APP_INSTANCE_VERSION");
  EXPECT_EQ(outcome.code, 42);
  EXPECT_EQ(outcome.out, std::string("APP_INSTANCE_ID=") + kGuidText + "\n")
      << "another's version is not handed on";

  const Outcome full =
      Baton({"run", "--instance", kGuidText, "--version", "3.4", "--takeover", "no", "--id-variable", "APP_X",
             "--", "sh", "-c", "env | grep ^APP_ | sort", "sh", "--json"});
  EXPECT_EQ(full.out,
            std::string("APP_INSTANCE_TAKEOVER=no\nAPP_INSTANCE_VERSION=3.4\nAPP_X=") + kGuidText + "\n");
}

// Rule I7: the process is the instance (by its environment at exec) when it opens the log files.
TEST_F(CliTest, RunOpensTheLogFilesAsTheInstance) {
  const auto log = (dir_.Path() / "app.log").string();
  std::ofstream(log) << "old\n";
  const std::vector<std::string> program{"--", "sh", "-c", "echo to out; echo to err >&2"};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", "--instance", kGuidText});
    arguments.insert(arguments.end(), program.begin(), program.end());
    return Baton(arguments);
  };
  EXPECT_EQ(run({"--stdout", log, "--stderr", log, "--append"}).code, 0);
  EXPECT_EQ(Command::Read(log), "old\nto out\nto err\n");
  EXPECT_EQ(run({"--stdout", log}).err, "to err\n");
  EXPECT_EQ(Command::Read(log), "to out\n");

  // A fifo holds it at the open: there its environment shows who it is.
  const auto fifo = (dir_.Path() / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  Command held(dir_, {"run", "--instance", kGuidText, "--stdout", fifo, "--", "true"});
  const auto environment = "/proc/" + std::to_string(held.Pid()) + "/environ";
  EXPECT_TRUE(Eventually([&] {
    return Command::Read(environment).find(std::string("APP_INSTANCE_ID=") + kGuidText) != std::string::npos;
  }));
  const UniqueFd reader(::open(fifo.c_str(), O_RDONLY));
  EXPECT_EQ(held.Wait().code, 0);
}

TEST_F(CliTest, RunFailsAsEnvDoes) {
  EXPECT_EQ(Baton({"run", "--instance", kGuidText, "--", "/no/such/program"}).code, 127);
  EXPECT_EQ(Baton({"run", "--instance", kGuidText, "--", "/etc/passwd"}).code, 126);
  const Outcome log = Baton({"run", "--instance", kGuidText, "--stdout", "/no/such/dir/log", "--", "true"});
  EXPECT_EQ(log.code, 1);
  EXPECT_THAT(log.err, HasSubstr("/no/such/dir/log: No such file"));
}

}  // namespace
}  // namespace baton
