// SimStateStore: the state store of one life of the simulated server. What is kept is SqliteStateStore's own
// business, in memory, which outlives the lives; here each commit takes time, before it counts and after it,
// so that a kill falls in between. A fiber.
#pragma once

#include "server/state/state_store.h"
#include "sim/scheduler.h"

namespace baton::sim {

struct CommitSpeed {
  Duration most = std::chrono::microseconds(500);
  double stalls = 0.05;
  Duration stall = std::chrono::milliseconds(15);
};

class SimStateStore final : public StateStore {
 public:
  SimStateStore(StateStore& kept, const CommitSpeed& speed) : kept_(kept), speed_(speed) {}

  Result<std::vector<InstanceRecord>> Load() override { return kept_.Load(); }
  Result<void> SaveAll(std::span<const Commit> commits, WallTime used, Instant now) override {
    return Slowly([&] { return kept_.SaveAll(commits, used, now); });
  }
  Result<void> Erase(const Guid& guid) override {
    return Slowly([&] { return kept_.Erase(guid); });
  }
  void Touch(const Guid& guid, WallTime used) override { kept_.Touch(guid, used); }
  Result<std::vector<Guid>> EraseUnusedSince(WallTime limit) override {
    return kept_.EraseUnusedSince(limit);
  }
  Result<void> AcknowledgeFence(const FenceRecord& fence) override {
    return Slowly([&] { return kept_.AcknowledgeFence(fence); });
  }
  Result<std::vector<FenceRecord>> LoadFences() override { return kept_.LoadFences(); }
  Result<void> SaveSession(const SessionRecord& session, Instant reserved_until) override {
    return Slowly([&] { return kept_.SaveSession(session, reserved_until); });
  }
  Result<void> EraseSession(SessionId session) override {
    return Slowly([&] { return kept_.EraseSession(session); });
  }
  Result<void> EndSession(const CommitEnd& end, Instant reserved_until) override {
    return Slowly([&] { return kept_.EndSession(end, reserved_until); });
  }
  Result<void> SaveUse(const SessionUse& use) override {
    return Slowly([&] { return kept_.SaveUse(use); });
  }
  Result<std::vector<SessionRecord>> LoadSessions() override { return kept_.LoadSessions(); }
  Result<std::vector<SessionUse>> LoadUses() override { return kept_.LoadUses(); }
  Result<std::map<Guid, Instant>> LoadReserved(const std::string& boot, Instant now, Duration reservation) override {
    return kept_.LoadReserved(boot, now, reservation);
  }
  Result<std::uint64_t> CountStart() override { return kept_.CountStart(); }
  Result<Epoch> LastEpoch() override { return kept_.LastEpoch(); }
  Result<ServerKey> LoadServerKey() override { return kept_.LoadServerKey(); }
  BackUpProblem BackUp(const std::filesystem::path& file, bool replace) override {
    return kept_.BackUp(file, replace);
  }

 private:
  template <class Change>
  auto Slowly(Change change) -> decltype(change()) {
    Spend();
    auto answer = change();
    Spend();
    return answer;
  }
  void Spend() const {
    Scheduler& scheduler = *Scheduler::Running();
    const Duration most = scheduler.random().Chance(speed_.stalls) ? speed_.stall : speed_.most;
    scheduler.Sleep(scheduler.random().Between({}, most));
  }

  StateStore& kept_;
  const CommitSpeed& speed_;
};

}  // namespace baton::sim
