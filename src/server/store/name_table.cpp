#include "server/store/name_table.h"

#include <algorithm>

namespace baton::store {
namespace {

constexpr std::size_t kMaxDepth = 4096;  // ends the walk if renames seen out of order left a ring

}  // namespace

NameTable::Entry* NameTable::Find(const FileKey& file) {
  const auto found = index_.find(file);
  if (found == index_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second);
  return &*found->second;
}

void NameTable::Remember(const FileKey& file, bool is_directory, const FileKey& directory,
                         std::string_view name) {
  if (file == root_) return;
  const std::lock_guard lock(mutex_);
  Entry* entry = Find(file);
  if (entry == nullptr) {
    entry = &order_.emplace_front(Entry{file, {}});
    index_.emplace(file, order_.begin());
    if (index_.size() > capacity_) {
      index_.erase(order_.back().file);
      order_.pop_back();
    }
  }
  auto& names = entry->names;
  if (!names.empty() && names.front().directory == directory && names.front().name == name) return;
  if (is_directory) {
    names.assign(1, SeenName{directory, std::string(name)});
    return;
  }
  SeenName seen{directory, std::string(name)};
  std::erase(names, seen);
  names.insert(names.begin(), std::move(seen));
  if (names.size() > kMaxNames) names.pop_back();
}

void NameTable::Forget(const FileKey& file, const FileKey& directory, std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(file);
  if (found == index_.end()) return;
  std::erase_if(found->second->names,
                [&](const SeenName& seen) { return seen.directory == directory && seen.name == name; });
}

void NameTable::Forget(const FileKey& file) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(file);
  if (found == index_.end()) return;
  order_.erase(found->second);
  index_.erase(found);
}

std::vector<SeenName> NameTable::NamesOf(const FileKey& file) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = Find(file);
  return entry == nullptr ? std::vector<SeenName>() : entry->names;
}

std::optional<std::vector<std::string>> NameTable::PathOf(const FileKey& directory) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> path;
  FileKey at = directory;
  while (at != root_) {
    const Entry* entry = Find(at);
    if (entry == nullptr || entry->names.empty() || path.size() >= kMaxDepth) return std::nullopt;
    path.push_back(entry->names.front().name);
    at = entry->names.front().directory;
  }
  std::ranges::reverse(path);
  return path;
}

std::size_t NameTable::Size() const {
  const std::lock_guard lock(mutex_);
  return index_.size();
}

}  // namespace baton::store
