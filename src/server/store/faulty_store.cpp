#include "server/store/faulty_store.h"

#include <utility>

namespace baton::store {
namespace {

class FaultyFile final : public StoreFile {
 public:
  FaultyFile(std::shared_ptr<StoreFile> inner, std::shared_ptr<Faults> faults)
      : inner_(std::move(inner)), faults_(std::move(faults)) {}

  FileRef Ref() const override { return inner_->Ref(); }
  const FileKey& Key() const override { return inner_->Key(); }
  std::string Path() const override { return inner_->Path(); }
  Result<std::size_t> Read(std::span<std::byte> to, std::uint64_t offset) override {
    if (auto pass = faults_->Pass(StoreOperation::kRead); !pass) return tl::unexpected(pass.error());
    return inner_->Read(to, offset);
  }
  Result<std::size_t> ReadNoWait(std::span<std::byte> to, std::uint64_t offset) override {
    if (auto pass = faults_->Pass(StoreOperation::kReadNoWait); !pass) return tl::unexpected(pass.error());
    return inner_->ReadNoWait(to, offset);
  }
  Result<std::size_t> Write(std::span<const std::byte> from, std::uint64_t offset) override {
    if (auto pass = faults_->Pass(StoreOperation::kWrite); !pass) return tl::unexpected(pass.error());
    return inner_->Write(from, offset);
  }
  Result<AppendedAt> WriteAppend(std::span<const std::byte> from) override {
    if (auto pass = faults_->Pass(StoreOperation::kWriteAppend); !pass) return tl::unexpected(pass.error());
    return inner_->WriteAppend(from);
  }
  Result<void> Sync(bool data_only) override {
    if (auto pass = faults_->Pass(StoreOperation::kSync); !pass) return tl::unexpected(pass.error());
    return inner_->Sync(data_only);
  }
  Result<void> Truncate(std::uint64_t size) override {
    if (auto pass = faults_->Pass(StoreOperation::kTruncate); !pass) return tl::unexpected(pass.error());
    return inner_->Truncate(size);
  }
  Result<void> Allocate(std::uint32_t mode, std::uint64_t offset, std::uint64_t length) override {
    if (auto pass = faults_->Pass(StoreOperation::kAllocate); !pass) return pass;
    return inner_->Allocate(mode, offset, length);
  }
  Result<std::uint64_t> Seek(std::uint64_t offset, SeekFor what) const override {
    if (auto pass = faults_->Pass(StoreOperation::kSeek); !pass) return tl::unexpected(pass.error());
    return inner_->Seek(offset, what);
  }
  Result<std::size_t> CopyFrom(const StoreFile& from, std::uint64_t from_offset, std::uint64_t to_offset,
                               std::size_t length) override {
    if (auto pass = faults_->Pass(StoreOperation::kCopyFrom); !pass) return tl::unexpected(pass.error());
    return inner_->CopyFrom(*static_cast<const FaultyFile&>(from).inner_, from_offset, to_offset, length);
  }
  Result<Attr> GetAttr() override {
    if (auto pass = faults_->Pass(StoreOperation::kFileGetAttr); !pass) return tl::unexpected(pass.error());
    return inner_->GetAttr();
  }
  Result<Attr> SetAttr(const Credentials& who, const AttrChange& change) override {
    if (auto pass = faults_->Pass(StoreOperation::kFileSetAttr); !pass) return tl::unexpected(pass.error());
    return inner_->SetAttr(who, change);
  }

 private:
  const std::shared_ptr<StoreFile> inner_;
  const std::shared_ptr<Faults> faults_;
};

class FaultyStore final : public BackingStore {
 public:
  FaultyStore(std::unique_ptr<BackingStore> inner, std::shared_ptr<Faults> faults)
      : inner_(std::move(inner)), faults_(std::move(faults)) {}

