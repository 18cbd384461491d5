// PosixStore: the probes (rule T2). Each follows the order of the kernel's own checks (fs/namei.c may_create,
// may_delete, vfs_rename, may_linkat; fs/attr.c setattr_prepare, may_setattr; fs/xattr.c xattr_permission),
// and lets the kernel itself answer what it can answer without an effect: searching, access(2) with the
// thread's credentials, opening without O_TRUNC.

#include <dirent.h>
#include <linux/fs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <limits>

#include "server/store/attributes.h"
#include "server/store/posix_store.h"
#include "server/store/set_attr.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

using Status = struct statx;

bool IsDirectory(const Status& status) {
  return S_ISDIR(status.stx_mode);
}
bool IsAppendOnly(const Status& status) {
  return (status.stx_attributes & STATX_ATTR_APPEND) != 0;
}
bool IsFrozen(const Status& status) {
  return (status.stx_attributes & (STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE)) != 0;
}
// The kernel's inode_owner_or_capable. `who` is effective; only a server that is root has callers with uid 0.
bool OwnerOrRoot(const Status& status, const Credentials& who) {
  return who.uid == 0 || who.uid == status.stx_uid;
}

bool InGroup(const Credentials& who, std::uint32_t gid) {
  return who.gid == gid || std::ranges::find(who.groups, gid) != who.groups.end();
}

// access(2) of what a descriptor names, with the thread's present file system credentials.
Result<void> MayAccess(int fd, int mode) {
  if (::syscall(SYS_faccessat2, fd, "", mode, AT_EMPTY_PATH | AT_EACCESS) != 0) return FailErrno();
  return {};
}

Result<void> MayChangeEntries(int directory, const Status& status) {
  if (status.stx_nlink == 0) return Fail(ENOENT);
  return MayAccess(directory, W_OK | X_OK);
}

// may_delete: a name of `victim` in `directory` goes; `as_directory` is what the call takes it for.
Result<void> MayRemoveEntry(int directory_fd, const Status& directory, const Status& victim,
                            const Credentials& who, bool as_directory) {
  if (auto may = MayAccess(directory_fd, W_OK | X_OK); !may) return may;
  if (IsAppendOnly(directory)) return Fail(EPERM);
  const bool sticky =
      (directory.stx_mode & S_ISVTX) != 0 && who.uid != victim.stx_uid && !OwnerOrRoot(directory, who);
  if (sticky || IsFrozen(victim)) return Fail(EPERM);
  if (as_directory && !IsDirectory(victim)) return Fail(ENOTDIR);
  if (!as_directory && IsDirectory(victim)) return Fail(EISDIR);
  return {};
}

bool HardLinksAreProtected() {
  std::ifstream file("/proc/sys/fs/protected_hardlinks");
  int value = 0;
  return file >> value && value != 0;
}

// may_linkat.
Result<void> MayLinkFrom(int fd, const Status& status, const Credentials& who) {
  if (OwnerOrRoot(status, who) || !HardLinksAreProtected()) return {};
  constexpr unsigned kGroupExecutes = S_ISGID | S_IXGRP;
  const bool safe = S_ISREG(status.stx_mode) && (status.stx_mode & S_ISUID) == 0 &&
                    (status.stx_mode & kGroupExecutes) != kGroupExecutes && MayAccess(fd, R_OK | W_OK);
  if (!safe) return Fail(EPERM);
  return {};
}

Result<void> MayChangeOwner(const Status& status, const AttrChange& change, const Credentials& who) {
  if (!change.Has(attr_mask::kUid | attr_mask::kGid)) return {};
  if (IsFrozen(status)) return Fail(EPERM);
  if (who.uid == 0) return {};
  const bool owner = who.uid == status.stx_uid;
  if (change.Has(attr_mask::kUid) && !(owner && change.uid == status.stx_uid)) return Fail(EPERM);
  if (change.Has(attr_mask::kGid) && !(owner && (change.gid == status.stx_gid || InGroup(who, change.gid)))) {
    return Fail(EPERM);
  }
  return {};
}

