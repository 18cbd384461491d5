// OpenFile: the data path's half of a handle; the arbiter has the other half. HandleTable finds it by id. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "base/file_key.h"
#include "base/guid.h"
#include "base/ids.h"
#include "base/small_mutex.h"
#include "server/service/gate.h"
#include "server/store/backing_store.h"

namespace baton::server {

// What all handles of one file share: how often its data was changed, seen from each session (rule C1).
class SharedFile {
 public:
  explicit SharedFile(std::uint64_t first) : changes_(first) {}

  void Changed(SessionId by);
  // Rises whenever another session than this one has changed the data.
  std::uint64_t ChangesByOthers(SessionId than) const;

  // Set before the first lock: a flush without any need not be told to the arbiter.
  std::atomic<bool> locks{false};
  SmallMutex appends;  // one after the other, through all handles (rules O7, D2)

 private:
  mutable SmallMutex mutex_;
  std::uint64_t changes_;
  SessionId last_by_{};
  std::uint64_t changes_before_it_ = 0;
};

struct OpenFile {
  HandleId id{};        // set when it is granted, as is `membership`
  SessionId session{};
  std::optional<Guid> guid;
  Epoch epoch{};
  std::string program;
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::string path;
  std::shared_ptr<store::StoreFile> file;
  std::shared_ptr<SharedFile> shared;
  std::shared_ptr<Gate> membership;                        // of its incarnation in its session
  Gate gate;                                               // its own
  std::atomic<bool> refuses_cached_writes{false};          // rule C3
  std::atomic<bool> late_was_reported{false};

  // 0, or why nothing more is done through this handle.
  int Closed() const {
    const int error = membership->Closed();
    return error != 0 ? error : gate.Closed();
  }
};

// Inside both gates of a handle, which must outlive it.
class HandleEntry {
 public:
  explicit HandleEntry(OpenFile& file) {
    error_ = file.membership->Enter();
    if (error_ != 0) return;
    membership_ = GateEntry(file.membership);
    error_ = file.gate.Enter();
    if (error_ == 0) own_ = &file.gate;
  }
  ~HandleEntry() {
    if (own_ != nullptr) own_->Leave();
  }
  HandleEntry(const HandleEntry&) = delete;
  HandleEntry& operator=(const HandleEntry&) = delete;
  int error() const { return error_; }

 private:
  int error_ = 0;
  GateEntry membership_;
  Gate* own_ = nullptr;
};

class HandleTable {
 public:
  void Insert(std::shared_ptr<OpenFile> file);
  std::shared_ptr<OpenFile> Find(HandleId id) const;  // null if there is none
  std::shared_ptr<OpenFile> Remove(HandleId id);

 private:
  static constexpr std::size_t kShards = 64;
  struct Shard {
    mutable std::shared_mutex mutex;
    std::unordered_map<std::uint64_t, std::shared_ptr<OpenFile>> files;
  };
  Shard& ShardOf(HandleId id) { return shards_[Raw(id) % kShards]; }
  const Shard& ShardOf(HandleId id) const { return shards_[Raw(id) % kShards]; }
  std::array<Shard, kShards> shards_;
};

// The files that are open, by identity.
class SharedFiles {
 public:
  // `starts`: how often the server was started. Its numbers are above all of its earlier lives'.
  explicit SharedFiles(std::uint64_t starts) : base_(starts << 48) {}

  std::shared_ptr<SharedFile> For(const FileKey& key);
  // A change by name: noted if the file is open.
  void Changed(const FileKey& key, SessionId by);

 private:
  const std::uint64_t base_;
  std::mutex mutex_;
  std::unordered_map<FileKey, std::weak_ptr<SharedFile>> files_;
  std::uint64_t generation_ = 0;
  std::size_t sweep_at_ = 1024;
};

}  // namespace baton::server
