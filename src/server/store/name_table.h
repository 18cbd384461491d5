// NameTable: the names under which files were last seen, to find a file again where handles cannot be opened
// (a server that is not root) and to find the directory that a file is in. A hint, never trusted: who opens a
// path from it compares the handle. Bounded: the least recently used entries go first (about 200 bytes each).
// Any thread.
#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file_key.h"

namespace baton::store {

struct SeenName {
  FileKey directory;
  std::string name;
  friend bool operator==(const SeenName&, const SeenName&) = default;
};

class NameTable {
 public:
  NameTable(const FileKey& root, std::size_t capacity) : root_(root), capacity_(capacity) {}

  // A file with several links keeps its kMaxNames latest names; a directory has one.
  void Remember(const FileKey& file, bool is_directory, const FileKey& directory, std::string_view name);
  void Forget(const FileKey& file, const FileKey& directory, std::string_view name);
  void Forget(const FileKey& file);

  // The latest first; empty if the file is unknown.
  std::vector<SeenName> NamesOf(const FileKey& file);
  // The names from the root down to `directory`; nothing if one on the way is unknown.
  std::optional<std::vector<std::string>> PathOf(const FileKey& directory);
  std::size_t Size() const;

  static constexpr std::size_t kMaxNames = 8;

 private:
  struct Entry {
    FileKey file;
    std::vector<SeenName> names;  // the latest first
  };
  using Order = std::list<Entry>;  // the most recently used first

  Entry* Find(const FileKey& file);

  const FileKey root_;
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  Order order_;
  std::unordered_map<FileKey, Order::iterator> index_;
};

}  // namespace baton::store
