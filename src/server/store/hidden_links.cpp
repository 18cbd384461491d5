#include "server/store/hidden_links.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "server/store/attributes.h"
#include "server/store/handle.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

constexpr auto kTellEvery = std::chrono::minutes(1);
constexpr std::size_t kDigits = 16;  // of each half of a key
const std::string kName(HiddenLinks::kDirectory);

std::string NameOf(const FileKey& file) {
  return fmt::format("{:016x}{:016x}", file.ino, file.handle_hash);
}

std::optional<FileKey> ParseName(std::string_view name) {
  if (name.size() != 2 * kDigits) return std::nullopt;
  FileKey file;
  const auto read = [](std::string_view text, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (!read(name.substr(0, kDigits), file.ino) || !read(name.substr(kDigits), file.handle_hash))
    return std::nullopt;
  if (NameOf(file) != name) return std::nullopt;
  return file;
}

UniqueFd OpenPathAt(int directory, const std::string& name, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_PATH | O_NOFOLLOW | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how)));
}

Result<FileKey> KeyOf(int fd) {
  const auto status = StatusOf(fd);
  const auto at = GetHandle(fd);
  if (!status || !at) return Fail(ESTALE);
  return RefCodec::KeyOf(at->handle, status->stx_ino);
}

bool IsFile(int fd, const FileKey& file) {
  const auto key = KeyOf(fd);
  return key && *key == file;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

bool HiddenLinks::IsDirectory(const FileKey& file) const {
  if (directory_ino_.load() != file.ino) return false;
  const std::lock_guard lock(mutex_);
  return directory_key_ == file;
}

bool HiddenLinks::Has(const FileKey& file) const {
  if (count_.load() == 0) return false;
  const std::lock_guard lock(mutex_);
  return links_.contains(file);
}

std::vector<FileKey> HiddenLinks::All() const {
  const std::lock_guard lock(mutex_);
  return {links_.begin(), links_.end()};
}

HiddenLinks::Directory HiddenLinks::Present() const {
  const std::lock_guard lock(mutex_);
  return directory_;
}

void HiddenLinks::Put(const FileKey& file) {
  const std::lock_guard lock(mutex_);
  links_.insert(file);
  count_.store(links_.size());
}

void HiddenLinks::Take(const FileKey& file) {
  const std::lock_guard lock(mutex_);
  links_.erase(file);
  count_.store(links_.size());
}

tl::expected<HiddenLinks::Directory, std::string> HiddenLinks::Adopt(UniqueFd directory) {
  const auto status = StatusOf(directory.Get());
  const auto key = KeyOf(directory.Get());
  if (!status || !key) return tl::unexpected<std::string>(std::strerror(errno));
  const bool is_ours =
      S_ISDIR(status->stx_mode) && status->stx_uid == ::geteuid() && (status->stx_mode & 077) == 0;
  if (!is_ours) {
    return tl::unexpected(
        fmt::format("the name '{}' is kept for a directory of the server's own (of uid {}, mode 0700), and "
                    "what has it there is "
                    "none: rename it, or chown and chmod it if an earlier batond made it",
                    kName, ::geteuid()));
  }
  const std::lock_guard lock(mutex_);
  directory_key_ = *key;
  directory_ino_ = key->ino;
  directory_ = std::make_shared<const UniqueFd>(std::move(directory));
  return directory_;
}

tl::expected<void, std::string> HiddenLinks::Load() {
  UniqueFd found = OpenPathAt(root_fd_, kName, 0);
  if (!found && errno == ENOENT) return {};
  if (!found) return tl::unexpected(fmt::format("cannot open {}: {}", kName, std::strerror(errno)));
  const auto directory = Adopt(std::move(found));
  if (!directory) return tl::unexpected(directory.error());
  UniqueFd readable(
      ::openat(proc_fd_, std::to_string((*directory)->Get()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, CloseDirectory> listing(readable ? ::fdopendir(readable.Get()) : nullptr);
  if (!listing) return tl::unexpected(fmt::format("cannot read {}: {}", kName, std::strerror(errno)));
  (void)readable.Release();
  while (const dirent* entry = ::readdir(listing.get())) {
    const auto file = ParseName(entry->d_name);
    if (!file) continue;
    const UniqueFd link = OpenPathAt((*directory)->Get(), entry->d_name, 0);
    if (link && IsFile(link.Get(), *file)) Put(*file);
  }
  return {};
}

HiddenLinks::Directory HiddenLinks::OpenOrMake() {
  BecomeServer();
  UniqueFd found = OpenPathAt(root_fd_, kName, O_DIRECTORY);
  if (!found && errno == ENOENT) {
    if (::mkdirat(root_fd_, kName.c_str(), 0700) != 0 && errno != EEXIST) return nullptr;
    found = OpenPathAt(root_fd_, kName, O_DIRECTORY);
  }
  if (!found) return nullptr;
  const auto directory = Adopt(std::move(found));
  if (directory) return *directory;
  errno = EEXIST;
  return nullptr;
}

bool HiddenLinks::Make(const FileKey& file, int fd) {
  Directory directory = Present();
  if (!directory) directory = OpenOrMake();
  if (!directory) return false;
  const std::string name = NameOf(file);
  const auto link = [&] {
    return ::linkat(proc_fd_, std::to_string(fd).c_str(), directory->Get(), name.c_str(),
                    AT_SYMLINK_FOLLOW) == 0;
  };
  Put(file);  // first: who sees the link must know that it is none of the file's names
  ActAsPrivileged();
  bool made = link();
  if (!made && errno == ENOENT && (directory = OpenOrMake()))
    made = link();  // somebody removed the directory
  if (!made && errno == EEXIST) {
    const UniqueFd there = OpenPathAt(directory->Get(), name, 0);
    made = there && IsFile(there.Get(), file);
    errno = EEXIST;
  }
  const int error = errno;
  if (!made) Take(file);
  errno = error;
  return made;
}

HiddenLinks::Removed HiddenLinks::Remove(const FileKey& file) {
  const Directory directory = Present();
  ActAsPrivileged();
  const UniqueFd link = Open(file);
  const auto finish = [&](Removed how) {
    Take(file);
    return how;
  };
  if (!link && errno == ENOENT) return finish(Removed::kGone);  // removed past the server
  if (!link) return Removed::kFailed;
  if (!IsFile(link.Get(), file)) return finish(Removed::kGone);  // and replaced
  if (::unlinkat(directory->Get(), NameOf(file).c_str(), 0) != 0) {
    log::Warn(
        "the hidden link {}/{} of a file that nobody has open cannot be removed: {}; the next start tries "
        "again",
        kName, NameOf(file), std::strerror(errno));
    return Removed::kFailed;
  }
  const auto status = StatusOf(link.Get());
  return finish(status && status->stx_nlink > 0 ? Removed::kHasNames : Removed::kGone);
}

UniqueFd HiddenLinks::Open(const FileKey& file) const {
  const Directory directory = Present();
  if (directory) return OpenPathAt(directory->Get(), NameOf(file), 0);
  errno = ENOENT;
  return {};
}

void HiddenLinks::TellOfLoss(int error) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (told_ != decltype(told_)() && now - told_ < kTellEvery) return;
  told_ = now;
  log::Warn(
      "a file that is open has lost its last name and cannot be kept in {} ({}): should the server be killed "
      "before it "
      "is closed, it is ESTALE for its programs",
      kName, std::strerror(error));
}

}  // namespace baton::store
