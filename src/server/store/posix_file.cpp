#include "server/store/posix_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "server/store/attributes.h"
#include "server/store/set_attr.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

constexpr std::uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

iovec Vector(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace

PosixFile::PosixFile(Export& exported, const FileKey& key, const FileHandle& handle, UniqueFd fd,
                     Credentials opener, bool tell_end)
    : export_(exported),
      opener_(std::move(opener)),
      descriptor_(exported.OpenFiles(), key, handle, std::move(fd), tell_end) {}

PosixFile::PosixFile(Export& exported, const FileKey& key, const FileHandle& handle, int flags, Credentials opener,
                     bool tell_end)
    : export_(exported), opener_(std::move(opener)), descriptor_(exported.OpenFiles(), key, handle, flags, tell_end) {}

std::string PosixFile::Path() const {
  const auto use = descriptor_.Enter();
  return use ? export_.PathOf(use->Fd()) : "?";
}

Result<std::size_t> PosixFile::Read(std::span<std::byte> to, std::uint64_t offset) {
  if (offset > kMaxOffset) return Fail(EINVAL);
  const auto use = descriptor_.Enter();
  if (!use) return tl::unexpected(use.error());
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t count =
        ::pread(use->Fd(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && done == 0) return FailErrno();
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<std::size_t> PosixFile::ReadNoWait(std::span<std::byte> to, std::uint64_t offset) {
  if (offset > kMaxOffset) return Fail(EINVAL);
  if (!descriptor_.IsOpen()) return Fail(EAGAIN);
  const auto use = descriptor_.Enter();
  if (!use) return tl::unexpected(use.error());
  const iovec vector = Vector(to);
  const ssize_t count = ::preadv2(use->Fd(), &vector, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  if (count < 0) return Fail(errno == EOPNOTSUPP || errno == EINTR ? EAGAIN : errno);
  const auto got = static_cast<std::size_t>(count);
  if (got == to.size()) return got;
  // Short: the end of the file, or the end of what is in memory.
  const auto status = StatusOf(use->Fd());
  if (!status) return tl::unexpected(status.error());
  if (offset + got < status->stx_size) return Fail(EAGAIN);
  return got;
}

tl::unexpected<Errno> PosixFile::WriteFailed(const Descriptor::Use& use) {
  const int error = errno;
  const bool was_synced = (::fcntl(use.Fd(), F_GETFL) & O_DSYNC) != 0;
  if (error == EIO && was_synced) descriptor_.NoteSyncError(error);
  return Fail(error);
}

// Here and below: entered before the thread acts as the opener, for to open again takes the server's rights.
Result<std::size_t> PosixFile::Write(std::span<const std::byte> from, std::uint64_t offset) {
  if (offset > kMaxOffset) return Fail(EINVAL);
  const auto use = descriptor_.EnterToWrite();
  if (!use) return tl::unexpected(use.error());
  if (auto acting = ActAs(opener_); !acting) return tl::unexpected(acting.error());
  std::size_t done = 0;
  while (done < from.size()) {
    const ssize_t count =
        ::pwrite(use->Fd(), from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && done == 0) return WriteFailed(*use);
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<AppendedAt> PosixFile::WriteAppend(std::span<const std::byte> from) {
  const auto use = descriptor_.EnterToWrite();
  if (!use) return tl::unexpected(use.error());
  if (auto acting = ActAs(opener_); !acting) return tl::unexpected(acting.error());
  const iovec vector = Vector(from);
  const std::lock_guard lock(append_mutex_);
  ssize_t count = 0;
  do {
    count = ::pwritev2(use->Fd(), &vector, 1, -1, RWF_APPEND);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return WriteFailed(*use);
  if (count == 0) {
    const auto status = StatusOf(use->Fd());
    if (!status) return tl::unexpected(status.error());
    return AppendedAt{status->stx_size, 0};
  }
  // The kernel left the position behind the last byte; nobody else moves it.
  const off_t end = ::lseek(use->Fd(), 0, SEEK_CUR);
  if (end < count) return Fail(EIO);
  return AppendedAt{static_cast<std::uint64_t>(end - count), static_cast<std::size_t>(count)};
}

Result<void> PosixFile::Sync(bool data_only) {
  return descriptor_.Sync(data_only);
}

Result<void> PosixFile::Truncate(std::uint64_t size) {
  if (size > kMaxOffset) return Fail(EINVAL);
  const auto use = descriptor_.EnterToWrite();
  if (!use) return tl::unexpected(use.error());
  if (auto acting = ActAs(opener_); !acting) return acting;
  if (::ftruncate(use->Fd(), static_cast<off_t>(size)) != 0) return FailErrno();
  return {};
}

Result<void> PosixFile::Allocate(std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
  constexpr std::uint32_t kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~kKnown) != 0) return Fail(EOPNOTSUPP);
  if (offset > kMaxOffset || length > kMaxOffset) return Fail(EINVAL);
  const auto use = descriptor_.EnterToWrite();
  if (!use) return tl::unexpected(use.error());
  if (auto acting = ActAs(opener_); !acting) return acting;
  int result = 0;
  do {
    result = ::fallocate(use->Fd(), static_cast<int>(mode), static_cast<off_t>(offset),
                         static_cast<off_t>(length));
  } while (result != 0 && errno == EINTR);
  if (result != 0) return WriteFailed(*use);
  return {};
}

Result<std::uint64_t> PosixFile::Seek(std::uint64_t offset, SeekFor what) const {
  if (offset > kMaxOffset) return Fail(ENXIO);
  const auto use = descriptor_.Enter();
  if (!use) return tl::unexpected(use.error());
  const std::lock_guard lock(append_mutex_);
  const off_t found =
      ::lseek(use->Fd(), static_cast<off_t>(offset), what == SeekFor::kData ? SEEK_DATA : SEEK_HOLE);
  if (found < 0) return FailErrno();
  return static_cast<std::uint64_t>(found);
}

Result<std::size_t> PosixFile::CopyFrom(const StoreFile& from, std::uint64_t from_offset,
                                        std::uint64_t to_offset, std::size_t length) {
  if (from_offset > kMaxOffset || to_offset > kMaxOffset) return Fail(EINVAL);
  const auto source = static_cast<const PosixFile&>(from).descriptor_.Enter();
  if (!source) return tl::unexpected(source.error());
  const auto use = descriptor_.EnterToWrite();
  if (!use) return tl::unexpected(use.error());
  if (auto acting = ActAs(opener_); !acting) return tl::unexpected(acting.error());
  auto in = static_cast<off_t>(from_offset);
  auto out = static_cast<off_t>(to_offset);
  ssize_t count = 0;
  do {
    count = ::copy_file_range(source->Fd(), &in, use->Fd(), &out, length, 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return WriteFailed(*use);
  return static_cast<std::size_t>(count);
}

Result<Attr> PosixFile::GetAttr() {
  const auto use = descriptor_.Enter();
  if (!use) return tl::unexpected(use.error());
  return export_.AttrOf(use->Fd(), Key());
}

Result<Attr> PosixFile::SetAttr(const Credentials& who, const AttrChange& change) {
  if (export_.Options().read_only) return Fail(EROFS);
  const auto effective = export_.Effective(who);
  if (!effective) return tl::unexpected(effective.error());
  const auto use = descriptor_.Enter();
  if (!use) return tl::unexpected(use.error());
  if (auto acting = ActAs(*effective); !acting) return tl::unexpected(acting.error());
  if (auto set = SetOwnerAndMode(use->Fd(), export_.ProcFd(), change); !set)
    return tl::unexpected(set.error());
  if (change.Has(attr_mask::kSize)) {
    if (auto cut = Truncate(change.size); !cut) return tl::unexpected(cut.error());
  }
  if (change.Has(kTimes)) {
    if (auto acting = ActAs(*effective); !acting) return tl::unexpected(acting.error());
    if (auto set = SetTimes(use->Fd(), change); !set) return tl::unexpected(set.error());
  }
  return GetAttr();
}

}  // namespace baton::store