  Node Root() override { return inner_->Root(); }
  Result<FileKey> KeyOf(const FileRef& ref) override { return inner_->KeyOf(ref); }
  Result<Node> Lookup(const Credentials& who, const FileRef& directory, std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kLookup); !pass) return tl::unexpected(pass.error());
    return inner_->Lookup(who, directory, name);
  }
  Result<Node> Find(const FileRef& directory, std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kFind); !pass) return tl::unexpected(pass.error());
    return inner_->Find(directory, name);
  }
  Result<std::shared_ptr<StoreFile>> OpenWhenUsed(const Credentials& who, const FileRef& file, int flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kOpen); !pass) return tl::unexpected(pass.error());
    return inner_->OpenWhenUsed(who, file, flags).map([this](std::shared_ptr<StoreFile> opened) {
      return Wrap(std::move(opened));
    });
  }
  Result<Node> MakeDirectory(const Credentials& who, const FileRef& directory, std::string_view name,
                             std::uint32_t mode) override {
    if (auto pass = faults_->Pass(StoreOperation::kMakeDirectory); !pass) return tl::unexpected(pass.error());
    return inner_->MakeDirectory(who, directory, name, mode);
  }
  Result<Node> MakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                        std::uint32_t mode, std::uint64_t device) override {
    if (auto pass = faults_->Pass(StoreOperation::kMakeNode); !pass) return tl::unexpected(pass.error());
    return inner_->MakeNode(who, directory, name, mode, device);
  }
  Result<Node> Symlink(const Credentials& who, const FileRef& directory, std::string_view name,
                       const std::string& target) override {
    if (auto pass = faults_->Pass(StoreOperation::kSymlink); !pass) return tl::unexpected(pass.error());
    return inner_->Symlink(who, directory, name, target);
  }
  Result<Node> Link(const Credentials& who, const FileRef& file, const FileRef& directory,
                    std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kLink); !pass) return tl::unexpected(pass.error());
    return inner_->Link(who, file, directory, name);
  }
  Result<void> Unlink(const Credentials& who, const FileRef& directory, std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kUnlink); !pass) return tl::unexpected(pass.error());
    return inner_->Unlink(who, directory, name);
  }
  Result<Node> RemoveDirectory(const Credentials& who, const FileRef& directory,
                               std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kRemoveDirectory); !pass)
      return tl::unexpected(pass.error());
    return inner_->RemoveDirectory(who, directory, name);
  }
  Result<Node> Rename(const Credentials& who, const FileRef& directory, std::string_view name,
                      const FileRef& new_directory, std::string_view new_name, std::uint32_t flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kRename); !pass) return tl::unexpected(pass.error());
    return inner_->Rename(who, directory, name, new_directory, new_name, flags);
  }
  Result<std::string> ReadLink(const Credentials& who, const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kReadLink); !pass) return tl::unexpected(pass.error());
    return inner_->ReadLink(who, file);
  }
  Result<DirectoryPage> ReadDirectory(const Credentials& who, const FileRef& directory, std::uint64_t cookie,
                                      std::size_t max_bytes, bool with_attr) override {
    if (auto pass = faults_->Pass(StoreOperation::kReadDirectory); !pass) return tl::unexpected(pass.error());
    return inner_->ReadDirectory(who, directory, cookie, max_bytes, with_attr);
  }
  Result<void> SyncDirectory(const Credentials& who, const FileRef& directory, bool data_only) override {
    if (auto pass = faults_->Pass(StoreOperation::kSyncDirectory); !pass) return tl::unexpected(pass.error());
    return inner_->SyncDirectory(who, directory, data_only);
  }
  Result<Attr> GetAttr(const Credentials& who, const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kGetAttr); !pass) return tl::unexpected(pass.error());
    return inner_->GetAttr(who, file);
  }
  Result<Attr> SetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) override {
    if (auto pass = faults_->Pass(StoreOperation::kSetAttr); !pass) return tl::unexpected(pass.error());
    return inner_->SetAttr(who, file, change);
  }
  Result<void> Access(const Credentials& who, const FileRef& file, int mode) override {
    if (auto pass = faults_->Pass(StoreOperation::kAccess); !pass) return tl::unexpected(pass.error());
    return inner_->Access(who, file, mode);
  }
  Result<StatFs> GetStatFs(const Credentials& who, const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kGetStatFs); !pass) return tl::unexpected(pass.error());
    return inner_->GetStatFs(who, file);
  }
  Result<std::string> GetXattr(const Credentials& who, const FileRef& file,
                               const std::string& name) override {
    if (auto pass = faults_->Pass(StoreOperation::kGetXattr); !pass) return tl::unexpected(pass.error());
    return inner_->GetXattr(who, file, name);
  }
  Result<std::string> ListXattr(const Credentials& who, const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kListXattr); !pass) return tl::unexpected(pass.error());
    return inner_->ListXattr(who, file);
  }
  Result<void> SetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                        std::string_view value, int flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kSetXattr); !pass) return tl::unexpected(pass.error());
    return inner_->SetXattr(who, file, name, value, flags);
  }
  Result<void> RemoveXattr(const Credentials& who, const FileRef& file, const std::string& name) override {
    if (auto pass = faults_->Pass(StoreOperation::kRemoveXattr); !pass) return tl::unexpected(pass.error());
    return inner_->RemoveXattr(who, file, name);
  }
  Result<std::shared_ptr<StoreFile>> Open(const Credentials& who, const FileRef& file, int flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kOpen); !pass) return tl::unexpected(pass.error());
    return inner_->Open(who, file, flags).map([this](std::shared_ptr<StoreFile> opened) {
      return Wrap(std::move(opened));
    });
  }
  Result<std::shared_ptr<StoreFile>> OpenAgain(const Credentials& who, const FileRef& file, int flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kOpen); !pass) return tl::unexpected(pass.error());
    return inner_->OpenAgain(who, file, flags).map([this](std::shared_ptr<StoreFile> opened) {
      return Wrap(std::move(opened));
    });
  }
  Result<CreatedFile> Create(const Credentials& who, const FileRef& directory, std::string_view name,
                             int flags, std::uint32_t mode) override {
    if (auto pass = faults_->Pass(StoreOperation::kCreate); !pass) return tl::unexpected(pass.error());
    auto created = inner_->Create(who, directory, name, flags, mode);
    if (created) created->file = Wrap(std::move(created->file));
    return created;
  }
  Result<CreatedFile> CreateBy(const Credentials& who, const FileRef& directory, std::string_view name,
                               int flags, std::uint32_t mode, const Creator& creator, bool replace) override {
    if (auto pass = faults_->Pass(StoreOperation::kCreate); !pass) return tl::unexpected(pass.error());
    auto created = inner_->CreateBy(who, directory, name, flags, mode, creator, replace);
    if (created) created->file = Wrap(std::move(created->file));
    return created;
  }
  Result<std::optional<Creator>> CreatorOf(const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kGetXattr); !pass) return tl::unexpected(pass.error());
    return inner_->CreatorOf(file);
  }
  Result<void> ForgetCreator(const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kRemoveXattr); !pass) return tl::unexpected(pass.error());
    return inner_->ForgetCreator(file);
  }
  Result<void> WouldCreate(const Credentials& who, const FileRef& directory, std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldCreate(who, directory, name);
  }
  Result<void> WouldMakeDirectory(const Credentials& who, const FileRef& directory,
                                  std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldMakeDirectory(who, directory, name);
  }
  Result<void> WouldMakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                             std::uint32_t mode) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldMakeNode(who, directory, name, mode);
  }
  Result<void> WouldSymlink(const Credentials& who, const FileRef& directory, std::string_view name,
                            const std::string& target) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldSymlink(who, directory, name, target);
  }
  Result<void> WouldLink(const Credentials& who, const FileRef& file, const FileRef& directory,
                         std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldLink(who, file, directory, name);
  }
  Result<void> WouldUnlink(const Credentials& who, const FileRef& directory, std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldUnlink(who, directory, name);
  }
  Result<void> WouldRemoveDirectory(const Credentials& who, const FileRef& directory,
                                    std::string_view name) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldRemoveDirectory(who, directory, name);
  }
  Result<void> WouldRename(const Credentials& who, const FileRef& directory, std::string_view name,
                           const FileRef& new_directory, std::string_view new_name,
                           std::uint32_t flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldRename(who, directory, name, new_directory, new_name, flags);
  }
  Result<void> WouldSetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldSetAttr(who, file, change);
  }
  Result<void> WouldSetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                             std::string_view value, int flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldSetXattr(who, file, name, value, flags);
  }
  Result<void> WouldRemoveXattr(const Credentials& who, const FileRef& file,
                                const std::string& name) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldRemoveXattr(who, file, name);
  }
  Result<void> WouldOpen(const Credentials& who, const FileRef& file, int flags) override {
    if (auto pass = faults_->Pass(StoreOperation::kProbe); !pass) return tl::unexpected(pass.error());
    return inner_->WouldOpen(who, file, flags);
  }
  Result<DirectoryPolicy> PolicyOf(const FileRef& file) override {
    if (auto pass = faults_->Pass(StoreOperation::kPolicy); !pass) return tl::unexpected(pass.error());
    return inner_->PolicyOf(file);
  }
  std::string PathOf(const FileRef& file) override { return inner_->PathOf(file); }
  void AwaitReturns() override { inner_->AwaitReturns(); }
  void DropUnclaimed() override { inner_->DropUnclaimed(); }
  void KeepForRestart() override { inner_->KeepForRestart(); }
  void WhenGone(std::function<void(const FileKey&, bool)> then) override { inner_->WhenGone(std::move(then)); }

 private:
  std::shared_ptr<StoreFile> Wrap(std::shared_ptr<StoreFile> file) const {
    return std::make_shared<FaultyFile>(std::move(file), faults_);
  }

  const std::unique_ptr<BackingStore> inner_;
  const std::shared_ptr<Faults> faults_;
};

}  // namespace

