#include "sim/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/state/sqlite_state_store.h"
#include "sim/threads.h"

namespace baton::sim {
namespace {

constexpr Duration kHealing = std::chrono::milliseconds(2600);  // the end of a simulation, without faults
constexpr Duration kGraceToEnd = std::chrono::seconds(4);
constexpr int kRoundsToEnd = 4;

Guid GuidOf(int instance) {
  Guid guid{};
  guid.data[0] = 0xba;
  guid.data[15] = static_cast<std::uint8_t>(instance + 1);
  return guid;
}

}  // namespace

Report Simulate(const Options& options) {
  return (new World(options))->Run();
}

World::World(const Options& options)
    : options_(options),
      scheduler_(options.seed),
      checker_(scheduler_, machine_.disk, machine_.lease, machine_.lease) {
  begin_ = scheduler_.Now();
  heal_at_ = begin_ + options.length - kHealing;
  machine_.reply_directory = options.directory;
  machine_.disk.on_effect = [this](const Effect& effect) { checker_.TookEffect(effect); };
  if (options.trace) checker_.trace = [this](const std::string& line) { Trace(line); };
}

void World::Trace(const std::string& line) {
  if (!options_.trace) return;
  const double seconds = std::chrono::duration<double>(scheduler_.Now() - begin_).count();
  options_.trace(fmt::format("{:9.6f} {}", seconds, line));
}

void World::Later(Duration delay, std::function<void()> what) {
  scheduler_.After(delay, outside_, std::move(what));
}

Report World::Run() {
  SetWallClockOffset({});
  Later({}, [this] {
    machine_.state = SqliteStateStore::OpenInMemory();
    for (int i = 0; i < kPrizes; ++i) machine_.disk.Create(PrizeName(i));
    for (int i = 0; i < kLocks; ++i) machine_.disk.Create(LockName(i));
    machine_.disk.SyncAll();
    StartServer();
    for (int i = 0; i < kNodes; ++i) {
      nodes_[i].index = i;
      StartNode(nodes_[i], true);
      SuperviseAnonymous(nodes_[i]);
    }
    for (int i = 0; i < kInstances; ++i) Supervise(i);
    InflictFaults();
  });
  Later(options_.length - kHealing, [this] { Heal(); });
  scheduler_.RunUntil(begin_ + options_.length);
  // Everybody has his time; usually nobody needs it.
  const Instant last = scheduler_.Now() + kGraceToEnd;
  Later({}, [this] { Finish(); });
  scheduler_.RunUntil(last);
  Later({}, [this] { checker_.Ends(); });
  scheduler_.RunUntil(scheduler_.Now());
  return {checker_.violations, checker_.answered(), scheduler_.events(), scheduler_.Now() - begin_};
}

// --- The server and the nodes

void World::StartServer() {
  Trace("server starts");
  server_ = new SimServer(scheduler_, machine_, listener_);
  scheduler_.After({}, server_->process(), [this, server = server_] {
    server->Start();
    server_is_up_ = true;
    Trace("server serves");
    UpdateContact();
  });
}

void World::StartNode(Node& node, bool boots) {
  if (boots) {
    ++node.boots;
  }
  node.place = ++last_place_;
  node.process = new Process(fmt::format("node-{}", node.index));
  node.process->clock_offset = std::chrono::hours(1 + node.index) + std::chrono::minutes(node.boots);
  Trace(fmt::format("node {} starts (boot {}, place {})", node.index, node.boots, node.place));
  const client::SessionIdentity identity{.node = node.process->name,
                                         .boot = fmt::format("{}-{}", node.process->name, node.boots),
                                         .machine = node.process->name,
                                         .mount_point = "/mnt",
                                         .run = fmt::format("{}", node.place)};
  node.mount = new Mount(scheduler_, *node.process, node.path, listener_, identity);
  scheduler_.After({}, *node.process, [mount = node.mount] { mount->Start(); });
  UpdateContact();
}

void World::KillNode(Node& node) {
  Trace(fmt::format("node {} is killed (place {})", node.index, node.place));
  checker_.PlaceDies(node.place);
  scheduler_.Kill(*node.process);
  node.mount->NodeDied();
  node.process = nullptr;
  node.mount = nullptr;
  node.programs.clear();
  UpdateContact();
}

void World::SetPath(Node& node, bool up_is_cut, bool down_is_cut) {
  node.path.up_is_cut = up_is_cut;
  node.path.down_is_cut = down_is_cut;
  if (node.mount != nullptr) node.mount->PathChanged();
  UpdateContact();
}

void World::UpdateContact() {
  const bool serves = server_is_up_ && !server_->process().frozen;
  for (Node& node : nodes_) {
    const bool is_there = node.process != nullptr && !node.process->frozen && node.path.IsWhole();
    checker_.ContactChanges(node.index, serves && is_there);
  }
}

// --- Programs

Program* World::StartProgram(Node& node, int instance) {
  const int id = ++last_run_;
  Trace(fmt::format("run {} of instance {} starts at node {}", id, instance, node.index));
  checker_.RunBegins(id, instance, node.index, node.place);
  auto run = node.mount->NewRun(id, instance < 0 ? std::nullopt : std::optional(GuidOf(instance)));
  auto* program = new Program(scheduler_, checker_, *node.mount, std::move(run), instance);
  node.programs.push_back(program);
  scheduler_.After({}, *node.process, [program] { program->Main(); });
  return program;
}

// Starts the instance's program here or there, and now and then stops one. Whoever is left behind is to be
// fenced.
void World::Supervise(int instance) {
  if (is_finishing_) return;
  Node& node = nodes_[scheduler_.random().Below(kNodes)];
  if (node.process != nullptr && !node.process->frozen) {
    if (!node.programs.empty() && scheduler_.random().Chance(0.2)) {
      Program* const victim = node.programs[scheduler_.random().Below(node.programs.size())];
      if (!victim->has_ended()) {
        Trace(fmt::format("run {} is killed", victim->run()));
        victim->Kill();
      }
    }
    std::erase_if(node.programs, [](const Program* program) { return program->has_ended(); });
    StartProgram(node, instance);
  }
  const bool is_hasty = scheduler_.random().Chance(0.3);
  const Duration most = is_hasty ? std::chrono::milliseconds(150) : std::chrono::milliseconds(1500);
  Later(scheduler_.random().Between(std::chrono::milliseconds(5), most),
        [this, instance] { Supervise(instance); });
}

void World::SuperviseAnonymous(Node& node) {
  if (is_finishing_) return;
  if (node.process != nullptr && !node.process->frozen) StartProgram(node, -1);
  Later(scheduler_.random().Between(std::chrono::milliseconds(300), std::chrono::milliseconds(2500)),
        [this, &node] { SuperviseAnonymous(node); });
}

// --- The end: one last program of each instance must get its rounds done, then all stop.

void World::Finish() {
  is_finishing_ = true;
  Trace("the last programs");
  for (Node& node : nodes_) {
    for (Program* program : node.programs) program->Stop();
  }
  Later(std::chrono::milliseconds(700), [this] {
    std::vector<Program*> last;
    for (int i = 0; i < kInstances; ++i)
      last.push_back(StartProgram(nodes_[scheduler_.random().Below(kNodes)], i));
    for (Node& node : nodes_) last.push_back(StartProgram(node, -1));
    Later(std::chrono::milliseconds(1500), [this, last] {
      for (Program* program : last) {
        const bool is_well = program->rounds() >= kRoundsToEnd && !program->has_ended();
        if (!is_well) {
          checker_.violations.push_back(
              fmt::format("all is well, and run {} got {} rounds done", program->run(), program->rounds()));
        }
        program->Stop();
      }
    });
  });
}

}  // namespace baton::sim
