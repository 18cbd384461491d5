// What batond is told: rules O2, O3, T5, T9, T11, A1, A2 as settings, each from the command line and from the
// file.
#include "server/control/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "server/control/settings.h"
#include "support/temp_dir.h"

namespace baton {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() { std::filesystem::create_directory(Export()); }

  std::filesystem::path Export() const { return dir_.Path() / "export"; }
  std::filesystem::path State() const { return dir_.Path() / "state"; }

  static tl::expected<Config, ConfigExit> Read(const std::vector<std::string>& arguments) {
    std::vector<const char*> argv{"batond"};
    for (const auto& argument : arguments) argv.push_back(argument.c_str());
    return ReadConfig(static_cast<int>(argv.size()), argv.data());
  }
  // With --export and --state-dir.
  tl::expected<Config, ConfigExit> ReadWith(std::vector<std::string> more) {
    more.insert(more.end(), {"--export", Export().string(), "--state-dir", State().string()});
    return Read(more);
  }
  std::string File(const std::string& text) {
    const auto path = dir_.Path() / "batond.toml";
    std::ofstream(path) << text;
    return path.string();
  }
  // The mistake that is told for a file of this content; every mistake is exit code 2.
  std::string MistakeIn(const std::string& text) {
    const auto config = Read({"--config", File(text)});
    if (config) return "accepted";
    EXPECT_EQ(config.error().code, 2);
    return config.error().text;
  }

  test::TempDir dir_;
};

TEST_F(ConfigTest, HasDefaults) {
  const auto config = ReadWith({});
  ASSERT_TRUE(config) << config.error().text;
  EXPECT_EQ(config->export_dir, std::filesystem::canonical(Export()));
  EXPECT_EQ(config->listen, (ListenAddress{"127.0.0.1", 7740}));
  EXPECT_EQ(config->lease, 10s);
  EXPECT_EQ(config->reservation, 10s);
  EXPECT_EQ(config->claim, ClaimMode::kWrite);
  EXPECT_EQ(config->reclaim_scope, ReclaimScope::kInstance);
  EXPECT_EQ(config->flap_limit, 3u);
  EXPECT_EQ(config->flap_window, 60s);
  EXPECT_EQ(config->log_level, log::Level::kInfo);
  EXPECT_FALSE(config->squash_root || config->read_only || config->insecure || config->strict);
  EXPECT_TRUE(config->Arbiter().root_may);
}

TEST_F(ConfigTest, TakesEachSettingFromTheCommandLineAndFromTheFile) {
  struct Row {
    const char* name;
    const char* option;  // null: a flag
    const char* toml;
    bool (*holds)(const Config&);
  };
  const Row rows[] = {
      {"listen", "127.0.0.2:99", "\"127.0.0.2:99\"",
       [](const Config& c) {
         return c.listen == ListenAddress{"127.0.0.2", 99};
       }},
      {"listen", "[::1]", "\"[::1]\"",
       [](const Config& c) {
         return c.listen == ListenAddress{"::1", 7740};
       }},
      {"listen", "localhost:0", "\"localhost:0\"",
       [](const Config& c) {
         return c.listen == ListenAddress{"localhost", 0};
       }},
      {"lease", "1.5s", "\"1.5s\"",
       [](const Config& c) { return c.lease == 1500ms && c.reservation == 1500ms; }},
      {"reservation", "0", "\"0\"", [](const Config& c) { return c.reservation == 0s && c.lease == 10s; }},
      {"claim", "exclusive", "\"exclusive\"",
       [](const Config& c) { return c.claim == ClaimMode::kExclusive; }},
      {"claim", "none", "\"none\"", [](const Config& c) { return c.claim == ClaimMode::kNone; }},
      {"reclaim-scope", "file", "\"file\"",
       [](const Config& c) { return c.Arbiter().scope == ReclaimScope::kFile; }},
      {"strict", nullptr, "true", [](const Config& c) { return c.Arbiter().strict; }},
      {"squash-root", nullptr, "true",
       [](const Config& c) { return c.squash_root && !c.Arbiter().root_may; }},
      {"read-only", nullptr, "true", [](const Config& c) { return c.read_only; }},
      {"insecure", nullptr, "true", [](const Config& c) { return c.insecure; }},
      {"flap-limit", "0", "0", [](const Config& c) { return c.Arbiter().flap_limit == 0; }},
      {"flap-window", "2m", "\"2m\"", [](const Config& c) { return c.Arbiter().flap_window == 2min; }},
      {"max-connections", "7", "7", [](const Config& c) { return c.limits.connections == 7; }},
      {"stale-locks", "*.lock", "\"*.lock\"",
       [](const Config& c) { return c.stale_locks == std::vector<std::string>{"*.lock"}; }},
      {"log-level", "warn", "\"warn\"", [](const Config& c) { return c.log_level == log::Level::kWarn; }},
  };
  for (const Row& row : rows) {
    std::vector<std::string> line{std::string("--") + row.name};
    if (row.option != nullptr) line.emplace_back(row.option);
    const auto by_line = ReadWith(line);
    ASSERT_TRUE(by_line) << by_line.error().text;
    EXPECT_TRUE(row.holds(*by_line)) << "--" << row.name;
    const auto by_file = ReadWith({"--config", File(std::string(row.name) + " = " + row.toml + "\n")});
    ASSERT_TRUE(by_file) << by_file.error().text;
    EXPECT_TRUE(row.holds(*by_file)) << row.name << " in the file";
  }
}

