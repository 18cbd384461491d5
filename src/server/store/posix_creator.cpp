// PosixStore: lock files that know who created them (rule X1).

#include <fcntl.h>
#include <linux/fs.h>
#include <sodium.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>

#include "base/log.h"
#include "base/text.h"
#include "server/store/attributes.h"
#include "server/store/posix_store.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

const std::string kXattr(kCreatorXattr);
constexpr std::size_t kMaxValue = 512;

// "GUID EPOCH NAME"
std::string TextOf(const Creator& creator) {
  return ToString(creator.guid) + ' ' + std::to_string(Raw(creator.epoch)) + ' ' + creator.name;
}

std::optional<Creator> ParseCreator(std::string_view text) {
  const std::size_t first = text.find(' ');
  const std::size_t second = first == text.npos ? first : text.find(' ', first + 1);
  if (second == text.npos) return std::nullopt;
  const auto guid = ParseGuid(text.substr(0, first));
  const std::string_view number = text.substr(first + 1, second - first - 1);
  std::uint64_t epoch = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), epoch);
  if (!guid || error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return Creator{*guid, Epoch{epoch}, std::string(text.substr(second + 1))};
}

bool SetCreator(int fd, const std::string& value) {
  const std::string path = Export::ProcPath(fd);
  ActAsPrivileged();
  if (::setxattr(path.c_str(), kXattr.c_str(), value.data(), value.size(), 0) == 0) return true;
  // A server that is not root may not write to a file that was created read-only, but it owns it.
  struct stat status {};
  if (errno != EACCES || ::stat(path.c_str(), &status) != 0) return false;
  const mode_t mode = status.st_mode & 07777;
  if (::chmod(path.c_str(), mode | S_IWUSR) != 0) return false;
  const bool set = ::setxattr(path.c_str(), kXattr.c_str(), value.data(), value.size(), 0) == 0;
  const int error = errno;
  if (::chmod(path.c_str(), mode) != 0) return false;
  errno = error;
  return set;
}

std::string FreshName() {
  std::array<unsigned char, 16> random;
  ::randombytes_buf(random.data(), random.size());
  std::array<char, 2 * random.size() + 1> text;
  ::sodium_bin2hex(text.data(), text.size(), random.data(), random.size());
  return std::string(".baton-new-") + text.data();
}

}  // namespace

Result<CreatedFile> PosixStore::CreateBy(const Credentials& who, const FileRef& directory,
                                         std::string_view name, int flags, std::uint32_t mode,
                                         const Creator& creator, bool replace) {
  const auto place = Enter(who, directory, name, NameUse::kCreate);
  if (!place) return tl::unexpected(place.error());
  if (replace) return ReplaceAt(*place, flags, mode, creator);
  auto created = CreateAt(*place, flags, mode);
  if (created) Mark(created->node, creator);
  return created;
}

// In one step: the new file is made under a name that nobody knows, then renamed over the old one.
Result<CreatedFile> PosixStore::ReplaceAt(const Place& place, int flags, std::uint32_t mode,
                                          const Creator& creator) {
  const auto child = export_->OpenChild(place.directory, place.name);
  if (!child) return tl::unexpected(child.error());
  const auto replaced = export_->Identify(child->fd);
  if (!replaced) return tl::unexpected(replaced.error());
  const Place fresh{place.directory, FreshName(), place.who};
  auto created = CreateAt(fresh, flags, mode);
  if (!created) return created;
  Mark(created->node, creator);
  const Result<void> renamed = RenameOver(fresh, place);
  export_->Names().Forget(created->node.key, place.directory.key, fresh.name);
  if (!renamed) {
    ::unlinkat(place.directory.fd, fresh.name.c_str(), 0);
    return tl::unexpected(renamed.error());
  }
  export_->Names().Remember(created->node.key, false, place.directory.key, place.name);
  export_->Names().Forget(replaced->key, place.directory.key, place.name);
  return created;
}

Result<void> PosixStore::RenameOver(const Place& from, const Place& to) {
  if (auto acting = ActAs(to.who); !acting) return acting;
  auto victim = export_->Hold(to.directory, to.name);
  if (!victim) return tl::unexpected(victim.error());
  if (export_->WouldLose(*victim)) {
    if (ProbeReplace(from, to, 0)) export_->Keep(*victim);
    if (auto acting = ActAs(to.who); !acting) return acting;
  }
  const bool done =
      ::renameat2(from.directory.fd, from.name.c_str(), to.directory.fd, to.name.c_str(), 0) == 0;
  return Removed(std::move(*victim), done);
}

// A file without its creator is an ordinary one: nobody replaces it.
void PosixStore::Mark(const Node& node, const Creator& creator) {
  const auto file = export_->Resolve(node.ref);
  if (file && SetCreator(file->fd, TextOf(creator))) return;
  const std::string why = std::strerror(file ? errno : file.error().value);
  if (told_of_unmarked_.exchange(true)) return;
  log::Warn(
      "the lock file '{}' of instance {} cannot be marked as its own ({}): a later incarnation will find it "
      "in its way. "
      "Told once",
      Printable(creator.name), ToString(creator.guid), why);
}

Result<std::optional<Creator>> PosixStore::CreatorOf(const FileRef& file) {
  const auto at = export_->Resolve(file);
  if (!at) return tl::unexpected(at.error());
  ActAsPrivileged();
  std::array<char, kMaxValue> value;
  const ssize_t size =
      ::getxattr(Export::ProcPath(at->fd).c_str(), kXattr.c_str(), value.data(), value.size());
  // No such attribute, none at all in this file system, not a regular file, or not ours: none.
  if (size < 0) return std::optional<Creator>();
  return ParseCreator({value.data(), static_cast<std::size_t>(size)});
}

Result<void> PosixStore::ForgetCreator(const FileRef& file) {
  const auto at = export_->Resolve(file);
  if (!at) return tl::unexpected(at.error());
  ActAsPrivileged();
  if (::removexattr(Export::ProcPath(at->fd).c_str(), kXattr.c_str()) != 0 && errno != ENODATA)
    return FailErrno();
  return {};
}

}  // namespace baton::store
