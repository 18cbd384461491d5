#include "server/store/descriptor_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "server/store/attributes.h"

namespace baton::store {
namespace {

constexpr int kKeptFlags = O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC | O_NOATIME;
constexpr std::size_t kLooks = 64;  // at so many, for one to close
constexpr std::size_t kRoom = 16;   // descriptors that MakeRoom frees
constexpr int kSyncs = 4;           // for one to close: who writes all the time keeps his
constexpr auto kComplainEvery = std::chrono::seconds(10);

FileHandle HandleOf(const OpenInode& inode) {
  FileHandle handle;
  handle.Raw()->handle_type = inode.handle_type;
  handle.Raw()->handle_bytes = static_cast<unsigned>(inode.handle.size());
  std::memcpy(handle.Raw()->f_handle, inode.handle.data(), inode.handle.size());
  return handle;
}

}  // namespace

Descriptor::Descriptor(DescriptorCache& cache, const FileKey& key, const FileHandle& handle, UniqueFd fd,
                       bool tell_end)
    : cache_(cache), fd_(fd.Release()) {
  cache_.Add(*this, key, handle, tell_end);
}

Descriptor::Descriptor(DescriptorCache& cache, const FileKey& key, const FileHandle& handle, int flags, bool tell_end)
    : cache_(cache), state_(kClosed), fd_(-1), flags_(flags & kKeptFlags) {
  cache_.Add(*this, key, handle, tell_end);
}

Descriptor::~Descriptor() {
  cache_.Remove(*this);
}

const FileKey& Descriptor::Key() const {
  return inode_->first;
}

FileHandle Descriptor::Handle() const {
  return HandleOf(inode_->second);
}

int Descriptor::EnterClosed() {
  return cache_.EnterClosed(*this);
}

void Descriptor::Leave(bool wrote) {
  // Set behind the write and before the descriptor may be closed; a sync clears it before it begins.
  if (wrote) inode_->second.is_unsynced.store(true);
  state_.fetch_sub(1, std::memory_order_release);
}

Result<void> Descriptor::Sync(bool data_only) {
  const auto use = Enter();
  if (!use) return tl::unexpected(use.error());
  OpenInode& inode = inode_->second;
  inode.is_unsynced.store(false);
  int error = (data_only ? ::fdatasync(fd_) : ::fsync(fd_)) != 0 ? errno : 0;
  if (error != 0) inode.is_unsynced.store(true);
  if (error != 0 || heard_.load() != inode.errors.load()) error = cache_.Hear(*this, error);
  if (error != 0) return Fail(error);
  return {};
}

void Descriptor::NoteSyncError(int error) {
  cache_.Hear(*this, error);
}

void DescriptorCache::Add(Descriptor& file, const FileKey& key, const FileHandle& handle, bool tell_end) {
  {
    const std::lock_guard lock(mutex_);
    const auto [at, is_new] = inodes_.try_emplace(key);
    OpenInode& inode = at->second;
    if (is_new) {
      const file_handle* raw = handle.Raw();
      inode.handle.assign(reinterpret_cast<const char*>(raw->f_handle), raw->handle_bytes);
      inode.handle_type = raw->handle_type;
    }
    ++inode.files;
    inode.tell_end |= tell_end;
    file.inode_ = &*at;
    file.heard_.store(inode.errors.load());
    file.told_ = inode.told;
    if (file.IsOpen()) PutIn(file);
  }
  Shrink(most_, kSyncs);
}

void DescriptorCache::Remove(Descriptor& file) {
  UniqueFd closed;  // these two: behind the locks and `ended_`, since what goes with them may take long
  std::shared_ptr<const void> anchor;
  FileKey ended;
  {
    const std::lock_guard lock(mutex_);
    OpenInode& inode = file.inode_->second;
    if (file.IsOpen() && inode.files > 1) {
      closed = Close(file);
    } else if (file.IsOpen()) {
      TakeOut(file);
      closed.Reset(file.fd_);
    }
    if (--inode.files > 0) return;
    anchor = std::move(inode.anchor_owner);
    if (anchor) --anchors_;
    if (inode.tell_end) ended = file.inode_->first;
    inodes_.erase(FileKey(file.inode_->first));
  }
  if (ended_ && ended != FileKey{}) ended_(ended);
}

bool DescriptorCache::MayHave(std::uint64_t handle_hash) const {
  const std::lock_guard lock(mutex_);
  const std::size_t bucket = inodes_.bucket(FileKey{0, handle_hash});
  return std::any_of(inodes_.begin(bucket), inodes_.end(bucket),
                     [&](const auto& inode) { return inode.first.handle_hash == handle_hash; });
}

bool DescriptorCache::Has(const FileKey& key) const {
  const std::lock_guard lock(mutex_);
  return inodes_.contains(key);
}

bool DescriptorCache::IsEmpty() const {
  const std::lock_guard lock(mutex_);
  return inodes_.empty();
}

bool DescriptorCache::TellEndOf(const FileKey& key) {
  const std::lock_guard lock(mutex_);
  const auto at = inodes_.find(key);
  if (at == inodes_.end()) return false;
  at->second.tell_end = true;
  return true;
}

void DescriptorCache::PutIn(Descriptor& file) {
  clock_.push_back(file);
  file.inode_->second.open.push_back(file);
}

void DescriptorCache::TakeOut(Descriptor& file) {
  clock_.erase(clock_.iterator_to(file));
  OpenInode::Open& open = file.inode_->second.open;
  open.erase(open.iterator_to(file));
}

bool DescriptorCache::Anchor(const FileKey& key, std::shared_ptr<const void> owner, int fd) {
  {
    const std::lock_guard lock(mutex_);
    const auto at = inodes_.find(key);
    if (at == inodes_.end()) return false;
    at->second.tell_end = true;
    if (at->second.anchor_owner) return true;
    at->second.anchor = fd;
    at->second.anchor_owner = std::move(owner);
    ++anchors_;
  }
  Shrink(most_, kSyncs);
  return true;
}

Result<DescriptorCache::Found> DescriptorCache::Find(const FileKey& key) {
  const std::lock_guard lock(mutex_);
  const auto at = inodes_.find(key);
  if (at == inodes_.end()) return Fail(ESTALE);
  const OpenInode& inode = at->second;
  if (inode.anchor_owner) return Found{inode.anchor_owner, inode.anchor};
  if (inode.open.empty()) return Fail(ESTALE);
  auto copy = std::make_shared<UniqueFd>(::fcntl(inode.open.front().fd_, F_DUPFD_CLOEXEC, 0));
  const int fd = copy->Get();
  if (fd < 0) return FailErrno();
  return Found{std::move(copy), fd};
}

std::size_t DescriptorCache::Held() const {
  const std::lock_guard lock(mutex_);
  return HeldLocked();
}

bool DescriptorCache::MakeRoom() {
  const std::size_t held = Held();
  Shrink(held - std::min(held, kRoom), 0);
  return Held() < held;
}

bool DescriptorCache::IsLastOfInode(const Descriptor& file) const {
  const OpenInode& inode = file.inode_->second;
  return !inode.anchor_owner && &inode.open.front() == &file && &inode.open.back() == &file;
}

// Second chance: what was used since the hand came by is passed over once.
DescriptorCache::Choice DescriptorCache::Choose() {
  Choice choice;
  for (std::size_t looks = std::min(kLooks, clock_.size()); looks > 0; --looks) {
    Descriptor& file = clock_.front();
    clock_.splice(clock_.end(), clock_, clock_.begin());
    const std::uint32_t state = file.state_.load(std::memory_order_acquire);
    if ((state & Descriptor::kUsed) != 0) file.state_.fetch_and(~Descriptor::kUsed);
    if (state != 0) continue;
    if (IsLastOfInode(file) && file.inode_->second.is_unsynced.load()) {
      if (choice.unsynced == nullptr) choice.unsynced = &file;
      continue;
    }
    // Whoever came in meanwhile, and be he gone again, has left kUsed behind.
    std::uint32_t idle = 0;
    if (!file.state_.compare_exchange_strong(idle, Descriptor::kClosed, std::memory_order_acq_rel)) continue;
    choice.closable = &file;
    return choice;
  }
  return choice;
}

// Of a file that nobody is in, or comes into any more. None: it became the inode's anchor.
UniqueFd DescriptorCache::Close(Descriptor& file) {
  const bool is_last = IsLastOfInode(file);
  OpenInode& inode = file.inode_->second;
  // The kernel would have told this one, too, had it stayed open.
  if (file.told_ != inode.told) file.heard_.store(inode.errors.load() - 1);
  TakeOut(file);
  UniqueFd fd(std::exchange(file.fd_, -1));
  file.flags_ = ::fcntl(fd.Get(), F_GETFL) & kKeptFlags;
  if (!is_last) return fd;
  const auto status = StatusOf(fd.Get());
  // While it is open the kernel keeps an error of the write-back for who opens the file next.
  if (status && status->stx_nlink > 0 && !inode.is_unsynced.load()) return fd;
  inode.anchor = fd.Get();
  inode.anchor_owner = std::make_shared<const UniqueFd>(std::move(fd));
  ++anchors_;
  return {};
}

void DescriptorCache::Shrink(std::size_t most, int syncs) {
  if (!reopen_) return;
  for (;;) {
    UniqueFd closed;
    UniqueFd to_sync;
    FileKey key;
    {
      const std::lock_guard lock(mutex_);
      if (HeldLocked() <= most) return;
      const Choice choice = Choose();
      if (choice.closable != nullptr) {
        closed = Close(*choice.closable);
        continue;
      }
      if (choice.unsynced == nullptr || syncs-- == 0) return;
      // A description of its own: what it is told of, the file's own one is told of too.
      to_sync = reopen_(HandleOf(choice.unsynced->inode_->second), choice.unsynced->fd_, O_RDONLY);
      if (!to_sync) return;
      key = choice.unsynced->Key();
      choice.unsynced->inode_->second.is_unsynced.store(false);
      clock_.splice(clock_.begin(), clock_, clock_.iterator_to(*choice.unsynced));
    }
    SyncBehind(key, to_sync.Get());
  }
}

// What cannot be written is lost now, as after any close(2): is_unsynced stays off, and all who have it open
// hear of it.
void DescriptorCache::SyncBehind(const FileKey& key, int fd) {
  if (::fdatasync(fd) == 0) return;
  const int error = errno;
  const std::lock_guard lock(mutex_);
  Complain("written data is lost", error);
  const auto at = inodes_.find(key);
  if (at == inodes_.end()) return;
  at->second.last_error = error;
  ++at->second.errors;
}

// A sync through `file` was answered with `error`, or with 0 although it has not heard of all.
int DescriptorCache::Hear(Descriptor& file, int error) {
  const std::lock_guard lock(mutex_);
  OpenInode& inode = file.inode_->second;
  const bool heard_all = file.heard_.load() == inode.errors.load();
  if (error == 0) {
    error = heard_all ? 0 : inode.last_error;
  } else {
    inode.last_error = error;
    ++inode.told;
    // Open descriptors are told by the kernel. If one of them told the others before, it is the same error
    // again; but rather twice than never for those that are closed.
    if (heard_all || inode.open.size() < inode.files) ++inode.errors;
  }
  file.heard_.store(inode.errors.load());
  file.told_ = inode.told;
  return error;
}

int DescriptorCache::EnterClosed(Descriptor& file) {
  for (bool is_last_try = false;; is_last_try = true) {
    FileHandle handle;
    std::shared_ptr<const void> owner;
    int anchor = -1;
    int flags = 0;
    {
      const std::lock_guard lock(mutex_);
      if (file.IsOpen()) {
        file.state_.fetch_add(1, std::memory_order_acquire);
        return 0;
      }
      const OpenInode& inode = file.inode_->second;
      handle = HandleOf(inode);
      owner = inode.anchor_owner;
      anchor = inode.anchor;
      flags = file.flags_;
    }
    if (UniqueFd fd = reopen_(handle, anchor, flags)) {
      PutBack(file, std::move(fd));
      return 0;
    }
    const int error = errno;
    // It may have got its anchor meanwhile.
    const bool may_help = IsOutOfDescriptors(error) ? MakeRoom() : error == ESTALE && anchor < 0;
    if (may_help && !is_last_try) continue;
    const std::lock_guard lock(mutex_);
    Complain("it was closed to make room, and does not open again", error);
    return error;
  }
}

// Open, and entered; unless somebody else was quicker, by this descriptor.
void DescriptorCache::PutBack(Descriptor& file, UniqueFd fd) {
  {
    const std::lock_guard lock(mutex_);
    file.state_.fetch_add(1, std::memory_order_acquire);
    if (!file.IsOpen()) {
      file.fd_ = fd.Release();
      PutIn(file);
      file.state_.fetch_or(Descriptor::kUsed);
      file.state_.fetch_and(~Descriptor::kClosed, std::memory_order_release);
    }
  }
  Shrink(most_, kSyncs);
}

void DescriptorCache::Complain(const char* what, int error) {
  const auto now = std::chrono::steady_clock::now();
  if (last_complaint_ != decltype(last_complaint_)() && now - last_complaint_ < kComplainEvery) return;
  last_complaint_ = now;
  log::Warn("an open file of the export: {}: {}{}", what, std::strerror(error),
            IsOutOfDescriptors(error) ? "; raise batond's limit of descriptors (LimitNOFILE)" : "");
}

}  // namespace baton::store
