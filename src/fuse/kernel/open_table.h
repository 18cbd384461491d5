// The open files of the mount: what the kernel calls a file handle is the address of an Open. An Open whose
// incarnation was fenced, whose session was lost or which batond revoked is *dead*: everything through it is
// ESTALE, here and without asking (rule T6); it goes when the kernel releases it. Any thread; the table's
// mutex is a leaf.
#pragma once

#include <fcntl.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/guid.h"
#include "base/ids.h"
#include "fuse/client/call.h"
#include "fuse/kernel/inode_table.h"

namespace baton {

// The incarnation that an open belongs to (rule I7). batond never gives a number of an epoch twice, to no
// instance.
struct Incarnation {
  Guid guid{};  // nil: batond found the instance at the file (rule I2 d) and told only the epoch
  Epoch epoch{};
};

struct Open : std::enable_shared_from_this<Open> {
  HandleId handle{};
  client::Generation generation{};  // the session that gave the handle
  std::shared_ptr<Inode> inode;
  std::optional<Incarnation> incarnation;  // none: opened without an instance
  int pid = 0;                             // who opened it, in the mount's pid namespace
  int flags = 0;                           // open(2)
  KnownPages pages;                        // as the open found the file
  std::atomic<bool> pages_set = false;
  std::atomic<bool> dead = false;
  std::atomic<bool> late_was_reported = false;
  std::atomic<bool> closing = false;  // counted in Inode::BeginClose

  // From the first request through the handle: it proves that the kernel has finished the open (rule C1).
  void NotePages() {
    if (!pages_set.exchange(true)) inode->SetPages(pages);
  }
  // The page cache would keep appended data where the kernel thinks that the end is (rule O7).
  bool Uncached() const { return (flags & (O_DIRECT | O_APPEND)) != 0; }
  bool Writable() const { return (flags & O_ACCMODE) != O_RDONLY; }

  // Rule D3. A change of the data through this open was acknowledged, and is on batond's disk only after an fsync.
  // The transport's thread.
  void NoteUnsynced() { last_unsynced_ = inode->CountWrite(); }
  // ... and was lost, perhaps: true once, for the answer of the next fsync or close.
  bool TakeLoss() { return lost_.load(std::memory_order_relaxed) && lost_.exchange(false); }
  // The program did not hear of it.
  void GiveBackLoss() { lost_ = true; }

 private:
  friend class OpenTable;
  std::uint64_t last_unsynced_ = 0;  // Inode::CountWrite's number; 0: none
  std::atomic<bool> lost_ = false;
};

class OpenTable {
 public:
  // The number for fuse_file_info::fh. An open that was granted to an incarnation, or by a session, that is
  // gone meanwhile is dead at once.
  std::uint64_t Add(std::shared_ptr<Open> open);
  // Requires a number from Add that was not removed.
  static std::shared_ptr<Open> Get(std::uint64_t number);
  std::shared_ptr<Open> Remove(std::uint64_t number);

  // These mark what they return dead; what was dead before is not returned. What is told of a handle before
  // its open is added counts too: the notice may overtake the grant. Every open of the incarnation, and of
  // earlier ones with this guid.
  std::vector<std::shared_ptr<Open>> KillIncarnation(const Guid& guid, Epoch epoch);
  std::vector<std::shared_ptr<Open>> KillHandles(client::Generation generation,
                                                 std::span<const HandleId> handles);
  std::vector<std::shared_ptr<Open>> KillSessionsBefore(client::Generation generation);

  // Rule D3: the server's machine went down. Marks the opens through which something was acknowledged that no
  // fsync of this node made durable; what is acknowledged from now on is none of it. The transport's thread.
  std::vector<std::shared_ptr<Open>> LoseUnsynced();

  // Who has the inode open.
  std::vector<int> PidsOf(const Inode& inode) const;

 private:
  bool IsGone(const Open& open) const;
  template <class Condition>
  std::vector<std::shared_ptr<Open>> Kill(Condition condition);

  mutable std::mutex mutex_;
  std::unordered_map<Open*, std::shared_ptr<Open>> opens_;
  std::map<Guid, Epoch> fenced_;  // of each instance the last one
  client::Generation oldest_live_{};
  static constexpr std::size_t kMostRevoked = 4096;  // most of them were on their way out and never come
  std::unordered_set<HandleId> revoked_;  // of revoked_generation_, not in the table when it was told
  client::Generation revoked_generation_{};
};

}  // namespace baton
