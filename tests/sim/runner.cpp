#include "sim/runner.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/check.h"
#include "base/log.h"
#include "sim/threads.h"

namespace baton::sim {
namespace {

struct Child {
  std::FILE* from = nullptr;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

// In memory, where there is a file system of that kind.
std::string MakeDirectory() {
  std::string path =
      std::filesystem::exists("/dev/shm") ? "/dev/shm/baton-sim-XXXXXX" : "/tmp/baton-sim-XXXXXX";
  BATON_CHECK(::mkdtemp(path.data()) != nullptr);
  return path;
}

Child Start(std::uint64_t first, std::uint64_t last, Duration length) {
  int ends[2];
  BATON_CHECK(::pipe(ends) == 0);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  BATON_CHECK(pid >= 0);
  if (pid != 0) {
    ::close(ends[1]);
    return {::fdopen(ends[0], "r"), first, last};
  }
  ::close(ends[0]);
  std::FILE* const to = ::fdopen(ends[1], "w");
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    Options options;
    options.seed = seed;
    options.length = length;
    const Report report = RunSeed(options);
    const std::string violation = report.violations.empty() ? "" : report.violations.front();
    fmt::print(to, "{} {} {} {}\n", seed, report.operations, report.simulated.count(), violation);
    std::fflush(to);
  }
  ::_exit(0);
}

// Waits for a child's end.
void Collect(Child& child, Totals& totals,
             const std::function<void(std::uint64_t, const std::string&)>& tell) {
  const auto fails = [&](std::uint64_t seed, const std::string& violation) {
    if (totals.failed++ == 0 || seed < totals.first_failed) totals.first_failed = seed;
    tell(seed, violation);
  };
  std::uint64_t next = child.first;
  char* line = nullptr;
  std::size_t room = 0;
  while (::getline(&line, &room, child.from) > 0) {
    unsigned long long seed = 0;
    unsigned long long operations = 0;
    long long simulated = 0;
    int read = 0;
    if (std::sscanf(line, "%llu %llu %lld %n", &seed, &operations, &simulated, &read) != 3) break;
    next = seed + 1;
    ++totals.seeds;
    totals.operations += operations;
    totals.simulated += Duration(simulated);
    std::string violation(line + read);
    while (!violation.empty() && violation.back() == '\n') violation.pop_back();
    if (!violation.empty()) fails(seed, violation);
  }
  std::free(line);
  std::fclose(child.from);
  if (next <= child.last) {
    ++totals.seeds;
    fails(next, "the simulation crashed");
  }
  child.first = next + 1;  // behind the one that crashed, if one did
}

}  // namespace

Report RunSeed(Options options) {
  [[maybe_unused]] static const bool is_set_up = [] {
    SimulateRandomness();
    return log::Open("sim", "", log::Level::kOff);
  }();
  options.directory = MakeDirectory();
  Report report = Simulate(options);
  std::filesystem::remove_all(options.directory);
  return report;
}

Totals RunBatch(const Batch& batch, const std::function<void(std::uint64_t, const std::string&)>& tell) {
  Totals totals;
  std::uint64_t next = batch.first;
  std::vector<Child> children;
  const auto is_enough = [&] { return batch.stop_after != 0 && totals.failed >= batch.stop_after; };
  while (!children.empty() || (next <= batch.last && !is_enough())) {
    while (std::ssize(children) < batch.jobs && next <= batch.last && !is_enough()) {
      const std::uint64_t last = std::min(batch.last, next + batch.seeds_per_child - 1);
      children.push_back(Start(next, last, batch.length));
      next = last + 1;
    }
    Child child = children.front();
    children.erase(children.begin());
    Collect(child, totals, tell);
    if (child.first <= child.last && !is_enough()) {
      children.push_back(Start(child.first, child.last, batch.length));
    }
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
  return totals;
}

}  // namespace baton::sim
