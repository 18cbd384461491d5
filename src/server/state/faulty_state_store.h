// FaultyStateStore: a StateStore whose changes fail when the test says so, before they took effect or after
// (the answer is lost, the change is durable). Reads pass. Any thread.
#pragma once

#include <mutex>

#include "server/state/state_store.h"

namespace baton {

class FaultyStateStore final : public StateStore {
 public:
  enum class Moment : std::uint8_t { kBefore, kAfter };

  explicit FaultyStateStore(StateStore& inner) : inner_(inner) {}

  // The next `times` changes fail with `error`.
  void FailNext(int times, int error, Moment moment = Moment::kBefore) {
    const std::scoped_lock lock(mutex_);
    times_ = times, error_ = error, moment_ = moment;
  }

  Result<std::vector<InstanceRecord>> Load() override { return inner_.Load(); }
  Result<void> SaveAll(std::span<const Commit> commits, WallTime used, Instant now) override {
    return Through([&] { return inner_.SaveAll(commits, used, now); });
  }
  Result<void> Erase(const Guid& guid) override {
    return Through([&] { return inner_.Erase(guid); });
  }
  void Touch(const Guid& guid, WallTime used) override { inner_.Touch(guid, used); }
  Result<std::vector<Guid>> EraseUnusedSince(WallTime limit) override {
    return Through([&] { return inner_.EraseUnusedSince(limit); });
  }
  Result<void> AcknowledgeFence(const FenceRecord& fence) override {
    return Through([&] { return inner_.AcknowledgeFence(fence); });
  }
  Result<std::vector<FenceRecord>> LoadFences() override { return inner_.LoadFences(); }
  Result<void> SaveSession(const SessionRecord& session, Instant reserved_until) override {
    return Through([&] { return inner_.SaveSession(session, reserved_until); });
  }
  Result<void> EraseSession(SessionId session) override {
    return Through([&] { return inner_.EraseSession(session); });
  }
  Result<void> EndSession(const CommitEnd& end, Instant reserved_until) override {
    return Through([&] { return inner_.EndSession(end, reserved_until); });
  }
  Result<void> SaveUse(const SessionUse& use) override {
    return Through([&] { return inner_.SaveUse(use); });
  }
  Result<std::vector<SessionRecord>> LoadSessions() override { return inner_.LoadSessions(); }
  Result<std::vector<SessionUse>> LoadUses() override { return inner_.LoadUses(); }
  Result<std::uint64_t> CountStart() override { return inner_.CountStart(); }
  Result<std::map<Guid, Instant>> LoadReserved(const std::string& boot, Instant now, Duration reservation) override {
    return inner_.LoadReserved(boot, now, reservation);
  }
  Result<Epoch> LastEpoch() override { return inner_.LastEpoch(); }
  Result<ServerKey> LoadServerKey() override { return inner_.LoadServerKey(); }
  BackUpProblem BackUp(const std::filesystem::path& file, bool replace) override { return inner_.BackUp(file, replace); }

 private:
  template <class Call>
  auto Through(Call call) -> decltype(call()) {
    int error = 0;
    Moment moment{};
    {
      const std::scoped_lock lock(mutex_);
      if (times_ > 0) {
        --times_;
        error = error_, moment = moment_;
      }
    }
    if (error != 0 && moment == Moment::kBefore) return Fail(error);
    auto answer = call();
    if (error != 0) return Fail(error);
    return answer;
  }

  StateStore& inner_;
  std::mutex mutex_;
  int times_ = 0;
  int error_ = 0;
  Moment moment_{};
};

}  // namespace baton
