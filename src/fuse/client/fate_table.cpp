#include "fuse/client/fate_table.h"

#include <algorithm>

#include "base/check.h"

namespace baton::client {

void FateTable::Unknown(std::uint64_t key) {
  const std::scoped_lock lock(mutex_);
  ++files_[key].unknown;
}

void FateTable::Known(std::uint64_t key) {
  std::vector<Waiting> released;
  {
    const std::scoped_lock lock(mutex_);
    const auto file = files_.find(key);
    BATON_CHECK(file != files_.end());
    if (--file->second.unknown != 0) return;
    released = std::move(file->second.waiting);
    files_.erase(file);
  }
  for (Waiting& waiting : released) waiting.waiter({});
}

bool FateTable::Pass(std::uint64_t key, CallToken token, Waiter& waiter) {
  const std::scoped_lock lock(mutex_);
  const auto file = files_.find(key);
  if (file == files_.end()) return true;
  file->second.waiting.push_back({token, std::move(waiter)});
  return false;
}

bool FateTable::Withdraw(CallToken token, int error) {
  Waiter withdrawn;
  {
    const std::scoped_lock lock(mutex_);
    for (auto& [key, file] : files_) {
      const auto found = std::ranges::find(file.waiting, token, &Waiting::token);
      if (found == file.waiting.end()) continue;
      withdrawn = std::move(found->waiter);
      file.waiting.erase(found);
      break;
    }
  }
  if (!withdrawn) return false;
  withdrawn(Fail(error));
  return true;
}

bool FateTable::IsUnknown(std::uint64_t key) const {
  const std::scoped_lock lock(mutex_);
  return files_.contains(key);
}

}  // namespace baton::client
