// The arbiter's locks against the kernel's own, script by script and step by step. L1, L2.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "oracle/lock_model.h"
#include "oracle/lock_owners.h"
#include "oracle/random_script.h"

namespace baton::oracle {
namespace {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "baton-oracle-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Both sides of the comparison, and what was done so far for the message.
class Comparison {
 public:
  void Run(const std::string& line) {
    const auto command = ParseCommand(line);
    ASSERT_TRUE(command) << line;
    Run(*command);
  }
  void Run(const Command& command) {
    const std::string kernel = owners_.Run(command);
    done_ += ToString(command) + " = " + kernel + "\n";
    Count(kernel);
    if (command.verb == "test" && raced_) {
      ASSERT_THAT(model_.PossibleAnswers(command), testing::Contains(kernel)) << done_;
    } else {
      ASSERT_EQ(model_.Run(command), kernel) << done_;
    }
    model_.CheckInvariants();
  }
  int Seen(const std::string& answer) const {
    const auto found = seen_.find(answer);
    return found == seen_.end() ? 0 : found->second;
  }

 private:
  void Count(const std::string& answer) {
    ++seen_[answer.substr(0, answer.find(' '))];
    const auto granted = answer.find(" granted ");
    if (granted == std::string::npos) return;
    ++seen_["granted"];
    raced_ |= answer.find(' ', granted + std::strlen(" granted ")) != std::string::npos;
  }