Result<void> MayChangeMode(const Status& status, const AttrChange& change, const Credentials& who) {
  if (!change.Has(attr_mask::kMode)) return {};
  if (IsFrozen(status)) return Fail(EPERM);
  if (S_ISLNK(status.stx_mode)) return Fail(EOPNOTSUPP);
  return OwnerOrRoot(status, who) ? Result<void>() : Fail(EPERM);
}

Result<void> MayChangeTimes(int fd, const Status& status, const AttrChange& change, const Credentials& who) {
  if (!change.Has(kTimes)) return {};
  constexpr std::uint32_t kSecond = 1'000'000'000;
  if (change.Has(attr_mask::kAtime) && change.atime.nsec >= kSecond) return Fail(EINVAL);
  if (change.Has(attr_mask::kMtime) && change.mtime.nsec >= kSecond) return Fail(EINVAL);
  const bool touch = change.Has(attr_mask::kAtimeNow) && change.Has(attr_mask::kMtimeNow);
  if (!touch) {
    if (IsFrozen(status)) return Fail(EPERM);
    return OwnerOrRoot(status, who) ? Result<void>() : Fail(EPERM);
  }
  if ((status.stx_attributes & STATX_ATTR_IMMUTABLE) != 0) return Fail(EPERM);
  if (OwnerOrRoot(status, who)) return {};
  return MayAccess(fd, W_OK);
}

}  // namespace

