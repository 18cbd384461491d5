// Export: names that go, and the hidden links of files that are still open (rule D2).
#include <fcntl.h>
#include <unistd.h>

#include "server/store/attributes.h"
#include "server/store/export.h"

namespace baton::store {

// A server that closes no descriptors holds only what may need a link: what is open.
Result<Victim> Export::Hold(const PathFd& directory, const std::string& name) {
  if (!open_files_.ClosesFiles()) {
    if (!awaits_returns_ && open_files_.IsEmpty()) return Victim();
    const auto there = GetHandle(directory.fd, name.c_str());
    if (!there || !(awaits_returns_ || open_files_.MayHave(RefCodec::KeyOf(there->handle, 0).handle_hash)))
      return Victim();
  }
  auto held = OpenChild(directory, name);
  if (!held && IsOutOfMeans(held.error().value)) return tl::unexpected(held.error());
  if (!held) return Victim();
  const auto at = GetHandle(held->fd);
  if (!at) return Victim();
  Victim victim;
  victim.handle_hash = RefCodec::KeyOf(at->handle, 0).handle_hash;
  victim.held = std::move(*held);
  victim.lock = hidden_.LockFile(victim.handle_hash);
  return victim;
}

bool Export::WouldLose(const Victim& victim) const {
  if (victim.held.fd < 0 || !(awaits_returns_ || open_files_.MayHave(victim.handle_hash))) return false;
  const auto status = StatusOf(victim.held.fd);
  return status && S_ISREG(status->stx_mode) && status->stx_nlink == 1;
}

void Export::Keep(Victim& victim) {
  const auto status = StatusOf(victim.held.fd);
  if (!status) return;
  victim.linked = hidden_.Make({status->stx_ino, victim.handle_hash}, victim.held.fd);
  if (!victim.linked) victim.error = errno;
}

void Export::NameStays(Victim victim) {
  const auto status = victim.linked ? StatusOf(victim.held.fd) : Fail(EBADF);
  if (status) hidden_.Remove({status->stx_ino, victim.handle_hash});
}

void Export::NameGone(Victim victim) {
  if (victim.held.fd < 0) return;
  const auto status = StatusOf(victim.held.fd);
  if (!status) return;
  const FileKey key{status->stx_ino, victim.handle_hash};
  const bool hidden = hidden_.Has(key);
  if (VisibleLinks(status->stx_nlink, key) > 0) {
    if (victim.linked) hidden_.Remove(key);  // somebody gave it another name meanwhile
    return;
  }
  if (S_ISDIR(status->stx_mode)) return Gone(key, false);
  if (hidden) {
    // Neither open nor waited for any more: it was closed meanwhile.
    if (open_files_.TellEndOf(key) || awaits_returns_) return;
    if (hidden_.Remove(key) != HiddenLinks::Removed::kGone) return;
  } else if (open_files_.Anchor(key, victim.held.owner, victim.held.fd)) {
    if (victim.error != 0) hidden_.TellOfLoss(victim.error);
    return;
  }
  Gone(key, false);
}

void Export::Gone(const FileKey& key, bool was_open) {
  names_.Forget(key);
  if (gone_) gone_(key, was_open);
}

void Export::LastClosed(const FileKey& key) {
  const auto lock = hidden_.LockFile(key.handle_hash);
  if (open_files_.TellEndOf(key)) return;  // opened again, and heard of again
  if (!hidden_.Has(key)) return Gone(key, true);
  if (keeps_for_restart_ || awaits_returns_) return;  // who is not back yet may have it open, too
  if (hidden_.Remove(key) == HiddenLinks::Removed::kGone) Gone(key, true);
}

void Export::DropUnclaimed() {
  awaits_returns_ = false;
  for (const FileKey& key : hidden_.All()) {
    const auto lock = hidden_.LockFile(key.handle_hash);
    if (open_files_.Has(key) || !hidden_.Has(key)) continue;
    if (hidden_.Remove(key) == HiddenLinks::Removed::kGone) Gone(key, false);
  }
}

std::uint32_t Export::VisibleLinks(std::uint32_t links, const FileKey& key) const {
  if (links > 0 && hidden_.Has(key)) return links - 1;
  // Where directories count those below them.
  if (links > 2 && key == root_.key && hidden_.HasDirectory()) return links - 1;
  return links;
}

Result<Attr> Export::AttrOf(int fd, const FileKey& key) {
  HiddenLinks::Lock lock;
  if (hidden_.Has(key)) lock = hidden_.LockFile(key.handle_hash);
  auto status = StatusOf(fd);
  if (!lock && hidden_.Has(key)) {
    lock = hidden_.LockFile(key.handle_hash);
    status = StatusOf(fd);
  }
  if (!status) return tl::unexpected(status.error());
  Attr attr = ToAttr(*status);
  attr.nlink = VisibleLinks(attr.nlink, key);
  return attr;
}

Result<PathFd> Export::OpenHidden(const FileKey& key) const {
  if (!hidden_.Has(key)) return Fail(ESTALE);
  auto fd = std::make_shared<const UniqueFd>(hidden_.Open(key));
  const auto found = *fd ? KeyOfFd(fd->Get()) : Fail(ESTALE);
  if (!found || *found != key) return Fail(ESTALE);
  const int raw = fd->Get();
  return PathFd{std::move(fd), raw, key, false};
}

}  // namespace baton::store
