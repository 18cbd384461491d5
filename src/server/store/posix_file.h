// PosixFile: an open file of the PosixStore. Positions are always explicit but for appends, which use the
// descriptor's own under a mutex to learn where the bytes went, and seeks, which move it; so it may be closed
// and opened again between two calls (DescriptorCache). Any thread.
#pragma once

#include <mutex>

#include "base/small_mutex.h"
#include "server/store/backing_store.h"
#include "server/store/descriptor_cache.h"
#include "server/store/export.h"

namespace baton::store {

class PosixFile final : public StoreFile {
 public:
  // `opener` is already squashed. `tell_end`: as for DescriptorCache.
  PosixFile(Export& exported, const FileKey& key, const FileHandle& handle, UniqueFd fd, Credentials opener,
            bool tell_end = false);
  // Opened with these flags when it is first used. Requires that the cache closes files.
  PosixFile(Export& exported, const FileKey& key, const FileHandle& handle, int flags, Credentials opener, bool tell_end);

  FileRef Ref() const override { return export_.RefOf(descriptor_.Handle(), Key()); }
  const FileKey& Key() const override { return descriptor_.Key(); }
  std::string Path() const override;
  Result<std::size_t> Read(std::span<std::byte> to, std::uint64_t offset) override;
  Result<std::size_t> ReadNoWait(std::span<std::byte> to, std::uint64_t offset) override;
  Result<std::size_t> Write(std::span<const std::byte> from, std::uint64_t offset) override;
  Result<AppendedAt> WriteAppend(std::span<const std::byte> from) override;
  Result<void> Sync(bool data_only) override;
  Result<void> Truncate(std::uint64_t size) override;
  Result<void> Allocate(std::uint32_t mode, std::uint64_t offset, std::uint64_t length) override;
  Result<std::uint64_t> Seek(std::uint64_t offset, SeekFor what) const override;
  Result<std::size_t> CopyFrom(const StoreFile& from, std::uint64_t from_offset, std::uint64_t to_offset,
                               std::size_t length) override;
  Result<Attr> GetAttr() override;
  Result<Attr> SetAttr(const Credentials& who, const AttrChange& change) override;

 private:
  // errno, of a write.
  tl::unexpected<Errno> WriteFailed(const Descriptor::Use& use);

  Export& export_;
  const Credentials opener_;
  mutable Descriptor descriptor_;
  mutable SmallMutex append_mutex_;  // whoever moves the descriptor's position
};

}  // namespace baton::store
