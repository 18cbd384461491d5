#include "server/store/export.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "base/log.h"
#include "server/store/attributes.h"
#include "server/store/thread_credentials.h"

namespace baton::store {
namespace {

constexpr std::uint32_t kNobody = 65534;
constexpr auto kVerifyEvery = std::chrono::seconds(1);
constexpr auto kWarnEvery = std::chrono::seconds(10);
constexpr std::uint64_t kStayOnMount = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
constexpr int kPathFlags = O_PATH | O_NOFOLLOW | O_CLOEXEC;

UniqueFd OpenAt2(int directory, const char* name, std::uint64_t flags, std::uint64_t resolve) {
  open_how how{};
  how.flags = flags;
  how.resolve = resolve;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, directory, name, &how, sizeof how)));
}

PathFd Own(UniqueFd fd, const FileKey& key, bool is_directory) {
  auto owner = std::make_shared<const UniqueFd>(std::move(fd));
  const int raw = owner->Get();
  return {std::move(owner), raw, key, is_directory};
}

// Of one from the export on.
bool IsHiddenPath(std::string_view path) {
  constexpr std::string_view kDirectory = HiddenLinks::kDirectory;
  return path.substr(1, kDirectory.size()) == kDirectory &&
         (path.size() == kDirectory.size() + 1 || path[kDirectory.size() + 1] == '/');
}

std::string PathOfFd(int proc_fd, int fd) {
  std::array<char, PATH_MAX> path;
  const ssize_t size = ::readlinkat(proc_fd, std::to_string(fd).c_str(), path.data(), path.size());
  if (size <= 0 || path[0] != '/') return {};
  return std::string(path.data(), static_cast<std::size_t>(size));
}

}  // namespace

Export::Export(UniqueFd root_fd, UniqueFd proc_fd, int mount, const Node& root, const StoreKey& key,
               const StoreOptions& options)
    : root_fd_(std::move(root_fd)),
      proc_fd_(std::move(proc_fd)),
      mount_(mount),
      root_(root),
      codec_(key),
      options_(options),
      privileged_(::geteuid() == 0),
      names_(root.key, options.remembered_names),
      hidden_(root_fd_.Get(), proc_fd_.Get()),
      open_files_(options.open_descriptors, Reopener(), [this](const FileKey& file) { LastClosed(file); }) {
  own_.uid = ::geteuid();
  own_.gid = ::getegid();
  const int count = ::getgroups(0, nullptr);
  own_.groups.resize(static_cast<std::size_t>(std::max(count, 0)));
  if (::getgroups(count, own_.groups.data()) < 0) own_.groups.clear();
}

tl::expected<std::unique_ptr<Export>, std::string> Export::Open(const std::string& directory,
                                                                const StoreKey& key,
                                                                const StoreOptions& options) {
  const auto refuse = [&](const std::string& why) {
    return tl::unexpected<std::string>("cannot export " + directory + ": " + why);
  };
  if (::sodium_init() < 0) return refuse("libsodium does not start");
  BecomeServer();
  UniqueFd root_fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) return refuse(std::strerror(errno));
  UniqueFd proc_fd(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!proc_fd) return refuse(std::string("/proc is needed: ") + std::strerror(errno));
  const auto at = GetHandle(root_fd.Get());
  if (!at) {
    if (at.error().value != EOPNOTSUPP) return refuse(std::strerror(at.error().value));
    return refuse("its file system gives no persistent file handles (name_to_handle_at: not supported)");
  }
  const auto status = StatusOf(root_fd.Get());
  if (!status) return refuse(std::strerror(status.error().value));
  Node root;
  root.attr = ToAttr(*status);
  root.key = RefCodec::KeyOf(at->handle, root.attr.ino);
  root.ref = RefCodec(key).Make(at->handle, root.attr.ino, true);
  std::unique_ptr<Export> opened(
      new Export(std::move(root_fd), std::move(proc_fd), at->mount, root, key, options));
  if (const std::string why = opened->ProbeHandles(); !why.empty()) return refuse(why);
  if (const auto loaded = opened->hidden_.Load(); !loaded) return refuse(loaded.error());
  return opened;
}

// By flock(2) of the root directory: it works where nothing can be written, lies in no file that a client could see, and goes
// with the process, however that ends. No request of a client ever becomes a lock of the kernel.
tl::expected<void, std::string> Export::LockAgainstOthers() const {
  if (::flock(RootFd(), LOCK_EX | LOCK_NB) == 0) return {};
  const std::string path = PathOfFd(ProcFd(), RootFd());
  if (errno != EWOULDBLOCK)
    return tl::unexpected<std::string>("cannot lock the export " + path + ": " + std::strerror(errno));
  return tl::unexpected<std::string>(
      "the export " + path + " is served by another batond (or some program holds a flock on the directory: lslocks names "
      "it); two servers would each give away what the other has: stop that one first");
}

