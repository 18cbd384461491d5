// DescriptorCache: the open files of an export, by inode, and which of them have a descriptor now. Only so
// many are kept: beyond that, one that was not used lately is closed, and opened again by its file handle,
// with the same access mode, when it is next used. Access was checked at the open and is not checked again.
//
// What is not closed (decision 8): a descriptor in use; the last one of an inode that was written, before its
// data is on stable storage. The last one of an inode that has no link, not even a hidden one, or that has unsynced
// data when its program closes it, becomes the inode's *anchor*, by which its other files are opened again. The kernel
// tells each descriptor once of a write error; one that was closed hears of it from those that were told.
//
// Any thread. The mutex is for opens, closes, and who finds a descriptor closed; to use an open one takes two
// atomic operations on a word of its own.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/file_key.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "server/store/handle.h"

namespace baton::store {

class DescriptorCache;
struct OpenInode;

inline bool IsOutOfDescriptors(int error) { return error == EMFILE || error == ENFILE; }

// The descriptor of one open file, or the means to get it back. Outlived by its cache.
class Descriptor {
 public:
  using Inode = std::pair<const FileKey, OpenInode>;
  using Hook = boost::intrusive::list_member_hook<>;

  // `key` and `handle` are those of the inode that `fd` has open. `tell_end`: as for DescriptorCache::TellEndOf.
  Descriptor(DescriptorCache& cache, const FileKey& key, const FileHandle& handle, UniqueFd fd, bool tell_end = false);
  // Closed yet, to be opened with these flags when it is first used. Requires ClosesFiles().
  Descriptor(DescriptorCache& cache, const FileKey& key, const FileHandle& handle, int flags, bool tell_end = false);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // Keeps the descriptor open while it lives.
  class Use {
   public:
    Use(Use&& other) noexcept : of_(std::exchange(other.of_, nullptr)), writes_(other.writes_) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (of_ != nullptr) of_->Leave(writes_);
    }
    int Fd() const { return of_->fd_; }

   private:
    friend class Descriptor;
    Use(Descriptor& of, bool writes) : of_(&of), writes_(writes) {}
    Descriptor* of_;
    bool writes_;
  };
  // To read or to look. Where it has to be opened again, that leaves the thread privileged, and may fail:
  // ESTALE if the file was removed past the server; EMFILE, ENFILE.
  Result<Use> Enter() { return Enter(false); }
  // To change the content.
  Result<Use> EnterToWrite() { return Enter(true); }
  // fsync(2) or fdatasync(2); also tells, once, of an error that came while the descriptor was closed.
  Result<void> Sync(bool data_only);

  const FileKey& Key() const;
  FileHandle Handle() const;
  // A write that had to be synced (O_SYNC, O_DSYNC) failed: the others of the inode hear of it, too.
  void NoteSyncError(int error);
  bool IsOpen() const { return (state_.load(std::memory_order_relaxed) & kClosed) == 0; }

 private:
  friend class DescriptorCache;
  friend struct OpenInode;

  static constexpr std::uint32_t kClosed = 1u << 31;
  static constexpr std::uint32_t kUsed = 1u << 30;  // since the clock's hand came by

  Result<Use> Enter(bool writes) {
    const std::uint32_t before = state_.fetch_add(1, std::memory_order_acquire);
    if ((before & kClosed) != 0) [[unlikely]] {
      state_.fetch_sub(1, std::memory_order_relaxed);
      if (const int error = EnterClosed(); error != 0) return Fail(error);
    } else if ((before & kUsed) == 0) {
      state_.fetch_or(kUsed, std::memory_order_relaxed);
    }
    return Use(*this, writes);
  }
  // 0: it is open again, and entered.
  int EnterClosed();
  void Leave(bool wrote);

  DescriptorCache& cache_;
  Inode* inode_ = nullptr;
  Hook in_clock_;  // both while it is open
  Hook in_inode_;
  std::atomic<std::uint32_t> state_{kUsed};  // the bits, and how many are inside
  int fd_;                                   // written only while kClosed is set and the mutex held
  int flags_ = 0;                            // of the one that was closed
  std::atomic<std::uint32_t> heard_{0};      // of how many of its inode's errors
  std::uint32_t told_ = 0;                   // its inode's `told` when it last asked; with the mutex
};