// Rule A4: each limit is an option, and the table in docs/operations.md has it with its default.
TEST_F(ConfigTest, EveryLimitIsAnOptionAndDocumented) {
  std::ifstream file(std::string(BATON_TESTS) + "/../docs/operations.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const Limit& limit : kLimits) {
    const auto config = ReadWith({std::string("--") + limit.name, std::to_string(limit.most)});
    ASSERT_TRUE(config) << config.error().text;
    EXPECT_EQ(config->Arbiter().limits.*limit.field, limit.most) << limit.name;
    const auto refused = ReadWith({std::string("--") + limit.name, "0"});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, HasSubstr(limit.name));
    const auto row = "| `--" + std::string(limit.name) + " " + limit.value + "` | " + std::to_string(Limits().*limit.field) + " |";
    EXPECT_THAT(text, HasSubstr(row));
  }
}

TEST_F(ConfigTest, TakesSeveralPatternsOfStaleLocks) {
  const auto by_line = ReadWith({"--stale-locks", "*.lock", "--stale-locks", "LOCK"});
  ASSERT_TRUE(by_line) << by_line.error().text;
  EXPECT_THAT(by_line->stale_locks, testing::ElementsAre("*.lock", "LOCK"));
  const auto file = File("stale_locks = [\"a\", \"b\"]\n");
  const auto by_file = ReadWith({"--config", file});
  ASSERT_TRUE(by_file) << by_file.error().text;
  EXPECT_THAT(by_file->stale_locks, testing::ElementsAre("a", "b"));
  EXPECT_THAT(ReadWith({"--config", file, "--stale-locks", "c"})->stale_locks, testing::ElementsAre("c"));
  for (const char* wrong : {"", "a/b"}) {
    const auto refused = ReadWith({"--stale-locks", wrong});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, AllOf(HasSubstr("--stale-locks"), HasSubstr("pattern")));
  }
  EXPECT_THAT(MistakeIn("stale-locks = [1]\n"), HasSubstr("must be a text in quotes, or a list of such"));
}

TEST_F(ConfigTest, TheFileAloneIsEnoughAndTheCommandLineCountsMore) {
  const std::string file = File("export = \"" + Export().string() + "\"\nstate-dir = \"" + State().string() +
                                "\"\nlease = \"3s\"\nsquash-root = false\n");
  const auto config = Read({"--config", file, "--lease", "4s"});
  ASSERT_TRUE(config) << config.error().text;
  EXPECT_EQ(config->lease, 4s);
  EXPECT_FALSE(config->squash_root);
  EXPECT_EQ(config->state_dir, State());
}

TEST_F(ConfigTest, NamesFileAndLineOfAMistake) {
  const std::string file = (dir_.Path() / "batond.toml").string();
  const std::string start = "batond: " + file;
  EXPECT_THAT(MistakeIn("lease = \"3s\"\nleese = \"3s\"\n"),
              AllOf(StartsWith(start + ":2: \"leese\""), HasSubstr("no setting of batond")));
  EXPECT_THAT(MistakeIn("\n\nlease = 3\n"),
              AllOf(StartsWith(start + ":3: \"lease\""), HasSubstr("text in quotes")));
  EXPECT_THAT(MistakeIn("strict = \"yes\"\n"), AllOf(StartsWith(start + ":1:"), HasSubstr("true or false")));
  EXPECT_THAT(MistakeIn("flap-limit = \"3\"\n"), AllOf(StartsWith(start + ":1:"), HasSubstr("whole number")));
  EXPECT_THAT(MistakeIn("flap-limit = -1\n"), AllOf(StartsWith(start + ":1:"), HasSubstr("0 to 1000000")));
  EXPECT_THAT(MistakeIn("lease = \"3\"\n"), AllOf(StartsWith(start + ":1:"), HasSubstr("unit is missing")));
  EXPECT_THAT(MistakeIn("[export]\npath = \"/srv\"\n"),
              AllOf(StartsWith(start + ":1:"), HasSubstr("text in quotes")));
  EXPECT_THAT(MistakeIn("claim = \"write\"\nlease = \n"),
              AllOf(StartsWith(start + ":2:"), HasSubstr("not valid TOML")));
  EXPECT_THAT(Read({"--config", "/no/such.toml"}).error().text, HasSubstr("/no/such.toml"));
}