// Empty: references will work.
std::string Export::ProbeHandles() const {
  if (!OpenAt2(RootFd(), ".", kPathFlags, RESOLVE_BENEATH | kStayOnMount)) {
    return std::string("openat2 (Linux 5.6 or newer is needed): ") + std::strerror(errno);
  }
  if (!privileged_) return {};
  const auto at = GetHandle(RootFd());
  FileHandle handle = at->handle;
  const UniqueFd again(::open_by_handle_at(RootFd(), handle.Raw(), O_PATH | O_CLOEXEC));
  if (again) return {};
  const std::string error = std::strerror(errno);
  return "its file handles cannot be opened (open_by_handle_at: " + error +
         "); root needs CAP_DAC_READ_SEARCH, and the file system must support it";
}

// None where a file might not be found again, or not be opened by who may open it now (rule A5).
DescriptorCache::Reopen Export::Reopener() const {
  if (!privileged_ || !MayOpenEverything()) return nullptr;
  return [this](const FileHandle& handle, int anchor, int flags) {
    ActAsPrivileged();
    flags |= O_CLOEXEC | O_NOCTTY;
    if (anchor >= 0) return UniqueFd(::openat(ProcFd(), std::to_string(anchor).c_str(), flags));
    FileHandle copy = handle;
    return UniqueFd(::open_by_handle_at(RootFd(), copy.Raw(), flags));
  };
}

Result<Credentials> Export::Effective(const Credentials& who) const {
  if (!privileged_) {
    if (who.uid != own_.uid) return Fail(EACCES);
    Credentials own = own_;
    own.umask = who.umask;
    return own;
  }
  if (!options_.squash_root) return who;
  if (who.uid == 0) return Credentials{kNobody, kNobody, {}, who.umask};
  Credentials squashed = who;
  if (squashed.gid == 0) squashed.gid = kNobody;
  std::ranges::replace(squashed.groups, 0u, kNobody);
  return squashed;
}

Result<OpenedRef> Export::OpenRef(const FileRef& ref) {
  const auto opened = codec_.Open(ref);
  if (opened) return *opened;
  WarnOfForgery();
  return Fail(ESTALE);
}

void Export::WarnOfForgery() {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(warning_mutex_);
  if (last_warning_ != Tick{} && now - last_warning_ < kWarnEvery) return;
  last_warning_ = now;
  log::Warn("a client showed a file reference that this server did not make; answered ESTALE");
}

Result<PathFd> Export::Resolve(const FileRef& ref) {
  const auto opened = OpenRef(ref);
  if (!opened) return tl::unexpected(opened.error());
  if (opened->key == root_.key) return PathFd{nullptr, RootFd(), root_.key, true};
  bool must_verify = true;
  PathFd found;
  if (opened->is_directory) {
    if (auto cached = CachedFd(opened->key, must_verify)) {
      const int fd = cached->Get();
      found = PathFd{std::move(cached), fd, opened->key, true};
    }
  }
  if (found.fd < 0) {
    auto fresh = privileged_ ? OpenByHandle(*opened) : OpenByName(*opened);
    if (!fresh) fresh = FindOpenFile(opened->key);
    if (!fresh && !privileged_) fresh = OpenHidden(opened->key);
    if (!fresh) return fresh;
    found = std::move(*fresh);
  }
  if (found.is_directory && hidden_.IsDirectory(found.key)) return Fail(ESTALE);
  if (!found.is_directory || !must_verify) return found;
  if (!IsBeneath(found.fd)) {
    ForgetDirectory(found.key);
    return Fail(ESTALE);
  }
  Cache(found);
  return found;
}

Result<PathFd> Export::ResolveDirectory(const FileRef& ref) {
  const auto opened = OpenRef(ref);
  if (!opened) return tl::unexpected(opened.error());
  if (!opened->is_directory) return Fail(ENOTDIR);
  return Resolve(ref);
}

Result<PathFd> Export::OpenByHandle(const OpenedRef& ref) {
  ActAsPrivileged();
  FileHandle handle = ref.handle;
  UniqueFd fd = WithRoom([&] { return UniqueFd(::open_by_handle_at(RootFd(), handle.Raw(), kPathFlags)); });
  if (!fd) return Fail(IsOutOfMeans(errno) ? errno : ESTALE);
  return Own(std::move(fd), ref.key, ref.is_directory);
}

