#include "sim/server.h"

#include "base/check.h"

namespace baton::sim {

// The pool of threads and its timers.
class SimServer::Runtime final : public server::Executor, public server::Timers {
 public:
  Runtime(Scheduler& scheduler, Process& process) : scheduler_(scheduler), process_(process) {}

  void Post(std::function<void()> task) override {
    Random& random = scheduler_.random();
    // Now and then no thread is free for a while.
    const std::uint64_t most = random.Chance(0.02) ? 3'000'000 : 30'000;
    scheduler_.After(Duration(static_cast<std::int64_t>(random.Below(most))), process_, std::move(task));
  }
  server::TimerId At(Instant when, std::function<void()> task) override {
    const Duration late{static_cast<std::int64_t>(scheduler_.random().Below(200'000))};
    return server::TimerId{scheduler_.At(when - process_.clock_offset + late, process_, std::move(task))};
  }
  bool Cancel(server::TimerId id) override { return scheduler_.Cancel(Raw(id)); }

 private:
  Scheduler& scheduler_;
  Process& process_;
};

SimServer::SimServer(Scheduler& scheduler, Machine& machine, Listener& listener)
    : scheduler_(scheduler),
      machine_(machine),
      listener_(listener),
      clock_(scheduler, process_),
      runtime_(std::make_unique<Runtime>(scheduler, process_)),
      state_(std::make_unique<SimStateStore>(*machine.state, machine.commit_speed)) {}

void SimServer::Start() {
  ArbiterOptions options;
  options.reservation = machine_.lease;
  options.lease = machine_.lease;
  options.flap_limit = 0;
  const auto key = state_->LoadServerKey();
  const std::string boot = "boot-" + std::to_string(machine_.boots);
  const auto recovered = Recover(*state_, {boot, clock_.Now(), options.reservation, Instant::max()});
  BATON_CHECK(key && recovered);
  store_ = MakeStore(machine_.disk, machine_.disk_speed);
  auto replies = ReplyFile::Open(machine_.reply_directory, boot);
  BATON_CHECK(replies.has_value());
  replies_ = std::move(*replies);
  events_ = std::make_unique<EventLog>(EventLog::Options{.write = [](bool, const std::string&) {}});
  coordinator_ = std::make_unique<server::Coordinator>(options, *recovered, *state_, *events_, *runtime_,
                                                       *runtime_, clock_, true);
  server::ServiceOptions service;
  service.lease = machine_.lease;
  service.boot = machine_.boots;
  service.key = *key;
  service_ = std::make_unique<server::Service>(service, *store_, *coordinator_, *replies_, *runtime_, clock_);
  listener_.handler = service_.get();
  listener_.process = &process_;
  // A machine that is up again knows nothing of these links, and says so to whoever sends on them.
  for (const auto& weak : std::exchange(listener_.of_the_dead, {})) {
    if (const auto link = weak.lock()) link->ServerDied();
  }
  coordinator_->Tell(WaitForAbsentUntil{clock_.Now() + machine_.lease});
}

void SimServer::Kill(bool machine_tells) {
  scheduler_.Kill(process_);
  const bool listened = listener_.process == &process_;
  if (!listened) return;
  listener_.process = nullptr;
  listener_.handler = nullptr;
  for (const auto& weak : std::exchange(listener_.links, {})) {
    const auto link = weak.lock();
    if (!link) continue;
    if (machine_tells) {
      link->ServerDied();
    } else {
      listener_.of_the_dead.push_back(link);
    }
  }
}

}  // namespace baton::sim
