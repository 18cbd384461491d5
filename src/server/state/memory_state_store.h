// MemoryStateStore: a StateStore without a disk, for tests and simulation. What it keeps lives as long as the
// object. Any thread.
#pragma once

#include <map>
#include <mutex>
#include <utility>

#include "server/state/state_store.h"

namespace baton {

class MemoryStateStore final : public StateStore {
 public:
  explicit MemoryStateStore(ServerKey key = {}, std::size_t max_instances = kDefaultMaxInstances)
      : key_(key), max_instances_(max_instances) {}

  Result<std::vector<InstanceRecord>> Load() override;
  Result<void> SaveAll(std::span<const InstanceRecord> records) override;
  Result<void> Erase(const Guid& guid) override;
  void Touch(const Guid& guid, WallTime used) override;
  Result<std::vector<Guid>> EraseUnusedSince(WallTime limit) override;
  Result<void> SaveFence(const FenceRecord& fence) override;
  Result<std::vector<FenceRecord>> LoadFences(const std::string& node) override;
  Result<Epoch> LastEpoch() override;
  Result<ServerKey> LoadServerKey() override { return key_; }

 private:
  struct Entry {
    InstanceRecord record;
    WallTime used;
  };
  std::mutex mutex_;
  std::map<Guid, Entry> instances_;
  std::map<std::pair<std::string, Guid>, FenceRecord> fences_;
  Epoch last_epoch_{};
  ServerKey key_;
  std::size_t max_instances_;
};

}  // namespace baton
