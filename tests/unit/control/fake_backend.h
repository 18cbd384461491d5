// A ControlBackend that answers what the test put there.
#pragma once

#include <cerrno>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/service/control_backend.h"

namespace baton::test {

class FakeBackend final : public ControlBackend {
 public:
  StatusInfo status;
  std::vector<SessionRow> sessions;
  std::vector<InstanceInfo> instances;
  std::vector<OpenInfo> opens;
  std::vector<LockInfo> locks;
  ControlAnswer<> reset_answer;
  ControlAnswer<> forget_answer;

  StatusInfo Status() override { return status; }
  std::vector<SessionRow> Sessions() override { return sessions; }
  std::vector<InstanceInfo> Instances() override { return instances; }
  ControlAnswer<std::vector<OpenInfo>> Opens(const std::optional<std::string>& path) override {
    return Only(opens, path);
  }
  ControlAnswer<std::vector<LockInfo>> Locks(const std::optional<std::string>& path) override {
    return Only(locks, path);
  }
  void Fence(const Guid& guid, Fenced done) override {
    const std::scoped_lock lock(mutex_);
    fences_.emplace_back(guid, std::move(done));
  }
  ControlAnswer<> Reset(const Guid&) override { return reset_answer; }
  ControlAnswer<> Forget(const Guid&) override { return forget_answer; }
  ControlAnswer<> BackUpState(const std::string& file, bool replace) override {
    if (replace) return {};
    return tl::unexpected(ControlError{EEXIST, file + " is there already"});
  }

  // The fences that were asked for since the last call.
  std::vector<std::pair<Guid, Fenced>> TakeFences() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(fences_, {});
  }

 private:
  template <class T>
  static ControlAnswer<std::vector<T>> Only(const std::vector<T>& all,
                                            const std::optional<std::string>& path) {
    if (!path) return all;
    std::vector<T> some;
    for (const T& item : all) {
      if (item.path == *path) some.push_back(item);
    }
    if (some.empty()) return tl::unexpected(ControlError{ENOENT, "no such file in the export: " + *path});
    return some;
  }

  std::mutex mutex_;
  std::vector<std::pair<Guid, Fenced>> fences_;
};

}  // namespace baton::test
