// Random lock scripts, each from a kind and a seed. One thread.
// Only scripts whose answers the kernel leaves no doubt about. It puts a waiter that it wakes in vain, or
// whose predecessor gave up, behind those who came later, and whom of several it wakes first is chance. So
// waiters want one of a few equal ranges while they hold nothing there, and either all of them want to write
// (half of the seeds), or only one of them does and no reader gives up while it waits.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "oracle/lock_script.h"

namespace baton::oracle {

enum class ScriptKind : std::uint8_t {
  // POSIX and OFD owners, all ranges, no waits.
  kRanges,
  // flock, no waits.
  kFlock,
  // POSIX and OFD owners, with waits.
  kWaits,
  // flock with waits; nobody converts while others wait (another race in the kernel).
  kFlockWaits,
  // POSIX owners wait for each other over two files, for writing only: with several readers in the way Linux
  // finds a
  // circle only after the first of them has gone (see wait_graph.h).
  kDeadlocks,
};

std::optional<ScriptKind> ParseScriptKind(
    std::string_view name);  // ranges, flock, waits, flock-waits, deadlocks
std::vector<Command> RandomScript(ScriptKind kind, std::uint64_t seed);

}  // namespace baton::oracle
