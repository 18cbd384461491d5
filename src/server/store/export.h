// Export: the directory that is served and the only way from a reference or a name to a descriptor (rule A3).
// Its promise: every descriptor it gives out lies on the export's own mount, was reached by one name beneath
// the export or by a reference this server made, and never through a symbolic link. Beneath-ness of a
// directory is verified when it is first opened, at least once a second while it is in use, and for every
// "..": a directory that somebody moves out of the export on the server itself can no longer be used. (A file
// once named stays reachable by its reference after such a move, as by an open descriptor.) As root,
// references are opened by handle. Otherwise by the names last seen (NameTable), beneath the export and
// compared with the handle; ESTALE if none of them fits; files that are open are reached through their
// descriptors. The directory of HiddenLinks is not there for any caller. Any thread.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_map>
#include <vector>

#include "base/credentials.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "server/store/descriptor_cache.h"
#include "server/store/handle.h"
#include "server/store/hidden_links.h"
#include "server/store/name_table.h"
#include "server/store/types.h"

namespace baton::store {

struct StoreOptions {
  bool squash_root = false;                  // uid 0 becomes 65534, and so do gid 0 and group 0 of everybody
  bool read_only = false;                    // EROFS for every change
  std::size_t remembered_names = 1'000'000;  // NameTable's capacity
  std::size_t cached_directories = 1024;     // descriptors of directories that are kept open
  // Of open files; beyond them, those of idle ones are closed for a while, if they can be had again.
  std::size_t open_descriptors = std::numeric_limits<std::size_t>::max();
};

// A descriptor of a file that keeps whatever owns it alive; perhaps O_PATH only.
struct PathFd {
  std::shared_ptr<const void> owner;
  int fd = -1;
  FileKey key;
  bool is_directory = false;
};

// What a name stands for that is about to go; locks its file.
struct Victim {
  PathFd held;  // fd -1: nothing to hold
  std::uint64_t handle_hash = 0;
  bool linked = false;  // for this it got its hidden link
  int error = 0;        // why it did not
  HiddenLinks::Lock lock;
};

// There may be some again later: what was asked for must not be done by halves.
inline bool IsOutOfMeans(int error) {
  return IsOutOfDescriptors(error) || error == ENOMEM;
}

class Export {
 public:
  static tl::expected<std::unique_ptr<Export>, std::string> Open(const std::string& directory,
                                                                 const StoreKey& key,
                                                                 const StoreOptions& options);

  tl::expected<void, std::string> LockAgainstOthers() const;

  const StoreOptions& Options() const { return options_; }
  int RootFd() const { return root_fd_.Get(); }
  const Node& RootNode() const { return root_; }
  NameTable& Names() { return names_; }

  // Who the caller is to the kernel: squashed, or the server's own user. EACCES: a server that is not root
  // serves its own user only (it could not be anybody else).
  Result<Credentials> Effective(const Credentials& who) const;

  // Not by the names last seen.
  bool OpensByHandle() const { return privileged_; }

  Result<OpenedRef> OpenRef(const FileRef& ref);
  // Of a regular file.
  FileRef RefOf(const FileHandle& handle, const FileKey& key) const {
    return codec_.Make(handle, key.ino, false);
  }
  // May leave the thread privileged.
  Result<PathFd> Resolve(const FileRef& ref);
  // ENOTDIR; ESTALE also if it is no longer beneath the export.
  Result<PathFd> ResolveDirectory(const FileRef& ref);
  // With the thread's present credentials. `name` may be "." or "..".
  Result<PathFd> OpenChild(const PathFd& directory, const std::string& name);
  // The directory above (the root's is the root), privileged. ESTALE: not beneath the export.
  Result<PathFd> OpenParent(const PathFd& directory);
  // The directory in which the file was seen, privileged. ENOENT: not known.
  Result<PathFd> OpenDirectoryOf(const PathFd& file);
  // Locks the file if it has a hidden link.
  Result<Node> Identify(int fd);
  Result<FileKey> KeyOfFd(int fd) const;
  // The attributes as callers see them: hidden links do not count. Locks the file if it has one.
  Result<Attr> AttrOf(int fd, const FileKey& key);
  std::uint32_t VisibleLinks(std::uint32_t links, const FileKey& key) const;

