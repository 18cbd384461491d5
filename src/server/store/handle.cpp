#include "server/store/handle.h"

#include <sodium.h>

#include <cstring>
#include <span>

namespace baton::store {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::uint8_t kDirectoryBit = 0x80;

struct [[gnu::packed]] Header {
  std::uint8_t format;
  std::int32_t type;
  std::uint64_t ino;
};

constexpr std::size_t kCodeBytes = crypto_shorthash_BYTES;
static_assert(crypto_shorthash_KEYBYTES == sizeof(StoreKey));
static_assert(sizeof(Header) + MAX_HANDLE_SZ + kCodeBytes <= FileRef::kCapacity);

using Code = std::array<std::byte, kCodeBytes>;

Code Hash(std::span<const std::byte> bytes, const StoreKey& key) {
  Code code;
  crypto_shorthash(reinterpret_cast<unsigned char*>(code.data()),
                   reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                   reinterpret_cast<const unsigned char*>(key.data()));
  return code;
}

}  // namespace

namespace {

Result<HandleAt> GetHandle(int directory, const char* name, int flags) {
  HandleAt at;
  at.handle.Raw()->handle_bytes = MAX_HANDLE_SZ;
  if (::name_to_handle_at(directory, name, at.handle.Raw(), &at.mount, flags) != 0) return FailErrno();
  return at;
}

}  // namespace

Result<HandleAt> GetHandle(int fd) {
  return GetHandle(fd, "", AT_EMPTY_PATH);
}

Result<HandleAt> GetHandle(int directory, const char* name) {
  return GetHandle(directory, name, 0);
}

FileRef RefCodec::Make(const FileHandle& handle, std::uint64_t ino, bool is_directory) const {
  std::array<std::byte, FileRef::kCapacity> bytes;
  const file_handle* raw = handle.Raw();
  Header header{kFormat, raw->handle_type, ino};
  if (is_directory) header.format |= kDirectoryBit;
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, raw->f_handle, raw->handle_bytes);
  const std::size_t signed_bytes = sizeof header + raw->handle_bytes;
  const Code code = Hash(std::span(bytes).first(signed_bytes), key_);
  std::memcpy(bytes.data() + signed_bytes, code.data(), code.size());
  return FileRef(std::span(bytes).first(signed_bytes + code.size()));
}

std::optional<OpenedRef> RefCodec::Open(const FileRef& ref) const {
  const auto bytes = ref.Bytes();
  if (bytes.size() < sizeof(Header) + kCodeBytes) return std::nullopt;
  const auto body = bytes.first(bytes.size() - kCodeBytes);
  const Code code = Hash(body, key_);
  if (sodium_memcmp(code.data(), bytes.data() + body.size(), code.size()) != 0) return std::nullopt;
  Header header;
  std::memcpy(&header, body.data(), sizeof header);
  if ((header.format & ~kDirectoryBit) != kFormat) return std::nullopt;
  OpenedRef opened;
  file_handle* raw = opened.handle.Raw();
  raw->handle_type = header.type;
  raw->handle_bytes = static_cast<unsigned>(body.size() - sizeof header);
  if (raw->handle_bytes > MAX_HANDLE_SZ) return std::nullopt;
  std::memcpy(raw->f_handle, body.data() + sizeof header, raw->handle_bytes);
  opened.key = KeyOf(opened.handle, header.ino);
  opened.is_directory = (header.format & kDirectoryBit) != 0;
  return opened;
}

// A fixed key: the hash only tells apart successive owners of one inode number, and must be the same for
// every server.
FileKey RefCodec::KeyOf(const FileHandle& handle, std::uint64_t ino) {
  const file_handle* raw = handle.Raw();
  const auto* begin = reinterpret_cast<const std::byte*>(raw->f_handle);
  const Code code = Hash(std::span(begin, raw->handle_bytes), StoreKey{});
  FileKey key{ino, 0};
  std::memcpy(&key.handle_hash, code.data(), sizeof key.handle_hash);
  return key;
}

}  // namespace baton::store
