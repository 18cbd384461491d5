#include "server/service/open_file.h"

namespace baton::server {

void SharedFile::Changed(SessionId by) {
  const std::lock_guard lock(mutex_);
  if (last_by_ != by) {
    last_by_ = by;
    changes_before_it_ = changes_;
  }
  ++changes_;
}

std::uint64_t SharedFile::ChangesByOthers(SessionId than) const {
  const std::lock_guard lock(mutex_);
  return last_by_ == than ? changes_before_it_ : changes_;
}

void HandleTable::Insert(std::shared_ptr<OpenFile> file) {
  Shard& shard = ShardOf(file->id);
  const std::unique_lock lock(shard.mutex);
  shard.files.emplace(Raw(file->id), std::move(file));
}

std::shared_ptr<OpenFile> HandleTable::Find(HandleId id) const {
  const Shard& shard = ShardOf(id);
  const std::shared_lock lock(shard.mutex);
  const auto at = shard.files.find(Raw(id));
  return at == shard.files.end() ? nullptr : at->second;
}

std::shared_ptr<OpenFile> HandleTable::Remove(HandleId id) {
  Shard& shard = ShardOf(id);
  const std::unique_lock lock(shard.mutex);
  const auto at = shard.files.find(Raw(id));
  if (at == shard.files.end()) return nullptr;
  std::shared_ptr<OpenFile> file = std::move(at->second);
  shard.files.erase(at);
  return file;
}

std::shared_ptr<SharedFile> SharedFiles::For(const FileKey& key) {
  const std::lock_guard lock(mutex_);
  if (files_.size() >= sweep_at_) {
    std::erase_if(files_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max<std::size_t>(1024, 2 * files_.size());
  }
  std::weak_ptr<SharedFile>& known = files_[key];
  if (auto file = known.lock()) return file;
  // A new number for each time that the file is opened afresh: nobody takes it for one that he has seen.
  auto file = std::make_shared<SharedFile>(base_ + (++generation_ << 20));
  known = file;
  return file;
}

void SharedFiles::Changed(const FileKey& key, SessionId by) {
  const std::lock_guard lock(mutex_);
  if (const auto at = files_.find(key); at != files_.end()) {
    if (const auto file = at->second.lock()) file->Changed(by);
  }
}

}  // namespace baton::server
