// HiddenLinks: the directory `.baton` at the export's root, in which a regular file that is open has a link
// when it has lost all its names (rule D2): a server that was killed finds it again by its handle. It knows
// which files are there; that no client sees the directory is the Export's business, and who has a file open
// the DescriptorCache's.
//
// Whoever changes the link of a file, or counts the file's links, holds the file's lock, which also orders
// opens and the loss of names. A link is called after the file's key, and what is called otherwise is never
// touched. Any thread. What makes or removes links leaves the thread with the server's rights.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_set>
#include <vector>

#include "base/file_key.h"
#include "base/unique_fd.h"

namespace baton::store {

class HiddenLinks {
 public:
  static constexpr std::string_view kDirectory = ".baton";

  // Descriptors of the export's root and of /proc/self/fd, which outlive this.
  HiddenLinks(int root_fd, int proc_fd) : root_fd_(root_fd), proc_fd_(proc_fd) {}

  // Finds what an earlier life of the server left. The error is for the operator: the name is taken.
  tl::expected<void, std::string> Load();

  bool HasDirectory() const { return directory_ino_.load() != 0; }
  bool IsDirectory(const FileKey& file) const;
  bool Has(const FileKey& file) const;
  std::vector<FileKey> All() const;

  using Lock = std::unique_lock<std::mutex>;
  Lock LockFile(std::uint64_t handle_hash) { return Lock(locks_[handle_hash % kLocks]); }

  // All below: with the file's lock.

  // `fd` has it open, perhaps O_PATH. False: it could not be linked (errno).
  bool Make(const FileKey& file, int fd);
  enum class Removed { kHasNames, kGone, kFailed };
  // Of one that Has: whether it has other names.
  Removed Remove(const FileKey& file);
  // O_PATH, with the thread's present rights.
  UniqueFd Open(const FileKey& file) const;

  // A file has lost its last name and has no link here: at most one line a minute.
  void TellOfLoss(int error);

 private:
  static constexpr std::size_t kLocks = 64;
  using Directory = std::shared_ptr<const UniqueFd>;

  Directory Present() const;
  Directory OpenOrMake();
  tl::expected<Directory, std::string> Adopt(UniqueFd directory);
  void Put(const FileKey& file);
  void Take(const FileKey& file);

  const int root_fd_;
  const int proc_fd_;
  std::array<std::mutex, kLocks> locks_;
  std::atomic<std::size_t> count_{0};  // of links_, for whoever asks while there are none
  std::atomic<std::uint64_t> directory_ino_{0};

  mutable std::mutex mutex_;
  Directory directory_;  // none yet, as long as no file needed it
  FileKey directory_key_{};
  std::unordered_set<FileKey> links_;
  std::chrono::steady_clock::time_point told_{};
};

}  // namespace baton::store
