// BackingStore: the files that batond serves, named by identity, every operation carried out with its
// caller's credentials (rule A1) and never outside the export (rule A3). It decides nothing about claims,
// locks or incarnations: whoever calls it has asked the arbiter and is inside the gate. It knows no session
// and no protocol. Any thread; calls may block on the disk. A thread that made a call may keep the caller's
// file system credentials until its next call: see thread_credentials.h. Errors are the errno that the system
// call would give a local caller, and in addition
//   ESTALE  the reference does not (any longer) name a file, was not made by this store, or the file left the
//   export EROFS   every change of a read-only export EXDEV   the name is a mount point of another file
//   system EACCES  the server is not root and the caller is not its own user
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/credentials.h"
#include "base/result.h"
#include "server/store/types.h"

namespace baton::store {

// An open regular file, until the last reference goes. Any thread, any number at a time. Any call may answer ESTALE if the
// file was removed past the store, and EMFILE or ENFILE if its descriptor was closed meanwhile and there is none left.
class StoreFile {
 public:
  virtual ~StoreFile() = default;

  virtual FileRef Ref() const = 0;
  virtual const FileKey& Key() const = 0;
  // One of its names now, from the export on ("/dir/name"), for people; "?" if it cannot be told.
  virtual std::string Path() const = 0;

  // Reads until `to` is full or the end of the file; gives the count.
  virtual Result<std::size_t> Read(std::span<std::byte> to, std::uint64_t offset) = 0;
  // The same answer without waiting for the disk; EAGAIN: it would have to, use Read.
  virtual Result<std::size_t> ReadNoWait(std::span<std::byte> to, std::uint64_t offset) = 0;
  // Changes run with the opener's credentials (set-id bits and reserved blocks behave as for a local writer).
  // A count short of what was given means that the rest failed (disk full); an error means that nothing was
  // written.
  virtual Result<std::size_t> Write(std::span<const std::byte> from, std::uint64_t offset) = 0;
  // To the end of the file as the store knows it, atomically against every other append (rule O7).
  virtual Result<AppendedAt> WriteAppend(std::span<const std::byte> from) = 0;
  // Returns when it is on stable storage (rule D1).
  virtual Result<void> Sync(bool data_only) = 0;
  virtual Result<void> Truncate(std::uint64_t size) = 0;
  // fallocate(2): allocate (mode 0), FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE; EOPNOTSUPP: another
  // mode, or the store's file system cannot.
  virtual Result<void> Allocate(std::uint32_t mode, std::uint64_t offset, std::uint64_t length) = 0;
  // Where the next data or hole begins, at `offset` or behind it; ENXIO: there is none.
  virtual Result<std::uint64_t> Seek(std::uint64_t offset, SeekFor what) const = 0;
  // copy_file_range(2) from another open file of the same store, or from itself; gives the count, 0 at the end of `from`.
  virtual Result<std::size_t> CopyFrom(const StoreFile& from, std::uint64_t from_offset, std::uint64_t to_offset,
                                       std::size_t length) = 0;
  virtual Result<Attr> GetAttr() = 0;
  // The rules are the caller's; only the size is the handle's own right, as with ftruncate(2).
  virtual Result<Attr> SetAttr(const Credentials& who, const AttrChange& change) = 0;
};

struct CreatedFile {
  Node node;
  std::shared_ptr<StoreFile> file;
};

class BackingStore {
 public:
  virtual ~BackingStore() = default;

  virtual Node Root() = 0;
  // Which file a reference names, without looking for it. ESTALE: not a reference of this store.
  virtual Result<FileKey> KeyOf(const FileRef& ref) = 0;

