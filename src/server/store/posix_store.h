// PosixStore: a directory of a local file system as a BackingStore. The kernel checks every permission, with
// the caller's credentials set on the thread (rule A1); references and names become descriptors only through
// Export (rule A3). As root it serves everybody. As an ordinary user it serves its own uid only, with its own
// groups (others: EACCES), and finds files again by their last seen names, of which it remembers a bounded
// number; when a file was renamed on the server itself, or forgotten, its reference is ESTALE until it is
// looked up again. Any thread. Outlives every StoreFile it gave out.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "server/store/backing_store.h"
#include "server/store/export.h"
#include "server/store/names.h"
#include "server/store/policy.h"

namespace baton::store {

class PosixStore final : public BackingStore {
 public:
  using Options = StoreOptions;

  // `key` is the server's secret for references: the same after a restart, or clients' references die. The
  // error is a line for the operator: no directory, no persistent file handles, no right to open them. A file
  // system that is mounted read-only makes the store read-only.
  static tl::expected<std::unique_ptr<PosixStore>, std::string> Open(const std::string& directory,
                                                                     const StoreKey& key, Options options);

  // One server at a time serves an export, whatever its state directory: locks it as long as the process lives. The error
  // is for the operator: another does.
  tl::expected<void, std::string> LockExport() { return export_->LockAgainstOthers(); }

  Node Root() override;
  Result<FileKey> KeyOf(const FileRef& ref) override;
  Result<Node> Lookup(const Credentials& who, const FileRef& directory, std::string_view name) override;
  Result<Node> MakeDirectory(const Credentials& who, const FileRef& directory, std::string_view name,
                             std::uint32_t mode) override;
  Result<Node> MakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                        std::uint32_t mode, std::uint64_t device) override;
  Result<Node> Symlink(const Credentials& who, const FileRef& directory, std::string_view name,
                       const std::string& target) override;
  Result<Node> Link(const Credentials& who, const FileRef& file, const FileRef& directory,
                    std::string_view name) override;
  Result<void> Unlink(const Credentials& who, const FileRef& directory, std::string_view name) override;
  Result<Node> RemoveDirectory(const Credentials& who, const FileRef& directory,
                               std::string_view name) override;
  Result<Node> Rename(const Credentials& who, const FileRef& directory, std::string_view name,
                      const FileRef& new_directory, std::string_view new_name, std::uint32_t flags) override;
  Result<std::string> ReadLink(const Credentials& who, const FileRef& file) override;
  Result<DirectoryPage> ReadDirectory(const Credentials& who, const FileRef& directory, std::uint64_t cookie,
                                      std::size_t max_bytes, bool with_attr) override;
  Result<void> SyncDirectory(const Credentials& who, const FileRef& directory, bool data_only) override;

