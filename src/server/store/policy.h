// PolicyReader: what the extended attributes of a file and the directories above it say (rules I2(d), O2).
// Read with the server's own rights. Remembers the answer for each directory for a second at most, and
// forgets everything when such an attribute changes or a directory is renamed through the store. Any thread.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "server/store/export.h"

namespace baton::store {

bool IsPolicyXattr(std::string_view name);
// EINVAL: this value would say nothing.
Result<void> CheckPolicyValue(std::string_view name, std::string_view value);

class PolicyReader {
 public:
  explicit PolicyReader(Export& exported) : export_(exported) {}

  Result<DirectoryPolicy> Read(const FileRef& file);
  void Forget();

 private:
  using Tick = std::chrono::steady_clock::time_point;
  struct Remembered {
    DirectoryPolicy policy;
    Tick read;
  };

  Result<DirectoryPolicy> OfDirectory(PathFd directory);
  std::optional<DirectoryPolicy> Find(const FileKey& directory);
  std::optional<DirectoryPolicy> FindByName(const FileKey& file);
  void Keep(const FileKey& directory, const DirectoryPolicy& policy, std::uint64_t generation);

  Export& export_;
  std::mutex mutex_;
  std::uint64_t generation_ = 0;  // rises with every Forget: an answer read before it is not kept
  std::unordered_map<FileKey, Remembered> remembered_;
};

}  // namespace baton::store