  // Names. A name is one component: ENAMETOOLONG above 255 bytes, EINVAL with '/' or a zero byte, ENOENT if
  // empty. "." and ".." are looked up inside the export (".." of the root is the root); as names to change
  // they get the kernel's errors.
  virtual Result<Node> Lookup(const Credentials& who, const FileRef& directory, std::string_view name) = 0;
  virtual Result<Node> MakeDirectory(const Credentials& who, const FileRef& directory, std::string_view name,
                                     std::uint32_t mode) = 0;
  // `mode` with its type bits: regular files, fifos, sockets, devices. The kernel applies the caller's umask to
  // what is made.
  virtual Result<Node> MakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                                std::uint32_t mode, std::uint64_t device) = 0;
  virtual Result<Node> Symlink(const Credentials& who, const FileRef& directory, std::string_view name,
                               const std::string& target) = 0;
  virtual Result<Node> Link(const Credentials& who, const FileRef& file, const FileRef& directory,
                            std::string_view name) = 0;
  virtual Result<void> Unlink(const Credentials& who, const FileRef& directory, std::string_view name) = 0;
  // The directory, as it is now that it has no name.
  virtual Result<Node> RemoveDirectory(const Credentials& who, const FileRef& directory,
                                       std::string_view name) = 0;
  // `flags` as in renameat2(2), without RENAME_WHITEOUT. The directory that was replaced, as it is now; none: no
  // reference.
  virtual Result<Node> Rename(const Credentials& who, const FileRef& directory, std::string_view name,
                              const FileRef& new_directory, std::string_view new_name,
                              std::uint32_t flags) = 0;
  virtual Result<std::string> ReadLink(const Credentials& who, const FileRef& file) = 0;
  // The entries behind `cookie` (0: the first), as many as fit into about `max_bytes` (kEntryBytes,
  // kEntryNodeBytes), at least one unless it is the end. `with_attr`: with their nodes; entries that vanish
  // meanwhile are left out.
  virtual Result<DirectoryPage> ReadDirectory(const Credentials& who, const FileRef& directory,
                                              std::uint64_t cookie, std::size_t max_bytes,
                                              bool with_attr) = 0;
  virtual Result<void> SyncDirectory(const Credentials& who, const FileRef& directory, bool data_only) = 0;