Result<PathFd> Export::OpenByName(const OpenedRef& ref) {
  for (const SeenName& seen : names_.NamesOf(ref.key)) {
    const auto path = names_.PathOf(seen.directory);
    if (!path) continue;
    auto found = OpenPath(*path, seen.name);
    if (!found || found->key != ref.key) continue;
    found->is_directory = ref.is_directory;
    return found;
  }
  return Fail(ESTALE);
}

Result<PathFd> Export::OpenPath(const std::vector<std::string>& path, std::string_view last) const {
  UniqueFd at;
  std::string piece;
  const auto descend = [&](std::uint64_t flags) {
    at = OpenAt2(at ? at.Get() : RootFd(), piece.c_str(), flags, RESOLVE_BENEATH | kStayOnMount);
    piece.clear();
    return static_cast<bool>(at);
  };
  for (const std::string& name : path) {
    if (piece.size() + name.size() + 2 > PATH_MAX && !descend(kPathFlags | O_DIRECTORY)) return FailErrno();
    piece += name;
    piece += '/';
  }
  if (piece.size() + last.size() + 1 > PATH_MAX && !descend(kPathFlags | O_DIRECTORY)) return FailErrno();
  piece += last;
  if (piece.empty()) piece = ".";
  if (!descend(kPathFlags)) return FailErrno();
  const auto key = KeyOfFd(at.Get());
  if (!key) return tl::unexpected(key.error());
  return Own(std::move(at), *key, false);
}

Result<PathFd> Export::OpenChild(const PathFd& directory, const std::string& name) {
  if (name == "..") return OpenParent(directory);
  UniqueFd fd = WithRoom(
      [&] { return OpenAt2(directory.fd, name.c_str(), kPathFlags, RESOLVE_BENEATH | kStayOnMount); });
  if (!fd) return FailErrno();
  return Own(std::move(fd), FileKey{}, false);
}

Result<PathFd> Export::OpenParent(const PathFd& directory) {
  if (directory.key == root_.key) return PathFd{nullptr, RootFd(), root_.key, true};
  UniqueFd fd = OpenAt2(directory.fd, "..", kPathFlags | O_DIRECTORY, kStayOnMount);
  if (!fd) return Fail(errno == ENOENT || errno == EXDEV ? ESTALE : errno);
  const auto key = KeyOfFd(fd.Get());
  if (!key) return tl::unexpected(key.error());
  if (!IsBeneath(fd.Get())) return Fail(ESTALE);
  return Own(std::move(fd), *key, true);
}

Result<PathFd> Export::OpenDirectoryOf(const PathFd& file) {
  ActAsPrivileged();
  if (file.is_directory) {
    auto parent = OpenParent(file);
    // Not root, and its own user may not search it: its name leads there.
    if (parent || parent.error().value != EACCES) return parent;
  }
  for (const SeenName& seen : names_.NamesOf(file.key)) {
    const auto path = names_.PathOf(seen.directory);
    if (!path) continue;
    auto directory = OpenPath(*path, {});
    if (!directory || directory->key != seen.directory) continue;
    directory->is_directory = true;
    return directory;
  }
  // Never seen by this server's run: the kernel may still know under which name it lies.
  const std::string path = PathOfFd(ProcFd(), file.fd);
  std::string root = PathOfFd(ProcFd(), RootFd());
  if (root.empty()) return Fail(ENOENT);
  if (root == "/") root.clear();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash < root.size() || path.compare(0, root.size(), root) != 0)
    return Fail(ENOENT);
  if (path[root.size()] != '/') return Fail(ENOENT);
  const std::size_t start = std::min(root.size() + 1, slash);
  auto directory = OpenPath({}, slash == root.size() ? "" : path.substr(start, slash - start));
  if (!directory) return directory;
  if (hidden_.IsDirectory(directory->key)) return Fail(ENOENT);
  // Where a directory was that is removed by now, with the file, there may be anything.
  const auto status = StatusOf(directory->fd);
  if (!status || !S_ISDIR(status->stx_mode)) return Fail(ENOENT);
  directory->is_directory = true;
  return directory;
}

Result<FileKey> Export::KeyOfFd(int fd) const {
  const auto status = StatusOf(fd);
  if (!status) return tl::unexpected(status.error());
  const auto at = GetHandle(fd);
  if (!at) return tl::unexpected(at.error());
  if (at->mount != mount_) return Fail(EXDEV);
  return RefCodec::KeyOf(at->handle, status->stx_ino);
}

