// PosixStore: what a server asks that was started again (rule D2).
#include <fcntl.h>
#include <sys/stat.h>

#include "server/store/attributes.h"
#include "server/store/posix_file.h"
#include "server/store/posix_store.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

// A server that is not root owns the file, and may still not open it as its mode is.
UniqueFd OpenOwn(Export& exported, int fd, std::uint32_t mode, int flags) {
  const std::string path = Export::ProcPath(fd);
  if (::chmod(path.c_str(), (mode & 07777) | S_IRUSR | S_IWUSR) != 0) return {};
  UniqueFd opened = exported.Reopen(fd, flags);
  const int error = errno;
  if (::chmod(path.c_str(), mode & 07777) != 0) return {};
  errno = error;
  return opened;
}

}  // namespace

// A handle that cannot be opened names nothing any more; a name may only be unknown.
int PosixStore::GoneOr(int error) const {
  return error == ESTALE && export_->OpensByHandle() ? ENOENT : error;
}

Result<Node> PosixStore::Find(const FileRef& directory, std::string_view name) {
  if (auto checked = CheckName(name, NameUse::kLookup); !checked) return tl::unexpected(checked.error());
  auto at = export_->ResolveDirectory(directory);
  if (!at) return Fail(GoneOr(at.error().value));
  ActAsPrivileged();
  return NodeAt({std::move(*at), std::string(name), {}});
}

Result<std::shared_ptr<StoreFile>> PosixStore::OpenAgain(const Credentials& who, const FileRef& file,
                                                         int flags) {
  auto opener = export_->Effective(who);
  if (!opener) return tl::unexpected(opener.error());
  if (OpensToChange(flags) && export_->Options().read_only) return Fail(EROFS);
  const auto at = export_->Resolve(file);
  if (!at) return Fail(GoneOr(at.error().value));
  const auto status = StatusOf(at->fd);
  if (!status) return tl::unexpected(status.error());
  if (auto openable = CheckOpenable(status->stx_mode); !openable) return tl::unexpected(openable.error());
  ActAsPrivileged();
  const int kept = flags & kOpenFlags & ~O_TRUNC;
  UniqueFd fd = export_->Reopen(at->fd, kept);
  if (!fd && errno == EPERM) fd = export_->Reopen(at->fd, kept | O_APPEND);
  if (!fd && errno == EACCES) fd = OpenOwn(*export_, at->fd, status->stx_mode, kept);
  if (!fd) return FailErrno();
  const auto opened = export_->OpenRef(file);
  const auto lock = export_->Hidden().LockFile(opened->key.handle_hash);
  return std::make_shared<PosixFile>(*export_, opened->key, opened->handle, std::move(fd), std::move(*opener),
                                     export_->Hidden().Has(opened->key));
}

Result<std::shared_ptr<StoreFile>> PosixStore::OpenWhenUsed(const Credentials& who, const FileRef& file,
                                                            int flags) {
  if (!export_->OpenFiles().ClosesFiles()) return OpenAgain(who, file, flags);
  auto opener = export_->Effective(who);
  if (!opener) return tl::unexpected(opener.error());
  const auto opened = export_->OpenRef(file);
  if (!opened) return tl::unexpected(opened.error());
  const auto lock = export_->Hidden().LockFile(opened->key.handle_hash);
  return std::make_shared<PosixFile>(*export_, opened->key, opened->handle, flags & kOpenFlags & ~O_TRUNC,
                                     std::move(*opener), export_->Hidden().Has(opened->key));
}

}  // namespace baton::store
