#include "sim/store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace baton::sim {
namespace {

using store::BackingStore;
using store::StoreFile;

FileRef RefOf(Ino ino) {
  return FileRef(std::as_bytes(std::span(&ino, 1)));
}
FileKey KeyOfIno(Ino ino) {
  return {ino, ino * 0xd1342543de82ef95ULL};
}

Result<Ino> InoOf(const FileRef& ref) {
  Ino ino = 0;
  if (ref.Bytes().size() != sizeof ino) return Fail(ESTALE);
  std::memcpy(&ino, ref.Bytes().data(), sizeof ino);
  return ino;
}

void Spend(const DiskSpeed& speed) {
  Scheduler& scheduler = *Scheduler::Running();
  Random& random = scheduler.random();
  const Duration most = random.Chance(speed.stalls) ? speed.stall : speed.most;
  scheduler.Sleep(random.Between({}, most));
}

Attr AttrOf(const Disk& disk, Ino ino) {
  Attr attr;
  attr.ino = ino;
  attr.mode = ino == Disk::kRoot ? S_IFDIR | 0777 : S_IFREG | 0666;
  attr.nlink = ino == Disk::kRoot ? 2 : disk.LinksOf(ino);
  attr.size = ino == Disk::kRoot ? 0 : disk.DataOf(ino).size();
  return attr;
}

class SimFile final : public StoreFile {
 public:
  SimFile(Disk& disk, const DiskSpeed& speed, Ino ino)
      : disk_(disk), speed_(speed), ino_(ino), key_(KeyOfIno(ino)) {
    disk_.Hold(ino);
  }
  ~SimFile() override { disk_.LetGo(ino_); }

  FileRef Ref() const override { return RefOf(ino_); }
  const FileKey& Key() const override { return key_; }
  std::string Path() const override { return "/ino-" + std::to_string(ino_); }

  Result<std::size_t> Read(std::span<std::byte> to, std::uint64_t offset) override {
    Spend(speed_);
    const std::string& data = disk_.DataOf(ino_);
    const std::size_t count = offset >= data.size() ? 0 : std::min(to.size(), data.size() - offset);
    if (count > 0) std::memcpy(to.data(), data.data() + offset, count);
    return count;
  }
  Result<std::size_t> ReadNoWait(std::span<std::byte>, std::uint64_t) override { return Fail(EAGAIN); }
  Result<std::size_t> Write(std::span<const std::byte> from, std::uint64_t offset) override {
    Spend(speed_);
    disk_.Write(ino_, offset, {reinterpret_cast<const char*>(from.data()), from.size()});
    Spend(speed_);
    return from.size();
  }
  Result<store::AppendedAt> WriteAppend(std::span<const std::byte> from) override {
    Spend(speed_);
    const std::uint64_t end = disk_.DataOf(ino_).size();
    disk_.Write(ino_, end, {reinterpret_cast<const char*>(from.data()), from.size()});
    Spend(speed_);
    return store::AppendedAt{end, from.size()};
  }
  Result<void> Sync(bool) override {
    Spend(speed_);
    disk_.Sync(ino_);
    Spend(speed_);
    return {};
  }
  Result<void> Truncate(std::uint64_t size) override {
    Spend(speed_);
    disk_.Truncate(ino_, size);
    Spend(speed_);
    return {};
  }
  Result<void> Allocate(std::uint32_t, std::uint64_t, std::uint64_t) override { return Fail(EOPNOTSUPP); }
  Result<std::uint64_t> Seek(std::uint64_t, store::SeekFor) const override { return Fail(EOPNOTSUPP); }
  Result<std::size_t> CopyFrom(const StoreFile&, std::uint64_t, std::uint64_t, std::size_t) override {
    return Fail(EOPNOTSUPP);
  }
  Result<Attr> GetAttr() override {
    Spend(speed_);
    return AttrOf(disk_, ino_);
  }
  Result<Attr> SetAttr(const Credentials&, const AttrChange& change) override {
    if (change.Has(attr_mask::kSize)) (void)Truncate(change.size);
    return AttrOf(disk_, ino_);
  }

 private:
  Disk& disk_;
  const DiskSpeed& speed_;
  const Ino ino_;
  const FileKey key_;
};

class SimStore final : public BackingStore {
 public:
  SimStore(Disk& disk, const DiskSpeed& speed) : disk_(disk), speed_(speed) {}

  store::Node Root() override {
    return {RefOf(Disk::kRoot), KeyOfIno(Disk::kRoot), AttrOf(disk_, Disk::kRoot)};
  }
  Result<FileKey> KeyOf(const FileRef& ref) override { return InoOf(ref).map(KeyOfIno); }

