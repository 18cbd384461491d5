#include "server/state/memory_state_store.h"

#include <algorithm>
#include <cerrno>

namespace baton {
namespace {

WallTime Now() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

}  // namespace

Result<std::vector<InstanceRecord>> MemoryStateStore::Load() {
  const std::scoped_lock lock(mutex_);
  std::vector<InstanceRecord> records;
  for (const auto& [guid, entry] : instances_) records.push_back(entry.record);
  return records;
}

Result<void> MemoryStateStore::SaveAll(std::span<const InstanceRecord> records) {
  const std::scoped_lock lock(mutex_);
  auto changed = instances_;
  for (const InstanceRecord& record : records) {
    if (changed.size() >= max_instances_ && !changed.contains(record.guid)) return Fail(ENOSPC);
    changed[record.guid] = Entry{record, Now()};
  }
  for (const InstanceRecord& record : records) last_epoch_ = std::max(last_epoch_, record.epoch);
  instances_ = std::move(changed);
  return {};
}

Result<void> MemoryStateStore::Erase(const Guid& guid) {
  const std::scoped_lock lock(mutex_);
  instances_.erase(guid);
  return {};
}

void MemoryStateStore::Touch(const Guid& guid, WallTime used) {
  const std::scoped_lock lock(mutex_);
  if (const auto at = instances_.find(guid); at != instances_.end())
    at->second.used = std::max(at->second.used, used);
}

Result<std::vector<Guid>> MemoryStateStore::EraseUnusedSince(WallTime limit) {
  const std::scoped_lock lock(mutex_);
  std::vector<Guid> erased;
  for (auto at = instances_.begin(); at != instances_.end();) {
    if (at->second.used >= limit) {
      ++at;
      continue;
    }
    erased.push_back(at->first);
    at = instances_.erase(at);
  }
  return erased;
}

Result<void> MemoryStateStore::SaveFence(const FenceRecord& fence) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(fences_, [&](const auto& old) {
    return old.first.first == fence.node && old.second.boot != fence.boot;
  });
  fences_[{fence.node, fence.guid}] = fence;
  return {};
}

Result<std::vector<FenceRecord>> MemoryStateStore::LoadFences(const std::string& node) {
  const std::scoped_lock lock(mutex_);
  std::vector<FenceRecord> fences;
  for (const auto& [key, fence] : fences_) {
    if (key.first == node) fences.push_back(fence);
  }
  return fences;
}

Result<Epoch> MemoryStateStore::LastEpoch() {
  const std::scoped_lock lock(mutex_);
  return last_epoch_;
}

}  // namespace baton
