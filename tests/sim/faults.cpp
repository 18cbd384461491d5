// What goes wrong in a World. Most faults are short against the lease, some outlast it; several at a time are
// usual.
#include <fmt/format.h>

#include "sim/threads.h"
#include "sim/world.h"

namespace baton::sim {

using std::chrono::milliseconds;

Duration World::Draw(Duration usual, Duration rare) {
  Random& random = scheduler_.random();
  return random.Between(milliseconds(1), random.Chance(0.2) ? rare : usual);
}

void World::InflictFaults() {
  Later(scheduler_.random().Between(milliseconds(10), milliseconds(500)), [this] {
    if (!IsFaulty()) return;
    Inflict();
    InflictFaults();
  });
}

void World::Inflict() {
  Node& node = nodes_[scheduler_.random().Below(kNodes)];
  const std::uint64_t dice = scheduler_.random().Below(100);
  if (dice < 30) return CutPath(node);
  if (dice < 50) return KillServer(false);
  if (dice < 57) return KillServer(true);
  if (dice < 62) return FreezeServer();
  if (dice < 74) return FreezeNode(node);
  if (dice < 82) return RestartNode(node);
  if (dice < 92) return SlowDisk();
  if (dice < 97) return SlowPath(node);
  JumpWallClock();
}

void World::CutPath(Node& node) {
  const std::uint64_t which = 1 + scheduler_.random().Below(3);
  Trace(fmt::format("node {} is cut off{}", node.index,
                    which == 3   ? ""
                    : which == 1 ? ", to the server"
                                 : ", from the server"));
  SetPath(node, (which & 1) != 0, (which & 2) != 0);
  Later(Draw(milliseconds(350), milliseconds(2500)), [this, &node] {
    Trace(fmt::format("node {} is not cut off any more", node.index));
    SetPath(node, false, false);
  });
}

void World::KillServer(bool with_machine) {
  if (server_ == nullptr) return;
  Trace(with_machine ? "server's machine goes down" : "server is killed");
  server_is_up_ = false;
  checker_.ServerDies(with_machine);
  server_->Kill(!with_machine);
  server_ = nullptr;
  machine_.disk.HoldersDied();
  if (with_machine) {
    machine_.disk.LoseUnsynced(scheduler_.random());
    ++machine_.boots;
    checker_.DiskHasLost();
  }
  UpdateContact();
  Later(Draw(milliseconds(100), milliseconds(1200)), [this] { StartServer(); });
}

// Its machine was suspended: everything that it waited for is due at once.
void World::FreezeServer() {
  if (server_ == nullptr || server_->process().frozen) return;
  Trace("server is frozen");
  scheduler_.Freeze(server_->process());
  UpdateContact();
  Later(Draw(milliseconds(300), milliseconds(2500)), [this, frozen = server_] {
    if (server_ != frozen) return;
    Trace("server goes on");
    scheduler_.Thaw(frozen->process());
    UpdateContact();
  });
}

void World::FreezeNode(Node& node) {
  if (node.process == nullptr || node.process->frozen) return;
  Trace(fmt::format("node {} is frozen", node.index));
  scheduler_.Freeze(*node.process);
  UpdateContact();
  Later(Draw(milliseconds(400), milliseconds(3200)), [this, &node, frozen = node.process] {
    if (node.process != frozen) return;
    Trace(fmt::format("node {} goes on", node.index));
    scheduler_.Thaw(*frozen);
    UpdateContact();
  });
}

void World::RestartNode(Node& node) {
  if (node.process == nullptr) return;
  KillNode(node);
  const bool boots = scheduler_.random().Chance(0.5);
  Later(Draw(milliseconds(300), milliseconds(2000)), [this, &node, boots] { StartNode(node, boots); });
}

void World::SlowDisk() {
  Trace("disk is slow");
  machine_.disk_speed.stalls = 0.3;
  machine_.disk_speed.stall = Draw(milliseconds(60), milliseconds(300));
  machine_.commit_speed.stalls = 0.4;
  machine_.commit_speed.stall = Draw(milliseconds(60), milliseconds(200));
  Later(Draw(milliseconds(400), milliseconds(1000)), [this] {
    machine_.disk_speed = {};
    machine_.commit_speed = {};
  });
}

void World::SlowPath(Node& node) {
  node.path.delay = Draw(milliseconds(5), milliseconds(40));
  node.path.jitter = Draw(milliseconds(10), milliseconds(60));
  Later(Draw(milliseconds(500), milliseconds(1500)), [&node] {
    node.path.delay = Path().delay;
    node.path.jitter = Path().jitter;
  });
}

void World::JumpWallClock() {
  const Duration jump = scheduler_.random().Between(-std::chrono::hours(2), std::chrono::hours(2));
  Trace(fmt::format("wall clock is set by {} s",
                    std::chrono::duration_cast<std::chrono::seconds>(jump).count()));
  SetWallClockOffset(jump);
}

// Each fault mends itself; this one does not wait for it.
void World::Heal() {
  Trace("all is mended");
  for (Node& node : nodes_) {
    SetPath(node, false, false);
    if (node.process != nullptr && node.process->frozen) scheduler_.Thaw(*node.process);
  }
  if (server_ != nullptr && server_->process().frozen) scheduler_.Thaw(server_->process());
  machine_.disk_speed = {};
  machine_.commit_speed = {};
  UpdateContact();
}

}  // namespace baton::sim