  // open(2) of what a descriptor names, with the thread's present credentials.
  UniqueFd Reopen(int fd, int flags);
  // The name under which a descriptor can be given to calls that know only paths, and its last component for
  // *at calls with ProcFd() as the directory.
  static std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }
  int ProcFd() const { return proc_fd_.Get(); }

  // One of the file's names now, from the export on; "?" if the kernel cannot tell. For people only.
  std::string PathOf(int fd);

  void ForgetDirectory(const FileKey& key);
  DescriptorCache& OpenFiles() { return open_files_; }
  HiddenLinks& Hidden() { return hidden_; }
  const HiddenLinks& Hidden() const { return hidden_; }
  bool IsHidden(const FileKey& directory, std::string_view name) const {
    return directory == root_.key && name == HiddenLinks::kDirectory;
  }

  // What a name that is about to go stands for, with the thread's present credentials, held so that an open
  // file outlives its name although its own descriptor may be closed; nothing where there is nothing to hold.
  // EMFILE, ENFILE, ENOMEM: the name must stay.
  Result<Victim> Hold(const PathFd& directory, const std::string& name);
  // Whether with its name an open file would lose its last one.
  bool WouldLose(const Victim& victim) const;
  // Gives it its hidden link. Where that cannot be, the file is gone when the server is killed. Leaves the
  // thread with the server's rights.
  void Keep(Victim& victim);
  // The name is gone, or it is not: lets the file go. May leave the thread privileged.
  void NameGone(Victim victim);
  void NameStays(Victim victim);
  void DirectoryGone(const FileKey& key) { Gone(key, false); }
  // See BackingStore.
  void AwaitReturns() { awaits_returns_ = true; }
  void DropUnclaimed();
  void KeepForRestart() { keeps_for_restart_ = true; }
  // See BackingStore. Not while the export is in use.
  void WhenGone(std::function<void(const FileKey&, bool)> then) { gone_ = std::move(then); }
  // Tries once more, if descriptors were all there was wanting.
  template <class Open>
  UniqueFd WithRoom(Open open) {
    UniqueFd fd = open();
    if (!fd && IsOutOfDescriptors(errno)) {
      const int error = errno;
      const bool has_room = open_files_.MakeRoom();
      errno = error;
      if (has_room) fd = open();
    }
    return fd;
  }

 private:
  using Tick = std::chrono::steady_clock::time_point;
  struct CachedDirectory {
    FileKey key;
    std::shared_ptr<const UniqueFd> fd;
    Tick verified;
  };
  using CacheOrder = std::list<CachedDirectory>;  // the most recently used first

  Export(UniqueFd root_fd, UniqueFd proc_fd, int mount, const Node& root, const StoreKey& key,
         const StoreOptions& options);

  std::string ProbeHandles() const;
  DescriptorCache::Reopen Reopener() const;
  Result<PathFd> OpenByHandle(const OpenedRef& ref);
  Result<PathFd> OpenByName(const OpenedRef& ref);
  Result<PathFd> OpenPath(const std::vector<std::string>& path, std::string_view last) const;
  Result<PathFd> FindOpenFile(const FileKey& key);
  std::string LastPathOf(int fd);
  Result<PathFd> OpenHidden(const FileKey& key) const;
  std::shared_ptr<const UniqueFd> CachedFd(const FileKey& key, bool& must_verify);
  void Cache(const PathFd& directory);
  bool IsBeneath(int directory_fd) const;
  bool IsBeneathByWalk(int directory_fd) const;
  void WarnOfForgery();
  void Gone(const FileKey& key, bool was_open);
  void LastClosed(const FileKey& key);

  const UniqueFd root_fd_;
  const UniqueFd proc_fd_;
  const int mount_;
  const Node root_;
  const RefCodec codec_;
  const StoreOptions options_;
  const bool privileged_;
  Credentials own_;
  NameTable names_;
  std::function<void(const FileKey&, bool)> gone_;

  std::mutex cache_mutex_;
  CacheOrder cache_;
  std::unordered_map<FileKey, CacheOrder::iterator> cache_index_;

  HiddenLinks hidden_;
  std::atomic<bool> awaits_returns_{false};
  std::atomic<bool> keeps_for_restart_{false};
  DescriptorCache open_files_;

  std::mutex warning_mutex_;
  Tick last_warning_{};
};

}  // namespace baton::store
