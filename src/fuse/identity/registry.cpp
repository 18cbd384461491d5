#include "fuse/identity/registry.h"

namespace baton {

void Registry::Put(const ProcessKey& process, Entry entry) {
  std::lock_guard lock(mutex_);
  entry.id = RegistrationId{++last_id_};
  entries_.insert_or_assign(process, std::move(entry));
}

bool Registry::Remove(const ProcessKey& process) {
  std::lock_guard lock(mutex_);
  return entries_.erase(process) != 0;
}

std::optional<Registry::Entry> Registry::Find(const ProcessKey& process) const {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(process);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

std::optional<Registry::Entry> Registry::Find(RegistrationId id) const {
  std::lock_guard lock(mutex_);
  for (const auto& [process, entry] : entries_) {
    if (entry.id == id) return entry;
  }
  return std::nullopt;
}

bool Registry::Empty() const {
  std::lock_guard lock(mutex_);
  return entries_.empty();
}

std::vector<ProcessKey> Registry::Processes() const {
  std::lock_guard lock(mutex_);
  std::vector<ProcessKey> processes;
  for (const auto& [process, entry] : entries_) processes.push_back(process);
  return processes;
}

}  // namespace baton