  Result<store::Node> Lookup(const Credentials&, const FileRef&, std::string_view name) override {
    Spend(speed_);
    return Named(name);
  }
  Result<store::Node> MakeDirectory(const Credentials&, const FileRef&, std::string_view,
                                    std::uint32_t) override {
    return Fail(EOPNOTSUPP);
  }
  Result<store::Node> MakeNode(const Credentials&, const FileRef&, std::string_view, std::uint32_t,
                               std::uint64_t) override {
    return Fail(EOPNOTSUPP);
  }
  Result<store::Node> Symlink(const Credentials&, const FileRef&, std::string_view,
                              const std::string&) override {
    return Fail(EOPNOTSUPP);
  }
  Result<store::Node> Link(const Credentials&, const FileRef& file, const FileRef&,
                           std::string_view name) override {
    Spend(speed_);
    const auto ino = Present(file);
    if (!ino) return Fail(ino.error().value);
    if (disk_.Find(name)) return Fail(EEXIST);
    disk_.Link(*ino, std::string(name));
    Spend(speed_);
    return NodeOf(*ino);
  }
  Result<void> Unlink(const Credentials&, const FileRef&, std::string_view name) override {
    Spend(speed_);
    const auto ino = disk_.Find(name);
    if (!ino) return Fail(ENOENT);
    disk_.Unlink(std::string(name));
    Unheld();
    Spend(speed_);
    return {};
  }
  Result<store::Node> RemoveDirectory(const Credentials&, const FileRef&, std::string_view) override {
    return Fail(ENOTDIR);
  }
  Result<store::Node> Rename(const Credentials&, const FileRef&, std::string_view name, const FileRef&,
                             std::string_view new_name, std::uint32_t) override {
    Spend(speed_);
    if (!disk_.Find(name)) return Fail(ENOENT);
    disk_.Rename(std::string(name), std::string(new_name));
    Unheld();
    Spend(speed_);
    return store::Node();
  }
  Result<std::string> ReadLink(const Credentials&, const FileRef&) override { return Fail(EINVAL); }
  Result<store::DirectoryPage> ReadDirectory(const Credentials&, const FileRef&, std::uint64_t, std::size_t,
                                             bool) override {
    return store::DirectoryPage();
  }
  Result<void> SyncDirectory(const Credentials&, const FileRef&, bool) override {
    Spend(speed_);
    disk_.Sync(Disk::kRoot);
    return {};
  }

  Result<Attr> GetAttr(const Credentials&, const FileRef& file) override {
    Spend(speed_);
    return Present(file).map([this](Ino ino) { return AttrOf(disk_, ino); });
  }
  Result<Attr> SetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) override {
    const auto opened = Open(who, file, O_RDWR);
    return opened ? (*opened)->SetAttr(who, change) : Fail(opened.error().value);
  }
  Result<void> Access(const Credentials&, const FileRef&, int) override { return {}; }
  Result<StatFs> GetStatFs(const Credentials&, const FileRef&) override { return StatFs(); }
  Result<std::string> GetXattr(const Credentials&, const FileRef&, const std::string&) override {
    return Fail(ENODATA);
  }
  Result<std::string> ListXattr(const Credentials&, const FileRef&) override { return std::string(); }
  Result<void> SetXattr(const Credentials&, const FileRef&, const std::string&, std::string_view,
                        int) override {
    return Fail(EOPNOTSUPP);
  }
  Result<void> RemoveXattr(const Credentials&, const FileRef&, const std::string&) override {
    return Fail(EOPNOTSUPP);
  }

  Result<std::shared_ptr<StoreFile>> Open(const Credentials&, const FileRef& file, int flags) override {
    Spend(speed_);
    auto opened = Opened(file);
    if (opened && (flags & O_TRUNC) != 0) (void)(*opened)->Truncate(0);
    return opened;
  }
  Result<store::CreatedFile> Create(const Credentials&, const FileRef&, std::string_view name, int,
                                    std::uint32_t) override {
    Spend(speed_);
    if (disk_.Find(name)) return Fail(EEXIST);
    const Ino ino = disk_.Create(std::string(name));
    auto file = std::make_shared<SimFile>(disk_, speed_, ino);
    Spend(speed_);
    return store::CreatedFile{NodeOf(ino), std::move(file)};
  }
  Result<store::CreatedFile> CreateBy(const Credentials& who, const FileRef& directory, std::string_view name,
                                      int flags, std::uint32_t mode, const store::Creator&,
                                      bool replace) override {
    return replace ? Fail(EOPNOTSUPP) : Create(who, directory, name, flags, mode);
  }
  Result<std::optional<store::Creator>> CreatorOf(const FileRef&) override {
    return std::optional<store::Creator>();
  }
  Result<void> ForgetCreator(const FileRef&) override { return {}; }

