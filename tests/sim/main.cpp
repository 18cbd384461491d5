// sim_run: simulations from seeds. `--seed S [--trace]` makes one and prints what is wrong, the same each
// time;
// `--seeds A..B [--jobs N]` makes many in child processes, since a simulation leaks what it has killed.
#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "sim/runner.h"

namespace {

int Usage() {
  std::fputs(
      "sim_run --seed S [--seconds T] [--trace]\n"
      "sim_run --seeds A..B [--seconds T] [--jobs N]\n",
      stderr);
  return 2;
}

int RunOne(const baton::sim::Options& options) {
  const auto report = baton::sim::RunSeed(options);
  for (const std::string& violation : report.violations) fmt::print("{}\n", violation);
  fmt::print("seed {}: {:.2f} s simulated, {} operations, {} events, {} violations\n", options.seed,
             std::chrono::duration<double>(report.simulated).count(), report.operations, report.events,
             report.violations.size());
  return report.violations.empty() ? 0 : 1;
}

int RunMany(const baton::sim::Batch& batch) {
  const auto begun = std::chrono::steady_clock::now();
  const auto totals = baton::sim::RunBatch(batch, [](std::uint64_t seed, const std::string& violation) {
    fmt::print("seed {}: {}\n", seed, violation);
    std::fflush(stdout);
  });
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  fmt::print("{} seeds, {:.2f} h simulated in {:.0f} s, {} operations, {} seeds with violations\n",
             totals.seeds, std::chrono::duration<double, std::ratio<3600>>(totals.simulated).count(), took,
             totals.operations, totals.failed);
  return totals.failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  baton::sim::Options options;
  baton::sim::Batch batch;
  bool is_batch = false;
  bool has_seed = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--trace") {
      options.trace = [](const std::string& line) { fmt::print("{}\n", line); };
      continue;
    }
    if (++i == argc) return Usage();
    const std::string value = argv[i];
    if (argument == "--seed") {
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
      has_seed = true;
    } else if (argument == "--seeds") {
      const auto dots = value.find("..");
      if (dots == std::string::npos) return Usage();
      batch.first = std::strtoull(value.c_str(), nullptr, 10);
      batch.last = std::strtoull(value.c_str() + dots + 2, nullptr, 10);
      is_batch = true;
    } else if (argument == "--seconds") {
      options.length = batch.length =
          std::chrono::nanoseconds(static_cast<std::int64_t>(std::strtod(value.c_str(), nullptr) * 1e9));
    } else if (argument == "--jobs") {
      batch.jobs = static_cast<int>(std::strtol(value.c_str(), nullptr, 10));
    } else {
      return Usage();
    }
  }
  if (is_batch == has_seed || batch.jobs < 1) return Usage();
  return is_batch ? RunMany(batch) : RunOne(options);
}
