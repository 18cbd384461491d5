// Persistent file handles (name_to_handle_at(2)) and the references made of them: format byte, handle type,
// inode number, handle, and a SipHash-2-4 code over all of it with the server's key, so that a client can
// only show what it was given (rule A3). Immutable after construction; any thread.
#pragma once

#include <fcntl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/file_key.h"
#include "base/file_ref.h"
#include "base/result.h"

namespace baton::store {

using StoreKey = std::array<std::byte, 16>;

// struct file_handle with room for the largest handle there is.
struct FileHandle {
  alignas(file_handle) std::array<std::byte, sizeof(file_handle) + MAX_HANDLE_SZ> bytes;

  file_handle* Raw() { return reinterpret_cast<file_handle*>(bytes.data()); }
  const file_handle* Raw() const { return reinterpret_cast<const file_handle*>(bytes.data()); }
};

struct HandleAt {
  FileHandle handle;
  int mount = 0;
};

// The handle of an open (or O_PATH) descriptor. EOPNOTSUPP: the file system has none.
Result<HandleAt> GetHandle(int fd);
// Of what has the name in the directory; follows no symbolic link.
Result<HandleAt> GetHandle(int directory, const char* name);

struct OpenedRef {
  FileHandle handle;
  FileKey key;
  bool is_directory = false;
};

class RefCodec {
 public:
  explicit RefCodec(const StoreKey& key) : key_(key) {}

  FileRef Make(const FileHandle& handle, std::uint64_t ino, bool is_directory) const;
  // Nothing if the bytes were not made by Make with this key.
  std::optional<OpenedRef> Open(const FileRef& ref) const;

  static FileKey KeyOf(const FileHandle& handle, std::uint64_t ino);

 private:
  StoreKey key_;
};

}  // namespace baton::store
