// World: one simulation from one seed: a server, three nodes with their mounts, five instances whose programs
// are started wherever their supervisors feel like, programs without an instance, and faults. Towards the end
// all faults are mended, and everybody must get on.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/checker.h"
#include "sim/mount.h"
#include "sim/program.h"
#include "sim/server.h"

namespace baton::sim {

struct Options {
  std::uint64_t seed = 1;
  Duration length = std::chrono::milliseconds(8640);
  std::function<void(const std::string&)> trace;  // one line
  std::filesystem::path directory;                // an empty one, for the reply file
};

struct Report {
  std::vector<std::string> violations;
  std::uint64_t operations = 0;  // that succeeded
  std::uint64_t events = 0;
  Duration simulated{};
};

// The world is never destroyed: see scheduler.h.
Report Simulate(const Options& options);

class World {
 public:
  explicit World(const Options& options);
  Report Run();

 private:
  static constexpr int kNodes = 3;
  static constexpr int kInstances = 5;

  struct Node {
    int index = 0;
    int boots = 0;
    int place = 0;
    Path path;
    Process* process = nullptr;  // null while it is down
    Mount* mount = nullptr;
    std::vector<Program*> programs;
  };

  void StartServer();
  void StartNode(Node& node, bool boots);
  void KillNode(Node& node);
  Program* StartProgram(Node& node, int instance);
  void Supervise(int instance);
  void SuperviseAnonymous(Node& node);
  void UpdateContact();
  void SetPath(Node& node, bool up_is_cut, bool down_is_cut);

  // faults.cpp
  void InflictFaults();
  void Inflict();
  void CutPath(Node& node);
  void KillServer(bool with_machine);
  void FreezeServer();
  void FreezeNode(Node& node);
  void RestartNode(Node& node);
  void SlowDisk();
  void SlowPath(Node& node);
  void JumpWallClock();
  void Heal();

  void Finish();
  bool IsFaulty() const { return scheduler_.Now() < heal_at_; }
  Duration Draw(Duration usual, Duration rare);
  void Later(Duration delay, std::function<void()> what);
  void Trace(const std::string& line);

  const Options options_;
  Scheduler scheduler_;
  Process outside_{"outside"};
  Machine machine_;
  Listener listener_;
  Checker checker_;
  std::array<Node, kNodes> nodes_;
  SimServer* server_ = nullptr;
  bool server_is_up_ = false;
  bool is_finishing_ = false;
  int last_run_ = 0;
  int last_place_ = 0;
  Instant begin_{};
  Instant heal_at_{};
};

}  // namespace baton::sim
