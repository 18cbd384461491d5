// The open files of the mount: what the kernel calls a file handle is the address of an Open. An Open whose incarnation was
// fenced, whose session was lost or which batond revoked is *dead*: everything through it is ESTALE, here and without asking
// (rule T6); it goes when the kernel releases it. Any thread; the table's mutex is a leaf.
#pragma once

#include <fcntl.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/guid.h"
#include "base/ids.h"
#include "fuse/client/call.h"
#include "fuse/kernel/inode_table.h"

namespace baton {

// The incarnation that an open belongs to (rule I7).
struct Incarnation {
  Guid guid{};
  Epoch epoch{};
};

struct Open : std::enable_shared_from_this<Open> {
  HandleId handle{};
  client::Generation generation{};  // the session that gave the handle
  std::shared_ptr<Inode> inode;
  std::optional<Incarnation> incarnation;  // none: opened without an instance
  int pid = 0;                             // who opened it, in the mount's pid namespace
  int flags = 0;                           // open(2)
  std::atomic<bool> dead = false;
  std::atomic<bool> closing = false;  // counted in Inode::BeginClose

  bool Writable() const { return (flags & O_ACCMODE) != O_RDONLY; }
};

class OpenTable {
 public:
  // The number for fuse_file_info::fh.
  std::uint64_t Add(std::shared_ptr<Open> open);
  // Requires a number from Add that was not removed.
  static std::shared_ptr<Open> Get(std::uint64_t number);
  std::shared_ptr<Open> Remove(std::uint64_t number);

  // These mark what they return dead; what was dead before is not returned.
  // Every open of the incarnation with this guid, up to and with `epoch`.
  std::vector<std::shared_ptr<Open>> KillIncarnation(const Guid& guid, Epoch epoch);
  std::vector<std::shared_ptr<Open>> KillHandles(client::Generation generation, std::span<const HandleId> handles);
  std::vector<std::shared_ptr<Open>> KillSessionsBefore(client::Generation generation);

  // Who has the inode open.
  std::vector<int> PidsOf(const Inode& inode) const;

 private:
  template <class Condition>
  std::vector<std::shared_ptr<Open>> Kill(Condition condition);

  mutable std::mutex mutex_;
  std::unordered_map<Open*, std::shared_ptr<Open>> opens_;
};

}  // namespace baton