// A file system may have become read-only since the start.
Result<void> PosixStore::CheckWritable() {
  struct statvfs fs;
  if (export_->Options().read_only) return Fail(EROFS);
  if (::fstatvfs(export_->RootFd(), &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0) return Fail(EROFS);
  return {};
}

Result<void> PosixStore::ProbeNew(const Place& place, NameUse use) {
  if (auto writable = CheckWritable(); !writable) return writable;
  const auto there = export_->OpenChild(place.directory, place.name);
  if (there || there.error().value == EXDEV) return Fail(EEXIST);
  if (there.error().value != ENOENT) return tl::unexpected(there.error());
  const auto status = StatusOf(place.directory.fd);
  if (!status) return tl::unexpected(status.error());
  if (use == NameUse::kLookup) return {};
  return MayChangeEntries(place.directory.fd, *status);
}

Result<void> PosixStore::ProbeMake(const Credentials& who, const FileRef& directory, std::string_view name,
                                   NameUse use) {
  const auto place = Enter(who, directory, name, use);
  if (!place) return tl::unexpected(place.error());
  return ProbeNew(*place, use);
}

Result<void> PosixStore::WouldCreate(const Credentials& who, const FileRef& directory,
                                     std::string_view name) {
  return ProbeMake(who, directory, name, NameUse::kCreate);
}

Result<void> PosixStore::WouldMakeDirectory(const Credentials& who, const FileRef& directory,
                                            std::string_view name) {
  return ProbeMake(who, directory, name, NameUse::kMake);
}

Result<void> PosixStore::WouldMakeNode(const Credentials& who, const FileRef& directory,
                                       std::string_view name, std::uint32_t mode) {
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  if (auto checked = CheckNodeMode(mode); !checked) return checked;
  if (auto probed = ProbeNew(*place, NameUse::kMake); !probed) return probed;
  const bool device = S_ISCHR(mode) || S_ISBLK(mode);
  if (device && place->who.uid != 0) return Fail(EPERM);
  return {};
}

Result<void> PosixStore::WouldSymlink(const Credentials& who, const FileRef& directory, std::string_view name,
                                      const std::string& target) {
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  if (auto checked = CheckLinkTarget(target); !checked) return checked;
  return ProbeNew(*place, NameUse::kMake);
}

Result<void> PosixStore::WouldLink(const Credentials& who, const FileRef& file, const FileRef& directory,
                                   std::string_view name) {
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  if (auto absent = ProbeNew(*place, NameUse::kLookup); !absent) return absent;
  const auto status = StatusOf(target->file.fd);
  if (!status) return tl::unexpected(status.error());
  if (auto may = MayLinkFrom(target->file.fd, *status, place->who); !may) return may;
  const auto directory_status = StatusOf(place->directory.fd);
  if (!directory_status) return tl::unexpected(directory_status.error());
  if (auto may = MayChangeEntries(place->directory.fd, *directory_status); !may) return may;
  if (IsFrozen(*status) || IsDirectory(*status)) return Fail(EPERM);
  if (export_->VisibleLinks(status->stx_nlink, target->file.key) == 0) return Fail(ENOENT);
  return {};
}

Result<void> PosixStore::ProbeRemove(const Credentials& who, const FileRef& directory, std::string_view name,
                                     NameUse use) {
  const bool as_directory = use == NameUse::kRemoveDirectory;
  const auto place = Enter(who, directory, name, use);
  if (!place) return tl::unexpected(place.error());
  if (auto writable = CheckWritable(); !writable) return writable;
  const auto victim = export_->OpenChild(place->directory, place->name);
  if (!victim && victim.error().value == EXDEV) return Fail(as_directory ? EBUSY : EISDIR);  // a mount point
  if (!victim) return tl::unexpected(victim.error());
  const auto directory_status = StatusOf(place->directory.fd);
  const auto status = StatusOf(victim->fd);
  if (!directory_status || !status) return Fail(ESTALE);
  auto may = MayRemoveEntry(place->directory.fd, *directory_status, *status, place->who, as_directory);
  if (!may) return may;
  if (as_directory && !IsEmpty(victim->fd)) return Fail(ENOTEMPTY);
  return {};
}

Result<void> PosixStore::WouldUnlink(const Credentials& who, const FileRef& directory,
                                     std::string_view name) {
  return ProbeRemove(who, directory, name, NameUse::kUnlink);
}

Result<void> PosixStore::WouldRemoveDirectory(const Credentials& who, const FileRef& directory,
                                              std::string_view name) {
  return ProbeRemove(who, directory, name, NameUse::kRemoveDirectory);
}

Result<void> PosixStore::WouldRename(const Credentials& who, const FileRef& directory, std::string_view name,
                                     const FileRef& new_directory, std::string_view new_name,
                                     std::uint32_t flags) {
  if (auto checked = CheckRenameFlags(flags); !checked) return checked;
  const auto from = Enter(who, directory, name, NameUse::kRename);
  if (!from) return tl::unexpected(from.error());
  const auto to = Enter(who, new_directory, new_name,
                        flags == RENAME_NOREPLACE  ? NameUse::kRenameNoReplaceTarget
                        : flags == RENAME_EXCHANGE ? NameUse::kRename
                                                   : NameUse::kRenameTarget);
  if (!to) return tl::unexpected(to.error());
  if (auto writable = CheckWritable(); !writable) return writable;
  return ProbeReplace(*from, *to, flags);
}

// vfs_rename. Both places are entered; the thread acts as the caller.
Result<void> PosixStore::ProbeReplace(const Place& from, const Place& to, std::uint32_t flags) {
  const bool exchange = flags == RENAME_EXCHANGE;
  const auto busy = [](Errno error) { return Fail(error.value == EXDEV ? EBUSY : error.value); };
  // Both directories are searched before either name is looked at.
  for (const Place* place : {&from, &to}) {
    if (auto search = MayAccess(place->directory.fd, X_OK); !search) return search;
  }
  const auto old_fd = export_->OpenChild(from.directory, from.name);
  if (!old_fd) return busy(old_fd.error());
  const auto new_fd = export_->OpenChild(to.directory, to.name);
  if (!new_fd && (new_fd.error().value != ENOENT || exchange)) return busy(new_fd.error());
  if (new_fd && flags == RENAME_NOREPLACE) return Fail(EEXIST);
  const auto old_key = export_->KeyOfFd(old_fd->fd);
  const auto new_key = new_fd ? export_->KeyOfFd(new_fd->fd) : Result<FileKey>(FileKey{});
  const auto old_status = StatusOf(old_fd->fd);
  const auto new_status = new_fd ? StatusOf(new_fd->fd) : Result<Status>(Status{});
  const auto from_status = StatusOf(from.directory.fd);
  const auto to_status = StatusOf(to.directory.fd);
  if (!old_key || !new_key || !old_status || !new_status || !from_status || !to_status) return Fail(ESTALE);
  const bool moves_directory = IsDirectory(*old_status);
  const bool meets_directory = new_fd && IsDirectory(*new_status);

  if (moves_directory && IsBelow(*old_key, to.directory)) return Fail(EINVAL);
  if (meets_directory && IsBelow(*new_key, from.directory)) return Fail(exchange ? EINVAL : ENOTEMPTY);
  if (auto acting = ActAs(from.who); !acting) return acting;
  if (new_fd && *old_key == *new_key) return {};
  auto may = MayRemoveEntry(from.directory.fd, *from_status, *old_status, from.who, moves_directory);
  if (!may) return may;
  may = !new_fd ? MayChangeEntries(to.directory.fd, *to_status)
                : MayRemoveEntry(to.directory.fd, *to_status, *new_status, from.who,
                                 exchange ? meets_directory : moves_directory);
  if (!may) return may;
  if (from.directory.key != to.directory.key) {
    if (moves_directory && !(may = MayAccess(old_fd->fd, W_OK))) return may;
    if (exchange && meets_directory && !(may = MayAccess(new_fd->fd, W_OK))) return may;
  }
  if (meets_directory && !exchange && !IsEmpty(new_fd->fd)) return Fail(ENOTEMPTY);
  return {};
}

// Whether `directory` is `ancestor` or lies below it. Leaves the thread privileged.
bool PosixStore::IsBelow(const FileKey& ancestor, const PathFd& directory) {
  ActAsPrivileged();
  PathFd at = directory;
  while (at.key != ancestor) {
    if (at.key == export_->RootNode().key) return false;
    auto parent = export_->OpenParent(at);
    if (!parent) return false;
    at = std::move(*parent);
  }
  return true;
}

// True also if the server may not look. Leaves the thread privileged.
bool PosixStore::IsEmpty(int directory_fd) {
  ActAsPrivileged();
  UniqueFd fd = export_->Reopen(directory_fd, O_RDONLY | O_DIRECTORY);
  if (!fd) return true;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(fd.Release()), ::closedir);
  if (!listing) return true;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) return false;
  }
  return true;
}

