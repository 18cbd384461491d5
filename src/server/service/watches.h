// Watches: which session was told what about which file, and must hear when that is no longer so (rules C1, C2). A session
// that has been given a file's attributes, its data or the names of a directory *watches* them: the next change by anybody
// else is a notice to it, sent before the changer gets its answer. Attributes and data are told of once, and watched again
// when they are asked for again; names for as long as the session's connection lasts.
//
// It keeps no order between a reply and a notice that crosses it: the mount does, which trusts nothing that it asked for
// before a notice and got after it. A new connection watches nothing: its mount trusts nothing from before it.
// Bounded: beyond kMostFiles the watchers of some file hear that it changed. Any thread; sends without its mutex.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file_key.h"
#include "protocol/messages.h"
#include "server/service/session.h"

namespace baton::server {

class Watches {
 public:
  static constexpr std::size_t kMostFiles = 1 << 19;  // about 100 bytes each

  enum class What : std::uint8_t { kAttributes = 1, kData = 2, kNames = 4 };

  // Counts the changes of all files: Now() before something is read, UnchangedSince() when it is watched.
  std::uint64_t Now() const { return changes_.load(std::memory_order_acquire); }
  bool UnchangedSince(std::uint64_t then) const { return Now() == then; }

  // What is read after this, the session may believe until it is told. What was read before only if nothing changed since.
  void Watch(const std::shared_ptr<Session>& session, const FileKey& file, What what);

  // Nobody can ask for the file any more. `was_open`: its last handle went; otherwise its last name, of which its watchers
  // hear next, and are forgotten then.
  void Gone(const FileKey& file, bool was_open);

  // A change has taken effect; `by` hears nothing of its own. Before the answer to `by`.
  void AttributesChanged(SessionId by, const FileKey& file) { Changed(by, file, What::kAttributes); }
  void DataChanged(SessionId by, const FileKey& file) { Changed(by, file, What::kData); }
  // A name in a directory stands for something else now, or for nothing. The directory's attributes have changed, too.
  void NameChanged(SessionId by, const FileKey& directory, std::string_view name);

 private:
  struct Watcher {
    std::weak_ptr<Session> session;
    SessionId id{};
    std::uint32_t connection = 0;  // Session::connections() when it was told
    std::uint8_t what = 0;         // bits of What
  };
  struct File {
    std::vector<Watcher> watchers;
    bool gone = false;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<FileKey, File> files;
  };
  struct Told {
    std::shared_ptr<Session> session;
    protocol::FileChange change;
  };

  Shard& ShardOf(const FileKey& file) { return shards_[std::hash<FileKey>()(file) % kShards]; }
  void Changed(SessionId by, const FileKey& file, What what);
  // With the shard's mutex: takes from the file's watchers what this change ends, and gives who must hear of it.
  static std::vector<Told> Collect(Shard& shard, SessionId by, const FileKey& file, What what, std::string_view name);
  static std::vector<Told> MakeRoom(Shard& shard);
  static void Tell(const std::vector<Told>& told);

  static constexpr std::size_t kShards = 64;
  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> changes_{0};
};

}  // namespace baton::server