  // Attributes.
  virtual Result<Attr> GetAttr(const Credentials& who, const FileRef& file) = 0;
  // In the order owner, mode, size, times; all of it is checked before the first.
  virtual Result<Attr> SetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) = 0;
  // access(2) with the caller's credentials: R_OK, W_OK, X_OK.
  virtual Result<void> Access(const Credentials& who, const FileRef& file, int mode) = 0;
  virtual Result<StatFs> GetStatFs(const Credentials& who, const FileRef& file) = 0;
  virtual Result<std::string> GetXattr(const Credentials& who, const FileRef& file,
                                       const std::string& name) = 0;
  // The names, each with its zero byte.
  virtual Result<std::string> ListXattr(const Credentials& who, const FileRef& file) = 0;
  // user.app_instance_id and user.baton.* may be changed by the file's owner or root only (EPERM), and must
  // be well formed (EINVAL), so that a policy means what its owner said. kCreatorXattr is not there for any caller.
  virtual Result<void> SetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                                std::string_view value, int flags) = 0;
  virtual Result<void> RemoveXattr(const Credentials& who, const FileRef& file, const std::string& name) = 0;

  // Opens. Only regular files: EISDIR, ELOOP, ENXIO for others. Of `flags` count the access mode, O_TRUNC,
  // O_SYNC, O_DSYNC, O_NOATIME, O_APPEND for files that allow nothing else, and kToExecute.
  virtual Result<std::shared_ptr<StoreFile>> Open(const Credentials& who, const FileRef& file, int flags) = 0;
  // Always as with O_EXCL: EEXIST if the name is there.
  virtual Result<CreatedFile> Create(const Credentials& who, const FileRef& directory, std::string_view name,
                                     int flags, std::uint32_t mode) = 0;
  // Creates as above, and keeps with the file durably who did, if its file system can (if not, the file has no creator). With
  // `replace`: in the place of the file that has the name now, in one step; ENOENT if there is none.
  virtual Result<CreatedFile> CreateBy(const Credentials& who, const FileRef& directory, std::string_view name, int flags,
                                       std::uint32_t mode, const Creator& creator, bool replace) = 0;
  // None: not kept, or not by CreateBy. Asked, and forgotten, with the server's own rights.
  virtual Result<std::optional<Creator>> CreatorOf(const FileRef& file) = 0;
  virtual Result<void> ForgetCreator(const FileRef& file) = 0;

  // Probes (rule T2): the errno that the call of the same name would give now, without doing it. What only
  // the attempt can tell (disk full, quota, link count limits) they do not see.
  virtual Result<void> WouldCreate(const Credentials& who, const FileRef& directory,
                                   std::string_view name) = 0;
  virtual Result<void> WouldMakeDirectory(const Credentials& who, const FileRef& directory,
                                          std::string_view name) = 0;
  virtual Result<void> WouldMakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                                     std::uint32_t mode) = 0;
  virtual Result<void> WouldSymlink(const Credentials& who, const FileRef& directory, std::string_view name,
                                    const std::string& target) = 0;
  virtual Result<void> WouldLink(const Credentials& who, const FileRef& file, const FileRef& directory,
                                 std::string_view name) = 0;
  virtual Result<void> WouldUnlink(const Credentials& who, const FileRef& directory,
                                   std::string_view name) = 0;
  virtual Result<void> WouldRemoveDirectory(const Credentials& who, const FileRef& directory,
                                            std::string_view name) = 0;
  virtual Result<void> WouldRename(const Credentials& who, const FileRef& directory, std::string_view name,
                                   const FileRef& new_directory, std::string_view new_name,
                                   std::uint32_t flags) = 0;
  virtual Result<void> WouldSetAttr(const Credentials& who, const FileRef& file,
                                    const AttrChange& change) = 0;
  virtual Result<void> WouldSetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                                     std::string_view value, int flags) = 0;
  virtual Result<void> WouldRemoveXattr(const Credentials& who, const FileRef& file,
                                        const std::string& name) = 0;
  virtual Result<void> WouldOpen(const Credentials& who, const FileRef& file, int flags) = 0;

  // What the extended attributes of the file (its id only) and of the directories from it up to the root say.
  // Asked with the server's own rights. Changes through the store are seen at once, others within a second.
  virtual Result<DirectoryPolicy> PolicyOf(const FileRef& file) = 0;
  // One of its names now, as StoreFile::Path. Asked with the server's own rights.
  virtual std::string PathOf(const FileRef& file) = 0;

  // After a restart (rule D2), with the server's own rights. ENOENT: the file, or the directory, is gone; ESTALE: the server
  // cannot tell, for it does not find it again. What a name stands for:
  virtual Result<Node> Find(const FileRef& directory, std::string_view name) = 0;
  // As Open, for `who` was allowed to before: the file's mode does not count. O_TRUNC is ignored.
  virtual Result<std::shared_ptr<StoreFile>> OpenAgain(const Credentials& who, const FileRef& file, int flags) = 0;
  // The same for thousands at once: where the store can, each is opened when it is first used, and its errors come then.
  virtual Result<std::shared_ptr<StoreFile>> OpenWhenUsed(const Credentials& who, const FileRef& file, int flags) = 0;

  // Files that are open and have no name (rule D2): they keep a hidden link, by which a server that was killed finds them
  // again, until their last StoreFile goes. After a restart they wait to be opened again; between these two calls whatever
  // loses its last name waits, too, since it may be open for a session that has not come back yet.
  virtual void AwaitReturns() = 0;
  // Nobody comes back any more: what nobody has opened again goes. May take long.
  virtual void DropUnclaimed() = 0;
  // The server ends, and others may take up what it had open: the files that are closed from now on keep their links.
  virtual void KeepForRestart() = 0;

  // `then` hears of files that have no name and are not open any more, and whether they were open until now; as far as the
  // store notices, which it does not where it may not open files by handle. On any thread; it must not ask the store
  // anything. To be set only while the store is not in use.
  virtual void WhenGone(std::function<void(const FileKey&, bool)> then) = 0;
};

}  // namespace baton::store
