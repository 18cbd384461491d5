// Runs tests/scenario/data/*.txt: commands, "----", and the trace that must come of them. With
// BATON_REWRITE=1 in the environment the traces are written anew instead; then read the difference.
#include "scenario/scenario.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace baton::test {
namespace {

std::vector<std::string> Lines(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> DataFiles() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(BATON_TESTS) + "/scenario/data")) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string at;  // where a broken invariant ended the process

void SayWhere(int) {
  if (write(STDERR_FILENO, at.data(), at.size()) < 0) return;
}

struct Outcome {
  std::vector<std::string> text;    // the file as it would have to be
  std::vector<std::string> faults;  // where it is not
};

Outcome Play(const std::string& name, const std::vector<std::string>& lines) {
  Outcome outcome;
  Scenario scenario;
  std::vector<std::string> trace;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    outcome.text.push_back(line);
    if (line.empty() || line[0] == '#') continue;
    if (line != "----") {
      at = "in scenario " + name + ", line " + std::to_string(i + 1) + ": " + line + "\n";
      for (std::string& said : scenario.Run(line)) trace.push_back(std::move(said));
      continue;
    }
    const std::size_t first = i + 1;
    while (i + 1 < lines.size() && !lines[i + 1].empty()) ++i;
    const std::vector<std::string> expected(lines.begin() + static_cast<std::ptrdiff_t>(first),
                                            lines.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    if (trace != expected) {
      std::ostringstream fault;
      fault << name << ".txt:" << first << ": expected\n";
      for (const std::string& said : expected) fault << "  " << said << "\n";
      fault << "but it was\n";
      for (const std::string& said : trace) fault << "  " << said << "\n";
      outcome.faults.push_back(fault.str());
    }
    outcome.text.insert(outcome.text.end(), trace.begin(), trace.end());
    trace.clear();
  }
  if (!trace.empty()) outcome.faults.push_back(name + ".txt: its last commands have no trace");
  return outcome;
}

class ScenarioFile : public testing::TestWithParam<std::string> {};

TEST_P(ScenarioFile, GivesItsTrace) {
  const std::string path = std::string(BATON_TESTS) + "/scenario/data/" + GetParam() + ".txt";
  const auto lines = Lines(path);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0].rfind("# Rules ", 0), 0u) << "the first line of " << path << " names the rules it shows";
  std::signal(SIGABRT, SayWhere);
  const Outcome outcome = Play(GetParam(), lines);
  if (std::getenv("BATON_REWRITE") != nullptr) {
    std::ofstream out(path);
    for (const std::string& line : outcome.text) out << line << "\n";
    return;
  }
  for (const std::string& fault : outcome.faults) ADD_FAILURE() << fault;
}

INSTANTIATE_TEST_SUITE_P(Data, ScenarioFile, testing::ValuesIn(DataFiles()),
                         [](const auto& file) { return file.param; });

}  // namespace
}  // namespace baton::test
