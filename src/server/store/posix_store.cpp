#include "server/store/posix_store.h"

#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <climits>

#include "server/store/attributes.h"
#include "server/store/posix_file.h"
#include "server/store/set_attr.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

Result<void> Done(int result) {
  if (result != 0) return FailErrno();
  return {};
}

// One that takes more than one system call: it is checked as a whole first, so that it is not refused half
// done.
bool IsCombined(const AttrChange& change) {
  return change.Has(attr_mask::kUid | attr_mask::kGid) + change.Has(attr_mask::kMode) +
             change.Has(attr_mask::kSize) + change.Has(kTimes) >
         1;
}

}  // namespace

Result<void> CheckNodeMode(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case 0:  // means a regular file, mknod(2)
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      return {};
    case S_IFDIR:
      return Fail(EPERM);
    default:
      return Fail(EINVAL);
  }
}

Result<void> CheckRenameFlags(std::uint32_t flags) {
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return Fail(EINVAL);
  if (flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) return Fail(EINVAL);
  return {};
}

Result<void> CheckLinkTarget(const std::string& target) {
  if (target.empty()) return Fail(ENOENT);
  if (target.find('\0') != std::string::npos) return Fail(EINVAL);
  if (target.size() >= PATH_MAX) return Fail(ENAMETOOLONG);
  return {};
}

Result<void> CheckXattrName(const std::string& name) {
  if (name.empty() || name.size() > XATTR_NAME_MAX || name.find('\0') != std::string::npos)
    return Fail(ERANGE);
  return {};
}

Result<void> CheckXattr(const std::string& name, std::string_view value, int flags) {
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) return Fail(EINVAL);
  if (auto checked = CheckXattrName(name); !checked) return checked;
  if (value.size() > XATTR_SIZE_MAX) return Fail(E2BIG);
  if (name == kCreatorXattr) return Fail(EPERM);
  return CheckPolicyValue(name, value);
}

Result<void> CheckPolicyOwner(const std::string& name, int fd, const Credentials& who) {
  if (!IsPolicyXattr(name) || who.uid == 0) return {};
  const auto status = StatusOf(fd);
  if (!status) return tl::unexpected(status.error());
  if (status->stx_uid != who.uid) return Fail(EPERM);
  return {};
}

Result<void> CheckOpenable(std::uint32_t mode) {
  if (S_ISREG(mode)) return {};
  if (S_ISDIR(mode)) return Fail(EISDIR);
  return Fail(S_ISLNK(mode) ? ELOOP : ENXIO);
}