// The reader's stack would not be enough.
TEST_F(ConfigTest, RefusesDeepNesting) {
  for (const char* opening : {"[", "{a="}) {
    std::string text = "lease = ";
    for (int i = 0; i < 50'000; ++i) text += opening;
    EXPECT_THAT(MistakeIn(text), HasSubstr("more brackets"));
  }
}

TEST_F(ConfigTest, RefusesWrongCommandLines) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--lease", "10"}, "--lease: \"10\" is no duration: the unit is missing"},
      {{"--lease", "1ms"}, "not between 100.0ms and 1d00h"},
      {{"--reservation", "2d"}, "not between"},
      {{"--claim", "all"}, "\"all\" is not one of write, exclusive, none"},
      {{"--reclaim-scope", ""}, "not one of instance, file"},
      {{"--listen", "1.2.3.4:x"}, "is no address"},
      {{"--listen", "127.0.0.1:65536"}, "is no address"},
      {{"--listen", "127.0.0.1:"}, "is no address"},
      {{"--listen", "::1"}, "IPv6 needs brackets"},
      {{"--listen", "[::1"}, "is no address"},
      {{"--listen", "[::1]7"}, "is no address"},
      {{"--listen", ""}, "is no address"},
      {{"--max-connections", "0"}, "1 to 1000000"},
      {{"--log-level", "loud"}, "debug, info, warn, error"},
      {{"--nonsense"}, "--nonsense"},
      {{"extra"}, "extra"},
  };
  for (const auto& [arguments, why] : cases) {
    const auto config = ReadWith(arguments);
    ASSERT_FALSE(config) << arguments.front();
    EXPECT_EQ(config.error().code, 2) << arguments.front();
    EXPECT_THAT(config.error().text, AllOf(StartsWith("batond: "), HasSubstr(why)));
  }
}

// Rule A2.
TEST_F(ConfigTest, ListensElsewhereOnlyWhenToldThatItIsInsecure) {
  for (const char* address :
       {"0.0.0.0:7740", "10.0.0.1", "[::]:7740", "[fe80::1]:1", "server.example:7740", "127.evil.example"}) {
    const auto refused = ReadWith({"--listen", address});
    ASSERT_FALSE(refused) << address;
    EXPECT_THAT(refused.error().text,
                AllOf(HasSubstr("not loopback"), HasSubstr("--insecure"), HasSubstr("ssh -L")));
    EXPECT_TRUE(ReadWith({"--insecure", "--listen", address})) << address;
  }
  for (const char* address : {"127.0.0.1", "127.8.9.1:1", "[::1]:7740", "localhost"}) {
    EXPECT_TRUE(ReadWith({"--listen", address})) << address;
  }
}

TEST_F(ConfigTest, ChecksTheDirectories) {
  EXPECT_THAT(Read({}).error().text, HasSubstr("--export is missing"));
  EXPECT_THAT(Read({"--export", "/no/such/dir"}).error().text,
              AllOf(HasSubstr("/no/such/dir"), HasSubstr("No such file")));
  EXPECT_THAT(Read({"--export", File("")}).error().text, HasSubstr("not a directory"));
  for (const auto& state : {Export(), Export() / "below", dir_.Path() / "x/../export/s"}) {
    const auto config = Read({"--export", Export().string(), "--state-dir", state.string()});
    ASSERT_FALSE(config) << state;
    EXPECT_THAT(config.error().text, HasSubstr("inside the export"));
  }
  EXPECT_TRUE(Read({"--export", Export().string(), "--state-dir", Export().string() + "-state"}));
}

TEST_F(ConfigTest, HelpNamesEveryOptionAndVersionIsALine) {
  const auto help = Read({"--help"});
  ASSERT_FALSE(help);
  EXPECT_EQ(help.error().code, 0);
  for (const Setting& setting : AllSettings())
    EXPECT_THAT(help.error().text, HasSubstr(std::string("--") + setting.name));
  EXPECT_THAT(help.error().text, HasSubstr("--config"));
  const auto version = Read({"--version"});
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().code, 0);
  EXPECT_THAT(version.error().text, testing::MatchesRegex("batond [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

}  // namespace
}  // namespace baton