Result<void> PosixStore::WouldSetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) {
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  if (auto writable = CheckWritable(); !writable) return writable;
  const int fd = target->file.fd;
  const auto status = StatusOf(fd);
  if (!status) return tl::unexpected(status.error());
  if (auto may = MayChangeOwner(*status, change, target->who); !may) return may;
  if (auto may = MayChangeMode(*status, change, target->who); !may) return may;
  if (change.Has(attr_mask::kSize)) {
    if (change.size > std::uint64_t{std::numeric_limits<off_t>::max()}) return Fail(EINVAL);
    if (IsDirectory(*status)) return Fail(EISDIR);
    if (!S_ISREG(status->stx_mode)) return Fail(EINVAL);
    if (auto may = ProbeOpen(fd, O_WRONLY); !may) return may;
  }
  return MayChangeTimes(fd, *status, change, target->who);
}

Result<void> PosixStore::ProbeXattr(const Target& target, const Status& status, const std::string& name) {
  const Credentials& who = target.who;
  if (auto owner = CheckPolicyOwner(name, target.file.fd, who); !owner) return owner;
  if (IsFrozen(status)) return Fail(EPERM);
  if (name.starts_with("trusted.") || name.starts_with("security.")) {
    return who.uid == 0 ? Result<void>() : Fail(EPERM);
  }
  if (name.starts_with("system.")) {
    if (name != "system.posix_acl_access" && name != "system.posix_acl_default") return Fail(EOPNOTSUPP);
    if (S_ISLNK(status.stx_mode)) return Fail(EOPNOTSUPP);
    return OwnerOrRoot(status, who) ? Result<void>() : Fail(EPERM);
  }
  if (name.starts_with("user.")) {
    if (!S_ISREG(status.stx_mode) && !IsDirectory(status)) return Fail(EPERM);
    const bool sticky = IsDirectory(status) && (status.stx_mode & S_ISVTX) != 0;
    if (sticky && !OwnerOrRoot(status, who)) return Fail(EPERM);
    return MayAccess(target.file.fd, W_OK);
  }
  if (auto may = MayAccess(target.file.fd, W_OK); !may) return may;
  return Fail(EOPNOTSUPP);
}