bool OpensToChange(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

tl::expected<std::unique_ptr<PosixStore>, std::string> PosixStore::Open(const std::string& directory,
                                                                        const StoreKey& key,
                                                                        Options options) {
  struct statvfs fs;
  if (::statvfs(directory.c_str(), &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0) options.read_only = true;
  auto exported = Export::Open(directory, key, options);
  if (!exported) return tl::unexpected(exported.error());
  return std::unique_ptr<PosixStore>(new PosixStore(std::move(*exported)));
}

Node PosixStore::Root() {
  Node root = export_->RootNode();
  if (const auto attr = export_->AttrOf(export_->RootFd(), root.key)) root.attr = *attr;
  return root;
}

Result<FileKey> PosixStore::KeyOf(const FileRef& ref) {
  return export_->OpenRef(ref).map([](const OpenedRef& opened) { return opened.key; });
}

Result<PosixStore::Place> PosixStore::Enter(const Credentials& who, const FileRef& directory,
                                            std::string_view name, NameUse use) {
  auto effective = export_->Effective(who);
  if (!effective) return tl::unexpected(effective.error());
  if (use != NameUse::kLookup && export_->Options().read_only) return Fail(EROFS);
  if (auto checked = CheckName(name, use); !checked) return tl::unexpected(checked.error());
  auto at = export_->ResolveDirectory(directory);
  if (!at) return tl::unexpected(at.error());
  if (export_->IsHidden(at->key, name)) return tl::unexpected(HiddenName(use));
  if (auto acting = ActAs(*effective); !acting) return tl::unexpected(acting.error());
  return Place{std::move(*at), std::string(name), std::move(*effective)};
}

Result<PosixStore::Target> PosixStore::Reach(const Credentials& who, const FileRef& file, Purpose purpose) {
  auto effective = export_->Effective(who);
  if (!effective) return tl::unexpected(effective.error());
  if (purpose == Purpose::kChange && export_->Options().read_only) return Fail(EROFS);
  auto at = export_->Resolve(file);
  if (!at) return tl::unexpected(at.error());
  if (auto acting = ActAs(*effective); !acting) return tl::unexpected(acting.error());
  return Target{std::move(*at), std::move(*effective)};
}

Result<Node> PosixStore::NodeAt(const Place& place) {
  const auto child = export_->OpenChild(place.directory, place.name);
  if (!child) return tl::unexpected(child.error());
  auto node = export_->Identify(child->fd);
  if (node && place.name != "." && place.name != "..") {
    export_->Names().Remember(node->key, S_ISDIR(node->attr.mode), place.directory.key, place.name);
  }
  return node;
}

Result<Node> PosixStore::Lookup(const Credentials& who, const FileRef& directory, std::string_view name) {
  const auto place = Enter(who, directory, name, NameUse::kLookup);
  if (!place) return tl::unexpected(place.error());
  return NodeAt(*place);
}

// Of a call that made a name: what it made.
Result<Node> PosixStore::Made(const Place& place, int result) {
  if (result != 0) return FailErrno();
  return NodeAt(place);
}

Result<Node> PosixStore::MakeDirectory(const Credentials& who, const FileRef& directory,
                                       std::string_view name, std::uint32_t mode) {
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  const ThreadUmask umask(place->who.umask);
  return Made(*place, ::mkdirat(place->directory.fd, place->name.c_str(), mode & 07777));
}

Result<Node> PosixStore::MakeNode(const Credentials& who, const FileRef& directory, std::string_view name,
                                  std::uint32_t mode, std::uint64_t device) {
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  if (auto checked = CheckNodeMode(mode); !checked) return tl::unexpected(checked.error());
  const ThreadUmask umask(place->who.umask);
  return Made(*place, ::mknodat(place->directory.fd, place->name.c_str(), mode & (S_IFMT | 07777), device));
}

Result<Node> PosixStore::Symlink(const Credentials& who, const FileRef& directory, std::string_view name,
                                 const std::string& target) {
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  if (auto checked = CheckLinkTarget(target); !checked) return tl::unexpected(checked.error());
  return Made(*place, ::symlinkat(target.c_str(), place->directory.fd, place->name.c_str()));
}

// The kernel links nothing that has lost its last name, but would, if there is a hidden one.
Result<void> PosixStore::HasName(const PathFd& file) {
  if (!export_->Hidden().Has(file.key)) return {};
  const auto attr = export_->AttrOf(file.fd, file.key);
  if (!attr) return tl::unexpected(attr.error());
  return attr->nlink == 0 ? Fail(ENOENT) : Result<void>();
}

Result<Node> PosixStore::Link(const Credentials& who, const FileRef& file, const FileRef& directory,
                              std::string_view name) {
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  const auto place = Enter(who, directory, name, NameUse::kMake);
  if (!place) return tl::unexpected(place.error());
  if (const auto linkable = HasName(target->file); !linkable) return tl::unexpected(linkable.error());
  return Made(*place, ::linkat(export_->ProcFd(), std::to_string(target->file.fd).c_str(),
                               place->directory.fd, place->name.c_str(), AT_SYMLINK_FOLLOW));
}

Result<void> PosixStore::Unlink(const Credentials& who, const FileRef& directory, std::string_view name) {
  const auto place = Enter(who, directory, name, NameUse::kUnlink);
  if (!place) return tl::unexpected(place.error());
  auto victim = export_->Hold(place->directory, place->name);
  if (!victim) return tl::unexpected(victim.error());
  if (export_->WouldLose(*victim)) {
    if (WouldUnlink(who, directory, name)) export_->Keep(*victim);
    if (auto acting = ActAs(place->who); !acting) return acting;
  }
  const bool done = ::unlinkat(place->directory.fd, place->name.c_str(), 0) == 0;
  return Removed(std::move(*victim), done);
}

// Of a call that was to take a name from `victim`, right behind it.
Result<void> PosixStore::Removed(Victim victim, bool done) {
  const int error = errno;
  done ? export_->NameGone(std::move(victim)) : export_->NameStays(std::move(victim));
  return done ? Result<void>() : Fail(error);
}

Result<Node> PosixStore::RemoveDirectory(const Credentials& who, const FileRef& directory,
                                         std::string_view name) {
  const auto place = Enter(who, directory, name, NameUse::kRemoveDirectory);
  if (!place) return tl::unexpected(place.error());
  const auto victim = export_->OpenChild(place->directory, place->name);
  const int result = ::unlinkat(place->directory.fd, place->name.c_str(), AT_REMOVEDIR);
  if (result != 0) return FailErrno();
  if (!victim) return Node();
  auto removed = export_->Identify(victim->fd);
  if (!removed) return Node();
  export_->ForgetDirectory(removed->key);
  if (removed->attr.nlink == 0) export_->DirectoryGone(removed->key);
  return removed;
}

Result<Node> PosixStore::Rename(const Credentials& who, const FileRef& directory, std::string_view name,
                                const FileRef& new_directory, std::string_view new_name,
                                std::uint32_t flags) {
  if (auto checked = CheckRenameFlags(flags); !checked) return tl::unexpected(checked.error());
  const auto from = Enter(who, directory, name, NameUse::kRename);
  if (!from) return tl::unexpected(from.error());
  const auto to = Enter(who, new_directory, new_name,
                        flags == RENAME_NOREPLACE  ? NameUse::kRenameNoReplaceTarget
                        : flags == RENAME_EXCHANGE ? NameUse::kRename
                                                   : NameUse::kRenameTarget);
  if (!to) return tl::unexpected(to.error());
  const auto identify = [&](const Result<PathFd>& child) -> Result<Node> {
    if (!child) return tl::unexpected(child.error());
    return export_->Identify(child->fd);
  };
  const auto moved = identify(export_->OpenChild(from->directory, from->name));
  const auto in_the_way = export_->OpenChild(to->directory, to->name);
  const auto replaced = identify(in_the_way);
  auto victim = flags == 0 ? export_->Hold(to->directory, to->name) : Victim();
  if (!victim) return tl::unexpected(victim.error());
  if (export_->WouldLose(*victim)) {
    if (ProbeReplace(*from, *to, flags)) export_->Keep(*victim);
    if (auto acting = ActAs(from->who); !acting) return tl::unexpected(acting.error());
  }
  const bool done =
      ::renameat2(from->directory.fd, from->name.c_str(), to->directory.fd, to->name.c_str(), flags) == 0;
  if (auto removed = Removed(std::move(*victim), done); !removed) return tl::unexpected(removed.error());
  Renamed(moved, from->directory, from->name, to->directory, to->name);
  if (flags == RENAME_EXCHANGE) Renamed(replaced, to->directory, to->name, from->directory, from->name);
  if (flags != RENAME_EXCHANGE && replaced) export_->ForgetDirectory(replaced->key);
  if (!replaced || !S_ISDIR(replaced->attr.mode)) return Node();
  auto now = identify(in_the_way);
  return now && now->attr.nlink == 0 ? now : Node();
}

void PosixStore::Renamed(const Result<Node>& node, const PathFd& from, const std::string& name,
                         const PathFd& to, const std::string& new_name) {
  if (!node) return;
  export_->Names().Forget(node->key, from.key, name);
  export_->Names().Remember(node->key, S_ISDIR(node->attr.mode), to.key, new_name);
  if (S_ISDIR(node->attr.mode)) policies_.Forget();
}

Result<std::string> PosixStore::ReadLink(const Credentials& who, const FileRef& file) {
  const auto target = Reach(who, file, Purpose::kLook);
  if (!target) return tl::unexpected(target.error());
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::readlinkat(target->file.fd, "", text.data(), text.size());
  if (size < 0)
    return Fail(errno == ENOENT ? EINVAL : errno);  // ENOENT: not a symbolic link, see readlink(2)
  return std::string(text.data(), static_cast<std::size_t>(size));
}

Result<Attr> PosixStore::GetAttr(const Credentials& who, const FileRef& file) {
  if (const auto effective = export_->Effective(who); !effective) return tl::unexpected(effective.error());
  const auto at = export_->Resolve(file);
  if (!at) return tl::unexpected(at.error());
  auto attr = export_->AttrOf(at->fd, at->key);
  if (attr && at->is_directory && attr->nlink == 0) {
    export_->ForgetDirectory(at->key);
    return Fail(ESTALE);
  }
  return attr;
}

Result<Attr> PosixStore::SetAttr(const Credentials& who, const FileRef& file, const AttrChange& change) {
  if (IsCombined(change)) {
    if (auto would = WouldSetAttr(who, file, change); !would) return tl::unexpected(would.error());
  }
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  const int fd = target->file.fd;
  if (auto set = SetOwnerAndMode(fd, export_->ProcFd(), change); !set) return tl::unexpected(set.error());
  if (change.Has(attr_mask::kSize)) {
    if (auto set = SetSize(fd, change.size); !set) return tl::unexpected(set.error());
  }
  if (change.Has(kTimes)) {
    if (auto set = SetTimes(fd, change); !set) return tl::unexpected(set.error());
  }
  return export_->AttrOf(fd, target->file.key);
}

Result<void> PosixStore::Access(const Credentials& who, const FileRef& file, int mode) {
  const auto target = Reach(who, file, Purpose::kLook);
  if (!target) return tl::unexpected(target.error());
  if ((mode & W_OK) != 0 && export_->Options().read_only) return Fail(EROFS);
  const long result = ::syscall(SYS_faccessat2, target->file.fd, "", mode, AT_EMPTY_PATH | AT_EACCESS);
  return Done(static_cast<int>(result));
}

Result<StatFs> PosixStore::GetStatFs(const Credentials& who, const FileRef& file) {
  if (const auto effective = export_->Effective(who); !effective) return tl::unexpected(effective.error());
  if (const auto key = KeyOf(file); !key) return tl::unexpected(key.error());
  struct statvfs fs;
  if (::fstatvfs(export_->RootFd(), &fs) != 0) return FailErrno();
  StatFs reply;
  reply.blocks = fs.f_blocks;
  reply.bfree = fs.f_bfree;
  reply.bavail = fs.f_bavail;
  reply.files = fs.f_files;
  reply.ffree = fs.f_ffree;
  reply.bsize = static_cast<std::uint32_t>(fs.f_bsize);
  reply.frsize = static_cast<std::uint32_t>(fs.f_frsize);
  reply.namelen = static_cast<std::uint32_t>(fs.f_namemax);
  return reply;
}

Result<std::string> PosixStore::GetXattr(const Credentials& who, const FileRef& file,
                                         const std::string& name) {
  if (auto checked = CheckXattrName(name); !checked) return tl::unexpected(checked.error());
  if (name == kCreatorXattr) return Fail(ENODATA);
  const auto target = Reach(who, file, Purpose::kLook);
  if (!target) return tl::unexpected(target.error());
  const std::string path = Export::ProcPath(target->file.fd);
  std::string value(256, '\0');
  ssize_t size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (size < 0 && errno == ERANGE) {
    value.resize(XATTR_SIZE_MAX);
    size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
  }
  if (size < 0) return FailErrno();
  value.resize(static_cast<std::size_t>(size));
  return value;
}

Result<std::string> PosixStore::ListXattr(const Credentials& who, const FileRef& file) {
  const auto target = Reach(who, file, Purpose::kLook);
  if (!target) return tl::unexpected(target.error());
  std::string names(XATTR_LIST_MAX, '\0');
  const ssize_t size = ::listxattr(Export::ProcPath(target->file.fd).c_str(), names.data(), names.size());
  if (size < 0) return FailErrno();
  names.resize(static_cast<std::size_t>(size));
  const std::string hidden = std::string(kCreatorXattr) + '\0';
  for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
    if (names.compare(at, hidden.size(), hidden) != 0) continue;
    names.erase(at, hidden.size());
    break;
  }
  return names;
}

Result<void> PosixStore::SetXattr(const Credentials& who, const FileRef& file, const std::string& name,
                                  std::string_view value, int flags) {
  if (auto checked = CheckXattr(name, value, flags); !checked) return checked;
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  const int fd = target->file.fd;
  if (auto owner = CheckPolicyOwner(name, fd, target->who); !owner) return owner;
  const auto done =
      Done(::setxattr(Export::ProcPath(fd).c_str(), name.c_str(), value.data(), value.size(), flags));
  if (done && IsPolicyXattr(name)) policies_.Forget();
  return done;
}

Result<void> PosixStore::RemoveXattr(const Credentials& who, const FileRef& file, const std::string& name) {
  if (auto checked = CheckXattrName(name); !checked) return checked;
  if (name == kCreatorXattr) return Fail(EPERM);
  const auto target = Reach(who, file, Purpose::kChange);
  if (!target) return tl::unexpected(target.error());
  if (auto owner = CheckPolicyOwner(name, target->file.fd, target->who); !owner) return owner;
  if (MayTakeCapabilities(*target, name)) BecomeServer();
  const auto done = Done(::removexattr(Export::ProcPath(target->file.fd).c_str(), name.c_str()));
  if (done && IsPolicyXattr(name)) policies_.Forget();
  return done;
}

// The kernel runs programs that their user may not read. Leaves the thread privileged.
UniqueFd PosixStore::OpenToExecute(int fd) {
  if (::syscall(SYS_faccessat2, fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) != 0) return {};
  ActAsPrivileged();
  return export_->Reopen(fd, O_RDONLY);
}

Result<std::shared_ptr<StoreFile>> PosixStore::Open(const Credentials& who, const FileRef& file, int flags) {
  const auto opened = export_->OpenRef(file);
  if (!opened) return tl::unexpected(opened.error());
  const auto lock = export_->Hidden().LockFile(opened->key.handle_hash);
  const auto target = Reach(who, file, OpensToChange(flags) ? Purpose::kChange : Purpose::kLook);
  if (!target) return tl::unexpected(target.error());
  const auto status = StatusOf(target->file.fd);
  if (!status) return tl::unexpected(status.error());
  if (auto openable = CheckOpenable(status->stx_mode); !openable) return tl::unexpected(openable.error());
  UniqueFd fd = export_->Reopen(target->file.fd, flags & kOpenFlags);
  // A file with the append-only attribute opens for nothing but appending.
  if (!fd && errno == EPERM && (flags & O_APPEND) != 0) {
    fd = export_->Reopen(target->file.fd, (flags & kOpenFlags) | O_APPEND);
  }
  if (!fd && errno == EACCES && (flags & (kToExecute | O_ACCMODE | O_TRUNC)) == kToExecute) {
    fd = OpenToExecute(target->file.fd);
  }
  if (!fd) return FailErrno();
  const bool tell_end = status->stx_nlink == 0 || export_->Hidden().Has(opened->key);
  return std::make_shared<PosixFile>(*export_, opened->key, opened->handle, std::move(fd), target->who,
                                     tell_end);
}

Result<CreatedFile> PosixStore::Create(const Credentials& who, const FileRef& directory,
                                       std::string_view name, int flags, std::uint32_t mode) {
  const auto place = Enter(who, directory, name, NameUse::kCreate);
  if (!place) return tl::unexpected(place.error());
  return CreateAt(*place, flags, mode);
}

Result<CreatedFile> PosixStore::CreateAt(const Place& place, int flags, std::uint32_t mode) {
  open_how how{};
  how.flags =
      static_cast<std::uint64_t>((flags & kOpenFlags & ~O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC);
  how.mode = mode & 07777;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const ThreadUmask umask(place.who.umask);
  UniqueFd fd = export_->WithRoom([&] {
    return UniqueFd(
        static_cast<int>(::syscall(SYS_openat2, place.directory.fd, place.name.c_str(), &how, sizeof how)));
  });
  if (!fd) return FailErrno();
  auto node = export_->Identify(fd.Get());
  if (!node) return tl::unexpected(node.error());
  export_->Names().Remember(node->key, false, place.directory.key, place.name);
  const auto handle = GetHandle(fd.Get());
  if (!handle) return tl::unexpected(handle.error());
  auto file = std::make_shared<PosixFile>(*export_, node->key, handle->handle, std::move(fd), place.who);
  return CreatedFile{std::move(*node), std::move(file)};
}

Result<DirectoryPolicy> PosixStore::PolicyOf(const FileRef& file) {
  return policies_.Read(file);
}

std::string PosixStore::PathOf(const FileRef& file) {
  const auto found = export_->Resolve(file);
  return found ? export_->PathOf(found->fd) : "?";
}

}  // namespace baton::store
