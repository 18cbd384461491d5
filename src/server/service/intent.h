// Intents (rule D2): what a request that must not run twice notes in its slot's record before its effect, so
// that the server's next life can tell by the files whether there was one. Noted inside the gate, with the
// names kept still, and under the file's own lock of appends: whatever is found later is this request's
// doing. Values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fields.h"
#include "base/file_key.h"
#include "base/file_ref.h"
#include "base/ids.h"

namespace baton::server {

// FileKey, as it is noted.
struct Identity {
  std::uint64_t ino = 0;
  std::uint64_t handle_hash = 0;
  BATON_FIELDS(ino, handle_hash)

  static Identity Of(const FileKey& key) { return {key.ino, key.handle_hash}; }
  bool Is(const FileKey& key) const { return FileKey{ino, handle_hash} == key; }
};

// A change of what a name stands for, and for RENAME of two.
struct NameIntent {
  Epoch epoch{};  // of the reply
  FileRef directory;
  std::string name;
  std::optional<Identity> file;  // what the name stands for before
  FileRef new_directory;         // RENAME's, as what follows
  std::string new_name;
  std::optional<Identity> new_file;
  BATON_FIELDS(epoch, directory, name, file, new_directory, new_name, new_file)
};

// SETXATTR with XATTR_CREATE and REMOVEXATTR, which would fail a second time.
struct XattrIntent {
  Epoch epoch{};
  FileRef file;
  std::string name;
  BATON_FIELDS(epoch, file, name)
};

// CREATE, behind its intent: what it has made.
struct MadeFile {
  FileRef file;
  BATON_FIELDS(file)
};

// An append: where its bytes go, and how to know them again.
struct AppendIntent {
  FileRef file;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::uint64_t hash = 0;
  std::vector<std::uint16_t> parts;  // the hash of what lies before each page boundary of the file, shortened
  BATON_FIELDS(file, offset, length, hash, parts)
};

AppendIntent IntentToAppend(const FileRef& file, std::uint64_t offset, std::span<const std::byte> data);

// CREATE comes again, and has made its file already; none: it has not.
std::optional<FileRef> MadeBy(std::span<const std::byte> notes);

}  // namespace baton::server
