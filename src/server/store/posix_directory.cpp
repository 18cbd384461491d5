// PosixStore: reading directories, without any state between two calls.

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>

#include "server/store/posix_store.h"

namespace baton::store {
namespace {

// linux_dirent64, see getdents(2).
struct RawEntry {
  std::uint64_t ino;
  std::int64_t cookie;
  std::uint16_t size;
  std::uint8_t type;
};
constexpr std::size_t kNameOffset = 19;
constexpr std::size_t kBatch = 32 * 1024;

}  // namespace

struct PosixStore::Listing {
  const Place& place;
  std::size_t room;
  bool with_attr;
  DirectoryPage page;
};

std::optional<ListedEntry> PosixStore::List(const Listing& listing, DirEntry entry) {
  const PathFd& directory = listing.place.directory;
  if (entry.name == "." || entry.name == "..") {
    // What lies above the export is nobody's business.
    if (directory.key == export_->RootNode().key) entry.ino = export_->RootNode().attr.ino;
    return ListedEntry{std::move(entry), std::nullopt};
  }
  if (export_->IsHidden(directory.key, entry.name)) return std::nullopt;
  ListedEntry listed{std::move(entry), std::nullopt};
  if (!listing.with_attr) return listed;
  auto node = NodeAt(Place{directory, listed.entry.name, {}});
  if (node) {
    listed.entry.ino = node->attr.ino;
    listed.entry.type = node->attr.mode & S_IFMT;
    listed.node = std::move(*node);
  } else if (node.error().value == ENOENT || node.error().value == ESTALE) {
    return std::nullopt;
  }
  return listed;
}

// False: no more room.
Result<bool> PosixStore::AddEntries(std::span<const std::byte> bytes, Listing& listing) {
  while (!bytes.empty()) {
    RawEntry raw;
    if (bytes.size() < kNameOffset) return Fail(EIO);
    std::memcpy(&raw, bytes.data(), kNameOffset);
    if (raw.size <= kNameOffset || raw.size > bytes.size()) return Fail(EIO);
    const char* name = reinterpret_cast<const char*>(bytes.data()) + kNameOffset;
    DirEntry entry{std::string(name, ::strnlen(name, raw.size - kNameOffset)), raw.ino,
                   static_cast<std::uint32_t>(DTTOIF(raw.type)), static_cast<std::uint64_t>(raw.cookie)};
    const std::size_t cost = kEntryBytes + entry.name.size() + (listing.with_attr ? kEntryNodeBytes : 0);
    if (cost > listing.room && !listing.page.entries.empty()) return false;
    if (auto listed = List(listing, std::move(entry))) {
      listing.room -= std::min(cost, listing.room);
      listing.page.entries.push_back(std::move(*listed));
    }
    bytes = bytes.subspan(raw.size);
  }
  return true;
}

Result<DirectoryPage> PosixStore::ReadDirectory(const Credentials& who, const FileRef& directory,
                                                std::uint64_t cookie, std::size_t max_bytes, bool with_attr) {
  if (cookie > std::uint64_t{std::numeric_limits<off_t>::max()}) return Fail(EINVAL);
  const auto place = Enter(who, directory, ".", NameUse::kLookup);
  if (!place) return tl::unexpected(place.error());
  const UniqueFd fd = export_->Reopen(place->directory.fd, O_RDONLY | O_DIRECTORY);
  if (!fd) return FailErrno();
  if (::lseek(fd.Get(), static_cast<off_t>(cookie), SEEK_SET) < 0) return FailErrno();
  Listing listing{*place, max_bytes, with_attr, {}};
  alignas(8) std::array<std::byte, kBatch> batch;
  for (;;) {
    const long count = ::syscall(SYS_getdents64, fd.Get(), batch.data(), batch.size());
    if (count < 0) return FailErrno();
    if (count == 0) break;
    const auto more = AddEntries(std::span(batch).first(static_cast<std::size_t>(count)), listing);
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
  }
  return std::move(listing.page);
}

Result<void> PosixStore::SyncDirectory(const Credentials& who, const FileRef& directory, bool data_only) {
  const auto place = Enter(who, directory, ".", NameUse::kLookup);
  if (!place) return tl::unexpected(place.error());
  const UniqueFd fd = export_->Reopen(place->directory.fd, O_RDONLY | O_DIRECTORY);
  if (!fd) return FailErrno();
  if ((data_only ? ::fdatasync(fd.Get()) : ::fsync(fd.Get())) != 0) return FailErrno();
  return {};
}

}  // namespace baton::store