  TempDir directory_;
  LockOwners owners_{{directory_.path()}};
  LockModel model_;
  std::string done_;
  bool raced_ = false;  // several were let in at once: which of them came first is the kernel's chance
  std::map<std::string, int> seen_;
};

// What others see of the table after a step.
void Probe(Comparison& comparison, ScriptKind kind, std::size_t step) {
  const std::string from = std::to_string(step * 7 % 45);
  const std::string to = std::to_string(step * 7 % 45 + step % 5);
  std::vector<std::string> probes;
  if (kind == ScriptKind::kFlock) {
    probes = {"f9 lock a r", "f9 lock a w", "f9 unlock a"};
  } else if (kind == ScriptKind::kRanges || kind == ScriptKind::kWaits) {
    probes = {"p9 test a w 0 $", "p9 test a r 0 $", "o9 test a w " + from + " " + to,
              "o9 test a r " + from + " " + to};
  } else if (kind == ScriptKind::kDeadlocks) {
    probes = {"p9 test a r 0 $", "p9 test b r 10 29"};
  }
  for (const std::string& probe : probes) ASSERT_NO_FATAL_FAILURE(comparison.Run(probe));
}

// How often each kind is run, and an answer that the scripts of that kind must have met, or they would show
// nothing.
struct Batch {
  const char* name;
  ScriptKind kind;
  std::uint64_t scripts;
  std::vector<std::string> must_see;
};

class OracleTest : public testing::TestWithParam<Batch> {};

TEST_P(OracleTest, AnswersAsTheKernelDoes) {
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 1; seed <= GetParam().scripts; ++seed) {
    SCOPED_TRACE(std::string(GetParam().name) + " seed " + std::to_string(seed));
    Comparison comparison;
    std::size_t step = 0;
    for (const Command& command : RandomScript(GetParam().kind, seed)) {
      ASSERT_NO_FATAL_FAILURE(comparison.Run(command));
      ASSERT_NO_FATAL_FAILURE(Probe(comparison, GetParam().kind, ++step));
    }
    for (const std::string& answer : GetParam().must_see) seen[answer] += comparison.Seen(answer);
  }
  for (const std::string& answer : GetParam().must_see) EXPECT_GT(seen[answer], 20) << answer;
}

// 200 scripts.
INSTANTIATE_TEST_SUITE_P(
    L1L2, OracleTest,
    testing::Values(Batch{"Ranges", ScriptKind::kRanges, 100, {"EAGAIN", "free", "r", "w"}},
                    Batch{"Flock", ScriptKind::kFlock, 20, {"EAGAIN", "ok"}},
                    Batch{"Waits", ScriptKind::kWaits, 30, {"waits", "granted", "EINTR"}},
                    Batch{"FlockWaits", ScriptKind::kFlockWaits, 20, {"waits", "granted", "EINTR"}},
                    Batch{"Deadlocks", ScriptKind::kDeadlocks, 30, {"waits", "granted", "EDEADLK"}}),
    [](const auto& each) { return each.param.name; });

// Steps that random scripts might meet too rarely.
TEST(OracleCases, ConversionsMergesAndEnds) {
  Comparison comparison;
  for (const char* line : {
           "p1 lock a r 0 $",
           "o1 lock a r 5 9",
           "p1 lock a w 20 29",
           "p2 test a r 0 $",
           "p2 test a w 0 $",
           "o1 test a w 0 $",
           "o1 test a u 0 $",
           "p1 lock a w 5 9",
           "o1 close a",
           "p1 lock a w 5 9",
           "p2 test a r 0 19",
           "p1 unlock a 7 7",
           "p2 lock a w 7 7",
           "p1 lock a w 0 $",
           "p2 close a",
           "p1 lock a w 0 $",
           "p3 test a r 9223372036854775807 $",
           "p1 unlock a 9223372036854775807 $",
           "p3 lock a w 9223372036854775807 $",
           "p1 test a r 0 $",
           "p1 close a",
           "o2 test a w 0 $",
       }) {
    ASSERT_NO_FATAL_FAILURE(comparison.Run(line));
  }
}

TEST(OracleCases, AFlockConversionThatFailsHasLostTheOldLock) {
  Comparison comparison;
  for (const char* line :
       {"f1 lock a r", "f2 lock a r", "f1 lock a w", "f2 lock a w", "f1 lock a r", "f2 lock a r",
        "f1 lock a r", "f1 wait a w", "f3 lock a r", "f3 unlock a", "f2 close a"}) {
    ASSERT_NO_FATAL_FAILURE(comparison.Run(line));
  }
}

TEST(OracleCases, ADowngradeLetsReadersInAndACancelledWaiterHoldsNobodyUp) {
  Comparison comparison;
  for (const char* line :
       {"p1 lock a w 0 9", "o1 wait a r 0 9", "p2 wait a w 0 9", "p3 wait a r 0 9", "p1 lock a r 0 9",
        "p2 cancel", "o1 unlock a 0 9", "p3 close a", "p1 test a w 0 9"}) {
    ASSERT_NO_FATAL_FAILURE(comparison.Run(line));
  }
}

TEST(OracleCases, TwoUpgradesAndACircleOfThreeAreDeadlocks) {
  Comparison comparison;
  for (const char* line : {"p1 lock a r 0 9", "p2 lock a r 0 9", "p1 wait a w 0 9", "p2 wait a w 0 9",
                           "p2 unlock a 0 9", "p2 lock b w 0 0", "p3 lock b w 1 1", "p1 wait b w 0 0",
                           "p2 wait b w 1 1", "p3 wait a r 3 3", "p3 close b", "p2 close b"}) {
    ASSERT_NO_FATAL_FAILURE(comparison.Run(line));
  }
}

TEST(LockScript, ReadsWhatItWrites) {
  for (const char* line :
       {"p1 lock a w 0 9", "o2 wait b r 10 $", "f3 lock a r", "f3 unlock a", "p1 test a w 0 $",
        "o1 test a u 0 $", "p1 unlock a 3 5", "p1 close a", "o2 cancel"}) {
    const auto command = ParseCommand(line);
    ASSERT_TRUE(command) << line;
    EXPECT_EQ(ToString(*command), line);
  }
  for (const char* line :
       {"", "x1 lock a w 0 9", "p lock a w 0 9", "p1 lock a", "p1 lock a u 0 9", "p1 lock a w 9 0",
        "f1 test a w", "p1 lock a w 0 9999999999999999999", "p1 steal a w 0 9"}) {
    EXPECT_FALSE(ParseCommand(line)) << line;
  }
}

}  // namespace
}  // namespace baton::oracle
