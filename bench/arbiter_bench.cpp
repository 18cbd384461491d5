// What the arbiter costs: a takeover of an incarnation with many handles and locks, in one step; many
// sessions; the memory of a handle and of a lock. Times are the processor's: a step does nothing but compute,
// and a busy machine shall not be measured. Prints a line each; build it in release.
#include <malloc.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "server/arbiter/arbiter.h"

namespace baton {
namespace {

std::chrono::nanoseconds ProcessorTime() {
  timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

class World {
 public:
  SessionId Session(const std::string& node) {
    const SessionId id{++last_session_};
    Do(SessionBegins{id, node, "b", "m", "/mnt" + std::to_string(last_session_)});
    return id;
  }
  HandleId Open(SessionId session, std::optional<Guid> guid, std::uint64_t file) {
    OpenWish wish;
    wish.request = RequestId{++last_request_};
    wish.who.session = session;
    wish.who.program = "postgres";
    if (guid) wish.who.instance = InstanceClaim{.guid = *guid};
    wish.file = {file, 1};
    wish.writes = true;
    wish.path = "/data/base/16384/file" + std::to_string(file);
    return Do(wish);
  }
  void Lock(HandleId handle, std::uint64_t at) {
    Do(LockWish{
        RequestId{++last_request_}, handle, LockKind::kRecord, LockType::kWrite, 1, {at, at}, false, 1});
  }
  // The longest single step is kept in `longest`.
  HandleId Do(const Event& event, Instant now = std::chrono::seconds(1)) {
    HandleId opened{};
    const auto begin = ProcessorTime();
    const Effects effects = arbiter.Step(event, now);
    longest = std::max(longest, ProcessorTime() - begin);
    for (const Effect& effect : effects) {
      if (const auto* granted = std::get_if<OpenGranted>(&effect)) opened = granted->handle;
      if (const auto* commit = std::get_if<Commit>(&effect))
        opened = std::max(opened, Do(Committed{commit->record.guid, true}));
      if (const auto* close = std::get_if<CloseGates>(&effect))
        opened = std::max(opened, Do(Drained{close->drain}));
    }
    return opened;
  }

  Arbiter arbiter{ArbiterOptions()};
  std::chrono::nanoseconds longest{};

 private:
  std::uint64_t last_session_ = 0;
  std::uint64_t last_request_ = 0;
};

double Milliseconds(std::chrono::nanoseconds time) {
  return static_cast<double>(time.count()) / 1e6;
}
std::size_t Used() {
  return mallinfo2().uordblks;
}

Guid Instance(std::uint8_t number) {
  Guid guid{};
  guid.data[15] = number;
  return guid;
}

void Takeover(const char* what, std::uint64_t files) {
  constexpr std::uint64_t kHandles = 10'000;
  World world;
  const SessionId old_node = world.Session("n1");
  const SessionId new_node = world.Session("n2");
  const std::size_t before = Used();
  std::vector<HandleId> handles;
  for (std::uint64_t i = 0; i < kHandles; ++i)
    handles.push_back(world.Open(old_node, Instance(1), 1 + i % files));
  const std::size_t opened = Used();
  for (std::uint64_t i = 0; i < kHandles; ++i) world.Lock(handles[i], 2 * i);
  const std::size_t locked = Used();
  const double slowest_before = Milliseconds(world.longest);
  world.longest = {};
  world.Open(new_node, Instance(1), 1);
  const double takeover = Milliseconds(world.longest);
  world.longest = {};
  while (world.arbiter.NextDeadline() < std::chrono::hours(1)) world.Do(Tick{}, std::chrono::hours(1));
  std::printf(
      "%s: 10,000 handles and locks: longest step of the takeover %.2f ms, of the end of what it reserved "
      "%.2f (of the opens and locks %.3f); %zu bytes a handle, %zu a lock\n",
      what, takeover, Milliseconds(world.longest), slowest_before, (opened - before) / kHandles,
      (locked - opened) / kHandles);
}

void ManySessions() {
  World world;
  const auto begin = ProcessorTime();
  for (int i = 0; i < 1000; ++i) {
    const SessionId session = world.Session("node" + std::to_string(i));
    for (std::uint64_t k = 0; k < 100; ++k) world.Open(session, std::nullopt, 1 + k);
  }
  const auto opened = ProcessorTime();
  world.arbiter.ListInstances();
  std::printf("1,000 sessions x 100 handles on 100 files: %.0f ms, longest step %.3f ms\n",
              Milliseconds(opened - begin), Milliseconds(world.longest));
}

}  // namespace
}  // namespace baton

int main() {
  baton::Takeover("a file each", 10'000);
  baton::Takeover("one file", 1);
  baton::ManySessions();
}
