// PosixFile: an open file of the PosixStore. Positions are always explicit but for appends, which use the
// descriptor's own under a mutex to learn where the bytes went, and seeks, which move it. Any thread.
#pragma once

#include <memory>
#include <mutex>

#include "server/store/backing_store.h"
#include "server/store/export.h"

namespace baton::store {

class PosixFile final : public StoreFile {
 public:
  // `opener` is already squashed.
  PosixFile(Export& exported, const Node& node, UniqueFd fd, Credentials opener);
  ~PosixFile() override;

  const FileRef& Ref() const override { return ref_; }
  const FileKey& Key() const override { return key_; }
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
  int Fd() const { return fd_->Get(); }

  Export& export_;
  const FileRef ref_;
  const FileKey key_;
  const Credentials opener_;
  std::shared_ptr<const UniqueFd> fd_;
  mutable std::mutex append_mutex_;  // whoever moves the descriptor's position
};

}  // namespace baton::store