Result<Node> Export::Identify(int fd) {
  const auto status = StatusOf(fd);
  if (!status) return tl::unexpected(status.error());
  const auto at = GetHandle(fd);
  if (!at) return tl::unexpected(at.error());
  if (at->mount != mount_) return Fail(EXDEV);
  Node node;
  node.key = RefCodec::KeyOf(at->handle, status->stx_ino);
  node.attr = ToAttr(*status);
  if (hidden_.Has(node.key)) {
    const auto attr = AttrOf(fd, node.key);
    if (!attr) return tl::unexpected(attr.error());
    node.attr = *attr;
  } else if (node.key == root_.key) {
    node.attr.nlink = VisibleLinks(node.attr.nlink, node.key);
  }
  node.ref = codec_.Make(at->handle, node.attr.ino, S_ISDIR(node.attr.mode));
  return node;
}

UniqueFd Export::Reopen(int fd, int flags) {
  const std::string name = std::to_string(fd);
  return WithRoom([&] { return UniqueFd(::openat(ProcFd(), name.c_str(), flags | O_CLOEXEC | O_NOCTTY)); });
}

bool Export::IsBeneath(int directory_fd) const {
  const std::string path = PathOfFd(ProcFd(), directory_fd);
  const std::string root = PathOfFd(ProcFd(), RootFd());
  if (path.empty() || root.empty()) return IsBeneathByWalk(directory_fd);
  if (path == root) return true;
  const std::size_t prefix = root == "/" ? 0 : root.size();
  if (path.size() <= prefix || path.compare(0, prefix, root, 0, prefix) != 0 || path[prefix] != '/')
    return false;
  return !IsHiddenPath(path.substr(prefix));
}

// For paths that are too long or not visible to the server.
bool Export::IsBeneathByWalk(int directory_fd) const {
  ActAsPrivileged();
  UniqueFd at = OpenAt2(directory_fd, ".", kPathFlags | O_DIRECTORY, kStayOnMount);
  FileKey last;
  while (at) {
    const auto key = KeyOfFd(at.Get());
    if (!key || *key == last || hidden_.IsDirectory(*key)) return false;
    if (*key == root_.key) return true;
    last = *key;
    at = OpenAt2(at.Get(), "..", kPathFlags | O_DIRECTORY, kStayOnMount);
  }
  return false;
}

std::shared_ptr<const UniqueFd> Export::CachedFd(const FileKey& key, bool& must_verify) {
  const std::lock_guard lock(cache_mutex_);
  const auto found = cache_index_.find(key);
  if (found == cache_index_.end()) return nullptr;
  cache_.splice(cache_.begin(), cache_, found->second);
  must_verify = std::chrono::steady_clock::now() - found->second->verified >= kVerifyEvery;
  return found->second->fd;
}

void Export::Cache(const PathFd& directory) {
  const std::lock_guard lock(cache_mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (const auto found = cache_index_.find(directory.key); found != cache_index_.end()) {
    found->second->verified = now;
    return;
  }
  if (options_.cached_directories == 0) return;
  if (cache_.size() >= options_.cached_directories) {
    cache_index_.erase(cache_.back().key);
    cache_.pop_back();
  }
  cache_.push_front({directory.key, std::static_pointer_cast<const UniqueFd>(directory.owner), now});
  cache_index_.emplace(directory.key, cache_.begin());
}

void Export::ForgetDirectory(const FileKey& key) {
  const std::lock_guard lock(cache_mutex_);
  const auto found = cache_index_.find(key);
  if (found == cache_index_.end()) return;
  cache_.erase(found->second);
  cache_index_.erase(found);
}

Result<PathFd> Export::FindOpenFile(const FileKey& key) {
  auto found = open_files_.Find(key);
  if (!found) return tl::unexpected(found.error());
  return PathFd{std::move(found->owner), found->fd, key, false};
}

std::string Export::PathOf(int fd) {
  const std::string root = PathOfFd(proc_fd_.Get(), root_fd_.Get());
  const std::string path = PathOfFd(proc_fd_.Get(), fd);
  const std::size_t prefix = root == "/" ? 0 : root.size();
  if (root.empty() || path.compare(0, prefix, root, 0, prefix) != 0) return "?";
  if (path.size() == prefix) return "/";
  return IsHiddenPath(path.substr(prefix)) ? LastPathOf(fd) : path.substr(prefix);
}

// As the kernel says it of what has no name any more.
std::string Export::LastPathOf(int fd) {
  const auto key = KeyOfFd(fd);
  const auto names = key ? names_.NamesOf(*key) : std::vector<SeenName>();
  const auto directory = names.empty() ? std::nullopt : names_.PathOf(names.front().directory);
  if (!directory) return "?";
  std::string path;
  for (const std::string& name : *directory) path += '/' + name;
  return path + '/' + names.front().name + " (deleted)";
}

}  // namespace baton::store
