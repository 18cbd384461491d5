#include "fuse/ops/coherence.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/log.h"
#include "fuse/ops/mount.h"

namespace baton {

using protocol::ChangeKind;

Coherence::Coherence(Mount& mount, double attr_timeout, double entry_timeout)
    : mount_(mount), attr_timeout_(attr_timeout), entry_timeout_(entry_timeout) {}

void Coherence::CheckKernel() {
  if (entry_timeout_ == 0 || mount_.kernel.ForgetAllNames()) return;
  log::Warn("this kernel cannot forget all names at once (Linux 6.16 can): entry_timeout is 0");
  entry_timeout_ = 0;
}

// --- What may be believed
// -----------------------------------------------------------------------------------------------

double Coherence::AttrTimeout(NoticeMark since, const Attr& attr, bool watched) const {
  const auto inode = mount_.inodes.FindByNumber(attr.ino);
  if (inode != nullptr && inode->WasLocked()) return 0;
  // Each change by this node, too, may take the set-id bits; the kernel is not told of its own.
  const bool has_set_id = S_ISREG(attr.mode) && (attr.mode & (S_ISUID | S_ISGID)) != 0;
  return watched && !has_set_id && !IsRoot(attr.ino) && !ToldSince(since, attr.ino) ? attr_timeout_ : 0;
}

bool Coherence::IsRoot(std::uint64_t ino) const { return ino == mount_.inodes.Root()->Number(); }

std::optional<Attr> Coherence::RootAttributes() const {
  const std::lock_guard lock(root_mutex_);
  if (!root_ || mount_.clock.Now() > root_->until) return std::nullopt;
  return root_->attr;
}

void Coherence::KeepRootAttributes(NoticeMark since, const protocol::AttrReply& reply) {
  const auto timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(attr_timeout_));
  const std::lock_guard lock(root_mutex_);
  if (!reply.watched || ToldSince(since, reply.attr.ino)) return;
  root_ = RootAttr{reply.attr, mount_.clock.Now() + timeout};
}

void Coherence::ForgetRootAttributes() {
  Note(mount_.inodes.Root()->Number());
  const std::lock_guard lock(root_mutex_);
  root_.reset();
}

double Coherence::EntryTimeout(NoticeMark since, std::uint64_t directory) const {
  return entry_timeout_ > 0 && !ToldSince(since, directory) ? entry_timeout_ : 0;
}

bool Coherence::ToldSince(NoticeMark since, std::uint64_t ino) const {
  const std::uint64_t told = told_.load(std::memory_order_relaxed);
  const auto first = static_cast<std::uint64_t>(since);
  if (first < distrusted_.load(std::memory_order_acquire) || told - first > kRemembered) return true;
  for (std::uint64_t notice = first; notice < told; ++notice) {
    if (recent_[notice % kRemembered] == ino) return true;
  }
  return false;
}

void Coherence::Note(std::uint64_t ino) {
  const std::lock_guard lock(told_mutex_);
  const std::uint64_t notice = told_.load(std::memory_order_relaxed);
  recent_[notice % kRemembered] = ino;
  told_.store(notice + 1, std::memory_order_release);
}

// --- What is told
// -------------------------------------------------------------------------------------------------------

void Coherence::Told(const protocol::FileChange& change) {
  if (IsRoot(change.ino)) {
    ForgetRootAttributes();
  } else {
    Note(change.ino);
  }
  if (change.kind == ChangeKind::kEverything) return TrustNothing();
  const auto inode = mount_.inodes.FindByNumber(change.ino);
  if (inode == nullptr) return;  // the kernel has not heard of it, or no longer
  // Who locks is told by his locks. A notice that came between them would do harm: the kernel throws the answer of a GETATTR
  // away that an invalidation has crossed, and a read behind the size that it believed before finds nothing.
  if (inode->WasLocked() && change.kind != ChangeKind::kName) return;
  ForgetAttributes(inode);
  if (change.kind == ChangeKind::kData) {
    mount_.notifier.Post([this, inode] { mount_.InvalidatePages(*inode); });
  } else if (change.kind == ChangeKind::kName && entry_timeout_ > 0) {
    ForgetName(inode, change.name);
  }
}

void Coherence::ForgetAttributes(const std::shared_ptr<Inode>& inode) {
  constexpr int kTries = 100;
  constexpr off_t kAttributesOnly = -1;
  fuse_session* const fuse = mount_.kernel.Fuse();
  if (fuse == nullptr) return;
  const int error =
      fuse_lowlevel_notify_inval_inode(fuse, mount_.inodes.NumberFor(*inode), kAttributesOnly, 0);
  // The answer that brought it is given, but the program that asked has not run since.
  inode->SetUntold(error == -ENOENT);
  if (error == -ENOENT) TryAgain(inode, kTries);
}

void Coherence::TryAgain(const std::shared_ptr<Inode>& inode, int tries_left) {
  constexpr Duration kPause = std::chrono::milliseconds(2);
  if (tries_left == 0) return;
  mount_.housekeeping.After(kPause, [this, inode, tries_left] {
    if (!inode->IsUntold()) return;
    const int error =
        fuse_lowlevel_notify_inval_inode(mount_.kernel.Fuse(), mount_.inodes.NumberFor(*inode), -1, 0);
    if (error == -ENOENT) return TryAgain(inode, tries_left - 1);
    inode->SetUntold(false);
  });
}

void Coherence::BeforeGrant(const std::shared_ptr<Inode>& inode) {
  if (inode->IsUntold()) ForgetAttributes(inode);
}

void Coherence::ForgetName(const std::shared_ptr<Inode>& directory, std::string name) {
  {
    const std::lock_guard lock(names_mutex_);
    const auto [at, first] = names_to_forget_.try_emplace(directory.get());
    at->second.push_back(std::move(name));
    if (!first) return;  // a thread is at it
  }
  mount_.name_pool.Post([this, directory] { ForgetNamesOf(directory); });
}

void Coherence::ForgetNamesOf(const std::shared_ptr<Inode>& directory) {
  for (;;) {
    std::vector<std::string> names;
    {
      const std::lock_guard lock(names_mutex_);
      const auto at = names_to_forget_.find(directory.get());
      if (at->second.empty()) {
        names_to_forget_.erase(at);
        return;
      }
      names.swap(at->second);
    }
    for (const std::string& name : names) {
      fuse_lowlevel_notify_inval_entry(mount_.kernel.Fuse(), mount_.inodes.NumberFor(*directory), name.data(),
                                       name.size());
    }
  }
}

// --- What may be missing
// ------------------------------------------------------------------------------------------------

void Coherence::TrustNothing() {
  {
    const std::lock_guard lock(told_mutex_);
    distrusted_.store(told_.load() + 1, std::memory_order_release);
    told_.fetch_add(1, std::memory_order_release);
  }
  {
    const std::lock_guard lock(root_mutex_);
    root_.reset();
  }
  if (mount_.kernel.Fuse() == nullptr) return;
  if (entry_timeout_ > 0) mount_.kernel.ForgetAllNames();
  for (const auto& inode : mount_.inodes.All()) {
    if (attr_timeout_ > 0) ForgetAttributes(inode);
    if (inode->Pages()) mount_.notifier.Post([this, inode] { mount_.InvalidatePages(*inode); });
  }
}

void Coherence::CheckLink(bool live, Instant since, Instant now) {
  if (live) {
    trusted_ = true;
  } else if (now - since > lease_.load() && trusted_.exchange(false)) {
    TrustNothing();
  }
}

}  // namespace baton
