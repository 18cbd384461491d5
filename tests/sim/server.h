// SimServer: one life of batond in a simulation: the product's coordinator with its arbiter, service and
// reply file, on a simulated store, state store, network and clock. Composed as server/main.cpp does. It ends
// by being killed only, so nothing of it is ever destroyed.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "server/service/service.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/scheduler.h"
#include "sim/state.h"
#include "sim/store.h"

namespace baton::sim {

// What a life of the server finds when it begins.
struct Machine {
  Disk disk;
  DiskSpeed disk_speed;
  std::unique_ptr<StateStore> state;
  CommitSpeed commit_speed;
  std::filesystem::path reply_directory;
  std::uint64_t boots = 1;
  Duration lease = std::chrono::seconds(1);
};

class SimServer {
 public:
  SimServer(Scheduler& scheduler, Machine& machine, Listener& listener);
  // In its process, after which it serves. May take simulated time.
  void Start();
  Process& process() { return process_; }
  // As SIGKILL does. The links' other ends hear of it if the machine is still there to tell them.
  void Kill(bool machine_tells);

 private:
  class Runtime;

  Scheduler& scheduler_;
  Machine& machine_;
  Listener& listener_;
  Process process_{"server"};
  ProcessClock clock_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<SimStateStore> state_;
  std::unique_ptr<store::BackingStore> store_;
  std::unique_ptr<ReplyFile> replies_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<server::Coordinator> coordinator_;
  std::unique_ptr<server::Service> service_;
};

}  // namespace baton::sim
