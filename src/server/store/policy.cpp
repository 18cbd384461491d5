#include "server/store/policy.h"

#include <sys/xattr.h>

#include <array>
#include <string>

#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

constexpr auto kKeepFor = std::chrono::seconds(1);
constexpr std::size_t kMaxRemembered = 65536;

std::optional<std::string> GetValue(int fd, std::string_view name) {
  std::array<char, 256> value;
  const ssize_t size =
      ::getxattr(Export::ProcPath(fd).c_str(), std::string(name).c_str(), value.data(), value.size());
  if (size >= 0) return std::string(value.data(), static_cast<std::size_t>(size));
  if (errno == ERANGE) return std::string(value.size(), '?');  // there, and longer than anything that parses
  return std::nullopt;
}

std::optional<DirectoryClaim> ParseClaim(std::string_view value) {
  if (value == "write") return DirectoryClaim::kWrite;
  if (value == "exclusive") return DirectoryClaim::kExclusive;
  if (value == "none") return DirectoryClaim::kNone;
  return std::nullopt;
}

void AddInstance(int fd, DirectoryPolicy& policy) {
  const auto value = GetValue(fd, kInstanceXattr);
  if (!value) return;
  policy.instance = ParseGuid(*value);
  policy.malformed_instance = !policy.instance;
}

DirectoryPolicy OwnOf(int directory) {
  DirectoryPolicy policy;
  AddInstance(directory, policy);
  if (const auto value = GetValue(directory, kClaimXattr)) policy.claim = ParseClaim(*value);
  if (const auto value = GetValue(directory, kTakeoverXattr)) policy.takeover_any = *value == "any";
  return policy;
}

// Each member from the nearer one if it says something.
DirectoryPolicy Nearest(const DirectoryPolicy& near, const DirectoryPolicy& far) {
  DirectoryPolicy both = far;
  if (near.instance || near.malformed_instance) {
    both.instance = near.instance;
    both.malformed_instance = near.malformed_instance;
  }
  if (near.claim) both.claim = near.claim;
  both.takeover_any = near.takeover_any || far.takeover_any;
  return both;
}

}  // namespace

bool IsPolicyXattr(std::string_view name) {
  return name == kInstanceXattr || name.starts_with(kBatonXattrs);
}

Result<void> CheckPolicyValue(std::string_view name, std::string_view value) {
  if (name == kInstanceXattr && !ParseGuid(value)) return Fail(EINVAL);
  if (name == kClaimXattr && !ParseClaim(value)) return Fail(EINVAL);
  if (name == kTakeoverXattr && value != "any") return Fail(EINVAL);
  return {};
}

void PolicyReader::Forget() {
  const std::lock_guard lock(mutex_);
  ++generation_;
  remembered_.clear();
}

std::optional<DirectoryPolicy> PolicyReader::Find(const FileKey& directory) {
  const std::lock_guard lock(mutex_);
  const auto found = remembered_.find(directory);
  if (found == remembered_.end() || std::chrono::steady_clock::now() - found->second.read >= kKeepFor)
    return {};
  return found->second.policy;
}

std::optional<DirectoryPolicy> PolicyReader::FindByName(const FileKey& file) {
  const auto names = export_.Names().NamesOf(file);
  if (names.empty()) return std::nullopt;
  return Find(names.front().directory);
}

void PolicyReader::Keep(const FileKey& directory, const DirectoryPolicy& policy, std::uint64_t generation) {
  const std::lock_guard lock(mutex_);
  if (generation != generation_) return;
  if (remembered_.size() >= kMaxRemembered) remembered_.clear();
  remembered_.insert_or_assign(directory, Remembered{policy, std::chrono::steady_clock::now()});
}

Result<DirectoryPolicy> PolicyReader::Read(const FileRef& file) {
  auto at = export_.Resolve(file);
  if (!at) return tl::unexpected(at.error());
  if (at->is_directory) return OfDirectory(std::move(*at));
  ActAsPrivileged();
  DirectoryPolicy own;
  AddInstance(at->fd, own);
  if (const auto above = FindByName(at->key)) return Nearest(own, *above);
  auto directory = export_.OpenDirectoryOf(*at);
  if (!directory) return own;  // no name of it is known: an unlinked file, or nobody looked it up
  const auto above = OfDirectory(std::move(*directory));
  if (!above) return above;
  return Nearest(own, *above);
}

Result<DirectoryPolicy> PolicyReader::OfDirectory(PathFd directory) {
  if (const auto kept = Find(directory.key)) return *kept;
  ActAsPrivileged();
  std::uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    generation = generation_;
  }
  const FileKey start = directory.key;
  DirectoryPolicy policy;
  for (;;) {
    policy = Nearest(policy, OwnOf(directory.fd));
    if (directory.key == export_.RootNode().key) break;
    auto parent = export_.OpenDirectoryOf(directory);
    if (!parent) return tl::unexpected(parent.error());
    directory = std::move(*parent);
  }
  Keep(start, policy, generation);
  return policy;
}

}  // namespace baton::store