bool PosixStore::MayTakeCapabilities(const Target& target, const std::string& name) {
  if (name != "security.capability") return false;
  const auto status = StatusOf(target.file.fd);
  return status && (OwnerOrRoot(*status, target.who) || MayAccess(target.file.fd, W_OK));
}

Result<void> PosixStore::WouldSetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                                       std::string_view value, int flags) {
  if (auto checked = CheckXattr(name, value, flags); !checked) return checked;
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  if (auto writable = CheckWritable(); !writable) return writable;
  const auto status = StatusOf(target->file.fd);
  if (!status) return tl::unexpected(status.error());
  if (auto may = ProbeXattr(*target, *status, name); !may) return may;
  if (flags == 0) return {};
  ActAsPrivileged();
  const bool there = ::getxattr(Export::ProcPath(target->file.fd).c_str(), name.c_str(), nullptr, 0) >= 0;
  if (there && (flags & XATTR_CREATE) != 0) return Fail(EEXIST);
  if (!there && (flags & XATTR_REPLACE) != 0) return Fail(ENODATA);
  return {};
}

Result<void> PosixStore::WouldRemoveXattr(const Credentials& who, const FileRef& file,
                                          const std::string& name) {
  if (auto checked = CheckXattrName(name); !checked) return checked;
  if (name == kCreatorXattr) return Fail(EPERM);
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  if (auto writable = CheckWritable(); !writable) return writable;
  const auto status = StatusOf(target->file.fd);
  if (!status) return tl::unexpected(status.error());
  if (MayTakeCapabilities(*target, name)) {
    if (IsFrozen(*status)) return Fail(EPERM);
  } else if (auto may = ProbeXattr(*target, *status, name); !may) {
    return may;
  }
  ActAsPrivileged();
  if (::getxattr(Export::ProcPath(target->file.fd).c_str(), name.c_str(), nullptr, 0) < 0) return FailErrno();
  return {};
}

// Opening a regular file has no effect but O_TRUNC's: the kernel answers by doing it.
Result<void> PosixStore::ProbeOpen(int fd, int flags) {
  int mode = flags & O_ACCMODE;
  if ((flags & O_TRUNC) != 0 && mode == O_RDONLY) mode = O_RDWR;
  constexpr int kLeaseWouldWait = O_NONBLOCK;
  UniqueFd opened = export_->Reopen(fd, mode | (flags & O_NOATIME) | kLeaseWouldWait);
  if (!opened && errno == EPERM && (flags & O_APPEND) != 0 && (flags & O_TRUNC) == 0) {
    opened = export_->Reopen(fd, mode | (flags & O_NOATIME) | O_APPEND | kLeaseWouldWait);
  }
  if (!opened && errno != EWOULDBLOCK) return FailErrno();
  return {};
}

Result<void> PosixStore::WouldOpen(const Credentials& who, const FileRef& file, int flags) {
  const auto target = Reach(who, file, OpensToChange(flags) ? Purpose::kChange : Purpose::kLook);
  if (!target) return tl::unexpected(target.error());
  const auto status = StatusOf(target->file.fd);
  if (!status) return tl::unexpected(status.error());
  if (auto openable = CheckOpenable(status->stx_mode); !openable) return openable;
  return ProbeOpen(target->file.fd, flags);
}

}  // namespace baton::store