  Result<void> WouldCreate(const Credentials&, const FileRef&, std::string_view name) override {
    return disk_.Find(name) ? Result<void>(Fail(EEXIST)) : Result<void>();
  }
  Result<void> WouldMakeDirectory(const Credentials&, const FileRef&, std::string_view) override {
    return Fail(EOPNOTSUPP);
  }
  Result<void> WouldMakeNode(const Credentials&, const FileRef&, std::string_view, std::uint32_t) override {
    return Fail(EOPNOTSUPP);
  }
  Result<void> WouldSymlink(const Credentials&, const FileRef&, std::string_view,
                            const std::string&) override {
    return Fail(EOPNOTSUPP);
  }
  Result<void> WouldLink(const Credentials&, const FileRef&, const FileRef&, std::string_view name) override {
    return disk_.Find(name) ? Result<void>(Fail(EEXIST)) : Result<void>();
  }
  Result<void> WouldUnlink(const Credentials&, const FileRef&, std::string_view name) override {
    return Probe(name);
  }
  Result<void> WouldRemoveDirectory(const Credentials&, const FileRef&, std::string_view) override {
    return Fail(ENOTDIR);
  }
  Result<void> WouldRename(const Credentials&, const FileRef&, std::string_view name, const FileRef&,
                           std::string_view, std::uint32_t) override {
    return Probe(name);
  }
  Result<void> WouldSetAttr(const Credentials&, const FileRef& file, const AttrChange&) override {
    return Present(file).map([](Ino) {});
  }
  Result<void> WouldSetXattr(const Credentials&, const FileRef&, const std::string&, std::string_view,
                             int) override {
    return Fail(EOPNOTSUPP);
  }
  Result<void> WouldRemoveXattr(const Credentials&, const FileRef&, const std::string&) override {
    return Fail(EOPNOTSUPP);
  }
  Result<void> WouldOpen(const Credentials&, const FileRef& file, int) override {
    return Present(file).map([](Ino) {});
  }

  Result<store::DirectoryPolicy> PolicyOf(const FileRef&) override { return store::DirectoryPolicy(); }
  std::string PathOf(const FileRef&) override { return "/"; }

  Result<store::Node> Find(const FileRef&, std::string_view name) override {
    Spend(speed_);
    return Named(name);
  }
  Result<std::shared_ptr<StoreFile>> OpenAgain(const Credentials&, const FileRef& file, int) override {
    Spend(speed_);
    return Opened(file).map_error([](Errno) { return Errno{ENOENT}; });
  }
  Result<std::shared_ptr<StoreFile>> OpenWhenUsed(const Credentials& who, const FileRef& file,
                                                  int flags) override {
    return OpenAgain(who, file, flags);
  }

  void AwaitReturns() override { awaits_returns_ = true; }
  void DropUnclaimed() override {
    awaits_returns_ = false;
    Unheld();
  }
  void KeepForRestart() override {}
  void WhenGone(std::function<void(const FileKey&, bool)>) override {}

 private:
  // A life that does not say that it waits for who has files open does not wait.
  void Unheld() {
    if (!awaits_returns_) disk_.DropUnheld();
  }
  Result<Ino> Present(const FileRef& ref) {
    Unheld();
    const auto ino = InoOf(ref);
    if (!ino) return ino;
    if (*ino != Disk::kRoot && !disk_.Exists(*ino)) return Fail(ESTALE);
    return ino;
  }
  store::Node NodeOf(Ino ino) { return {RefOf(ino), KeyOfIno(ino), AttrOf(disk_, ino)}; }
  Result<store::Node> Named(std::string_view name) {
    const auto ino = disk_.Find(name);
    return ino ? Result<store::Node>(NodeOf(*ino)) : Fail(ENOENT);
  }
  Result<std::shared_ptr<StoreFile>> Opened(const FileRef& ref) {
    const auto ino = Present(ref);
    if (!ino) return Fail(ino.error().value);
    return std::make_shared<SimFile>(disk_, speed_, *ino);
  }
  Result<void> Probe(std::string_view name) {
    return disk_.Find(name) ? Result<void>() : Result<void>(Fail(ENOENT));
  }

  Disk& disk_;
  const DiskSpeed& speed_;
  bool awaits_returns_ = false;
};

}  // namespace

std::unique_ptr<BackingStore> MakeStore(Disk& disk, const DiskSpeed& speed) {
  return std::make_unique<SimStore>(disk, speed);
}

}  // namespace baton::sim
