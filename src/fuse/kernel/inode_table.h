// The inodes that the kernel knows: one per file that it has looked up, named to the kernel by the inode's
// address. An inode that an incarnation had open when it was fenced is *retired* (rule C3): the kernel may
// still hold dirty pages of it that nothing can attribute, so a later lookup of the same file gets another
// inode and every page-cache write to the retired one is refused. No I/O here. Any thread; the table's mutex
// is a leaf.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/attr.h"
#include "base/file_ref.h"
#include "fuse/client/call.h"
#include "fuse/client/unique_function.h"

namespace baton {

// A state of a file's data, as an answer of batond gives it.
struct KnownPages {
  client::Generation generation{};  // a change counter counts within a session
  std::uint64_t change = 0;
  std::uint64_t size = 0;
  Timestamp mtime;
  friend bool operator==(const KnownPages&, const KnownPages&) = default;
};

class Inode : public std::enable_shared_from_this<Inode> {
 public:
  Inode(const FileRef& file, std::uint64_t number) : file_(file), number_(number) {}

  const FileRef& File() const { return file_; }
  std::uint64_t Number() const { return number_; }  // st_ino
  // The file, retired or not, as a key for client::FateTable.
  std::uint64_t FateKey() const { return std::hash<FileRef>()(file_); }
  bool Retired() const { return retired_; }

  // What the pages that the kernel has of the file are at least as new as (rule C1).
  std::optional<KnownPages> Pages() const;
  // Requires that the kernel dropped what was older: it has finished the open, or an invalidation.
  void SetPages(const KnownPages& pages);
  // For who drops the pages if they are older than something, and says how new they are then. May be held for long.
  std::mutex& DropMutex() { return drop_mutex_; }

  // Closes that are on their way (rule O5): a flushed handle usually goes, a released one does.
  void BeginClose();
  void EndClose();
  // Runs `then` when no close is on its way any more. False, and `then` untouched: none is.
  bool WhenClosed(UniqueFunction<void()>& then);

  // The kernel could not be told that the attributes it was given have changed: it had not taken them yet.
  void SetUntold(bool untold) { untold_ = untold; }
  bool IsUntold() const { return untold_; }

  // A directory that was removed through this mount: what is left of it, for the programs that work in it. batond knows
  // it no more.
  void SetRemoved(const Attr& last);
  std::optional<Attr> Removed() const;

  // A lock was asked for through this inode: a close must tell batond (rule L1), and what the kernel believes follows
  // the locks (C1). True: it is the first.
  bool SetLocked() { return !locked_.exchange(true); }
  bool WasLocked() const { return locked_; }

  // Rule D3. A change of the data through this inode was acknowledged; gives its number. The transport's thread.
  std::uint64_t CountWrite() { return written_.fetch_add(1, std::memory_order_relaxed) + 1; }
  // All that were acknowledged before.
  std::uint64_t Written() const { return written_.load(std::memory_order_acquire); }
  // So many of them are on stable storage, or given up for lost. The transport's thread.
  void SetSettled(std::uint64_t upto) { settled_ = std::max(settled_, upto); }
  std::uint64_t Settled() const { return settled_; }

 private:
  friend class InodeTable;

  FileRef file_;  // of the root: set once, by SetRoot
  std::uint64_t number_;
  std::atomic<bool> retired_ = false;
  std::atomic<bool> locked_ = false;
  std::atomic<bool> untold_ = false;
  std::atomic<std::uint64_t> written_ = 0;
  std::uint64_t settled_ = 0;

  std::mutex drop_mutex_;
  mutable std::mutex mutex_;
  std::optional<KnownPages> pages_;
  std::optional<Attr> removed_;
  int closing_ = 0;
  std::vector<UniqueFunction<void()>> when_closed_;

  // Of InodeTable, under its mutex.
  std::uint64_t lookups_ = 0;
  std::shared_ptr<Inode> itself_;  // while the kernel knows it
  std::shared_ptr<Inode> parent_;  // the name under which it was last found
  std::string name_;
};

class InodeTable {
 public:
  InodeTable();
  // The kernel forgets nothing one by one when it lets go of a mount.
  ~InodeTable();

  // The root's inode is there from the begin and stays for good; the kernel calls it FUSE_ROOT_ID. Which file that is, is said
  // once, before anybody asks.
  void SetRoot(const FileRef& root, std::uint64_t number);
  std::shared_ptr<Inode> Root() const { return root_; }

  // Requires that the kernel knows `number`.
  std::shared_ptr<Inode> Get(std::uint64_t number) const;
  std::uint64_t NumberFor(const Inode& inode) const;

  // The kernel is about to be told of the file under this name: counts one lookup.
  std::shared_ptr<Inode> Remember(const FileRef& file, const Attr& attr, const std::shared_ptr<Inode>& parent,
                                  std::string_view name);
  void Forget(Inode& inode, std::uint64_t lookups);

  // Rule C3. Of the given inodes, those that were not retired before; with what the kernel must be told.
  struct RetiredInode {
    std::shared_ptr<Inode> inode;
    std::shared_ptr<Inode> parent;  // none: not known under any name
    std::string name;
  };
  std::vector<RetiredInode> Retire(std::span<const std::shared_ptr<Inode>> inodes);

  // Not a retired one; none if the kernel does not know the file.
  std::shared_ptr<Inode> Find(const FileRef& file) const;
  // The newest inode with this st_ino; none if the kernel knows none.
  std::shared_ptr<Inode> FindByNumber(std::uint64_t number) const;
  // All that the kernel may look at under their names: retired ones are not among them.
  std::vector<std::shared_ptr<Inode>> All() const;
  // Where it was last found, from the mount's root on, for people; empty if the kernel knows no name.
  std::string PathOf(const Inode& inode) const;
  std::size_t Size() const;

 private:
  void DropFromIndex(const Inode& inode);

  mutable std::mutex mutex_;
  std::shared_ptr<Inode> root_;
  std::unordered_map<FileRef, Inode*> by_file_;          // none of them retired
  std::unordered_map<std::uint64_t, Inode*> by_number_;  // the same inodes
  std::unordered_set<Inode*> known_to_kernel_;           // retired ones, too; without the root
};

}  // namespace baton