void Faults::FailNext(StoreOperation operation, int error, unsigned times) {
  const std::lock_guard lock(mutex_);
  faults_[operation].error = error;
  faults_[operation].failures = times;
}

void Faults::Stall(StoreOperation operation) {
  const std::lock_guard lock(mutex_);
  faults_[operation].stalls = true;
}

void Faults::Release(StoreOperation operation) {
  const std::lock_guard lock(mutex_);
  faults_[operation].stalls = false;
  changed_.notify_all();
}

bool Faults::AwaitStalled(StoreOperation operation, unsigned count, std::chrono::milliseconds deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, deadline, [&] { return faults_[operation].waiting >= count; });
}

Result<void> Faults::Pass(StoreOperation operation) {
  std::unique_lock lock(mutex_);
  const auto found = faults_.find(operation);
  if (found == faults_.end()) return {};
  Fault& fault = found->second;
  if (fault.stalls) {
    if (operation == StoreOperation::kReadNoWait) return Fail(EAGAIN);
    ++fault.waiting;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !fault.stalls; });
    --fault.waiting;
  }
  if (fault.failures == 0) return {};
  --fault.failures;
  return Fail(fault.error);
}

std::unique_ptr<BackingStore> MakeFaultyStore(std::unique_ptr<BackingStore> inner,
                                              std::shared_ptr<Faults> faults) {
  return std::make_unique<FaultyStore>(std::move(inner), std::move(faults));
}

}  // namespace baton::store