  Result<Attr> GetAttr(const Credentials& who, const FileRef& file) override;
  Result<Attr> SetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) override;
  Result<void> Access(const Credentials& who, const FileRef& file, int mode) override;
  Result<StatFs> GetStatFs(const Credentials& who, const FileRef& file) override;
  Result<std::string> GetXattr(const Credentials& who, const FileRef& file, const std::string& name) override;
  Result<std::string> ListXattr(const Credentials& who, const FileRef& file) override;
  Result<void> SetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                        std::string_view value, int flags) override;
  Result<void> RemoveXattr(const Credentials& who, const FileRef& file, const std::string& name) override;

  Result<std::shared_ptr<StoreFile>> Open(const Credentials& who, const FileRef& file, int flags) override;
  Result<CreatedFile> Create(const Credentials& who, const FileRef& directory, std::string_view name,
                             int flags, std::uint32_t mode) override;
  Result<CreatedFile> CreateBy(const Credentials& who, const FileRef& directory, std::string_view name,
                               int flags, std::uint32_t mode, const Creator& creator, bool replace) override;
  Result<std::optional<Creator>> CreatorOf(const FileRef& file) override;
  Result<void> ForgetCreator(const FileRef& file) override;

  Result<void> WouldCreate(const Credentials& who, const FileRef& directory, std::string_view name) override;
  Result<void> WouldMakeDirectory(const Credentials& who, const FileRef& directory,
                                  std::string_view name) override;
  Result<void> WouldMakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                             std::uint32_t mode) override;
  Result<void> WouldSymlink(const Credentials& who, const FileRef& directory, std::string_view name,
                            const std::string& target) override;
  Result<void> WouldLink(const Credentials& who, const FileRef& file, const FileRef& directory,
                         std::string_view name) override;
  Result<void> WouldUnlink(const Credentials& who, const FileRef& directory, std::string_view name) override;
  Result<void> WouldRemoveDirectory(const Credentials& who, const FileRef& directory,
                                    std::string_view name) override;
  Result<void> WouldRename(const Credentials& who, const FileRef& directory, std::string_view name,
                           const FileRef& new_directory, std::string_view new_name,
                           std::uint32_t flags) override;
  Result<void> WouldSetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) override;
  Result<void> WouldSetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                             std::string_view value, int flags) override;
  Result<void> WouldRemoveXattr(const Credentials& who, const FileRef& file,
                                const std::string& name) override;
  Result<void> WouldOpen(const Credentials& who, const FileRef& file, int flags) override;

  Result<DirectoryPolicy> PolicyOf(const FileRef& file) override;
  std::string PathOf(const FileRef& file) override;
  Result<Node> Find(const FileRef& directory, std::string_view name) override;
  Result<std::shared_ptr<StoreFile>> OpenAgain(const Credentials& who, const FileRef& file, int flags) override;
  Result<std::shared_ptr<StoreFile>> OpenWhenUsed(const Credentials& who, const FileRef& file, int flags) override;
  void WhenGone(std::function<void(const FileKey&, bool)> then) override { export_->WhenGone(std::move(then)); }
  void AwaitReturns() override { export_->AwaitReturns(); }
  void DropUnclaimed() override { export_->DropUnclaimed(); }
  void KeepForRestart() override { export_->KeepForRestart(); }

 private:
  enum class Purpose { kLook, kChange };
  // A directory and a name in it, ready for a call as the caller.
  struct Place {
    PathFd directory;
    std::string name;
    Credentials who;  // effective
  };
  struct Target {
    PathFd file;
    Credentials who;  // effective
  };
  struct Listing;

  explicit PosixStore(std::unique_ptr<Export> exported) : export_(std::move(exported)), policies_(*export_) {}

  Result<Place> Enter(const Credentials& who, const FileRef& directory, std::string_view name, NameUse use);
  Result<Target> Reach(const Credentials& who, const FileRef& file, Purpose purpose);
  Result<Node> NodeAt(const Place& place);
  Result<Node> Made(const Place& place, int result);
  Result<CreatedFile> CreateAt(const Place& place, int flags, std::uint32_t mode);
  void Mark(const Node& node, const Creator& creator);
  Result<CreatedFile> ReplaceAt(const Place& place, int flags, std::uint32_t mode, const Creator& creator);
  Result<void> RenameOver(const Place& from, const Place& to);
  Result<bool> AddEntries(std::span<const std::byte> bytes, Listing& listing);
  std::optional<ListedEntry> List(const Listing& listing, DirEntry entry);
  void Renamed(const Result<Node>& node, const PathFd& from, const std::string& name, const PathFd& to,
               const std::string& new_name);

  Result<void> Removed(Victim victim, bool done);
  Result<void> HasName(const PathFd& file);
  UniqueFd OpenToExecute(int fd);
  int GoneOr(int error) const;

  Result<void> ProbeNew(const Place& place, NameUse use);
  Result<void> ProbeMake(const Credentials& who, const FileRef& directory, std::string_view name,
                         NameUse use);
  Result<void> ProbeRemove(const Credentials& who, const FileRef& directory, std::string_view name,
                           NameUse use);
  bool IsBelow(const FileKey& ancestor, const PathFd& directory);
  bool IsEmpty(int directory_fd);
  Result<void> ProbeOpen(int fd, int flags);
  Result<void> ProbeXattr(const Target& target, const struct statx& status, const std::string& name);
  // A node's kernel removes the capabilities of a program in the name of whoever writes to it or gives it
  // away, where the store's own kernel would let only root do so.
  static bool MayTakeCapabilities(const Target& target, const std::string& name);
  Result<void> ProbeReplace(const Place& from, const Place& to, std::uint32_t flags);
  Result<void> CheckWritable();

  const std::unique_ptr<Export> export_;
  PolicyReader policies_;
  std::atomic<bool> told_of_unmarked_{false};
};

// What counts of the flags of an open.
inline constexpr int kOpenFlags = O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME;

// Of a call's arguments alone; shared by the calls and their probes.
Result<void> CheckNodeMode(std::uint32_t mode);
Result<void> CheckRenameFlags(std::uint32_t flags);
Result<void> CheckLinkTarget(const std::string& target);
Result<void> CheckXattrName(const std::string& name);
Result<void> CheckXattr(const std::string& name, std::string_view value, int flags);
Result<void> CheckOpenable(std::uint32_t mode);
// user.app_instance_id and user.baton.* are the owner's and root's.
Result<void> CheckPolicyOwner(const std::string& name, int fd, const Credentials& who);
// Whether open(2) with these flags changes or may change the file.
bool OpensToChange(int flags);

}  // namespace baton::store