struct OpenInode {
  using Open = boost::intrusive::list<
      Descriptor, boost::intrusive::member_hook<Descriptor, Descriptor::Hook, &Descriptor::in_inode_>>;

  std::string handle;  // without the room that it does not need
  int handle_type = 0;
  int last_error = 0;
  std::atomic<std::uint32_t> errors{0};  // that the kernel told some descriptor of it
  std::atomic<bool> is_unsynced{false};  // written since it was last synced
  std::uint32_t files = 0;
  std::uint32_t told = 0;  // errors that the kernel told descriptors of it, the same one perhaps several times
  bool tell_end = false;
  int anchor = -1;
  std::shared_ptr<const void> anchor_owner;
  Open open;
};

class DescriptorCache {
 public:
  // Opens a file by `anchor`, or if that is -1 by handle, with the server's own rights; sets errno.
  using Reopen = std::function<UniqueFd(const FileHandle& handle, int anchor, int flags)>;

  // The last file of an inode was closed of which that was to be told. On the thread that closed it, without any lock of
  // the cache: it may be open again by now.
  using Ended = std::function<void(const FileKey& key)>;

  // Without `reopen` nothing is ever closed.
  DescriptorCache(std::size_t most, Reopen reopen, Ended ended = nullptr)
      : most_(most), reopen_(std::move(reopen)), ended_(std::move(ended)) {}

  bool ClosesFiles() const { return reopen_ != nullptr; }
  // Whether an inode whose file handle has this hash (FileKey) is open.
  bool MayHave(std::uint64_t handle_hash) const;
  bool Has(const FileKey& key) const;
  bool IsEmpty() const;
  // Its last close is to be told. False: it is not open.
  bool TellEndOf(const FileKey& key);
  // The inode has no link any more: `fd` of `owner` keeps it from now on. False: it is not open.
  bool Anchor(const FileKey& key, std::shared_ptr<const void> owner, int fd);

  struct Found {
    std::shared_ptr<const void> owner;
    int fd = -1;
  };
  // A descriptor of the inode. ESTALE if it is not open; EMFILE.
  Result<Found> Find(const FileKey& key);

  // When the process has no descriptor left: closes some that can be at once. False if there are none.
  bool MakeRoom();
  // Of open files, and anchors.
  std::size_t Held() const;

 private:
  friend class Descriptor;

  using Clock = boost::intrusive::list<
      Descriptor, boost::intrusive::member_hook<Descriptor, Descriptor::Hook, &Descriptor::in_clock_>>;
  struct Choice {
    Descriptor* closable = nullptr;
    Descriptor* unsynced = nullptr;  // to be closed once it is synced
  };

  void Add(Descriptor& file, const FileKey& key, const FileHandle& handle, bool tell_end);
  void Remove(Descriptor& file);
  int EnterClosed(Descriptor& file);
  int Hear(Descriptor& file, int error);

  void PutBack(Descriptor& file, UniqueFd fd);
  // Closes until no more than `most` are held; may sync as many inodes for that, and leave the thread
  // privileged then.
  void Shrink(std::size_t most, int syncs);
  void SyncBehind(const FileKey& key, int fd);

  // With the mutex held.
  void Complain(const char* what, int error);
  void PutIn(Descriptor& file);
  void TakeOut(Descriptor& file);
  Choice Choose();
  bool IsLastOfInode(const Descriptor& file) const;
  UniqueFd Close(Descriptor& file);
  std::size_t HeldLocked() const { return clock_.size() + anchors_; }

  const std::size_t most_;
  const Reopen reopen_;
  const Ended ended_;

  // By the handle's hash alone, so that MayHave can ask without the inode number.
  struct ByHandle {
    std::size_t operator()(const FileKey& key) const noexcept { return static_cast<std::size_t>(key.handle_hash); }
  };

  mutable std::mutex mutex_;
  std::unordered_map<FileKey, OpenInode, ByHandle> inodes_;
  Clock clock_;  // the hand is at its front
  std::size_t anchors_ = 0;
  std::chrono::steady_clock::time_point last_complaint_{};
};

}  // namespace baton::store
