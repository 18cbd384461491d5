#include "walk/side.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace baton::walk {
namespace {

constexpr int kLevels = 6;
constexpr std::size_t kContentLimit = 1 << 16;

int Must(long result, const std::string& what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return static_cast<int>(result);
}

// By a name in /proc, so that it serves for whatever the descriptor is.
std::string ProcPath(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

std::map<std::string, std::string> Xattrs(const std::string& path, bool follow) {
  std::map<std::string, std::string> found;
  std::string names(XATTR_LIST_MAX, '\0');
  const ssize_t size = follow ? ::listxattr(path.c_str(), names.data(), names.size())
                              : ::llistxattr(path.c_str(), names.data(), names.size());
  if (size < 0) return {{"", "errno " + std::to_string(errno)}};
  std::string value(XATTR_SIZE_MAX, '\0');
  for (const char* name = names.data(); name < names.data() + size; name += std::strlen(name) + 1) {
    const ssize_t length = follow ? ::getxattr(path.c_str(), name, value.data(), value.size())
                                  : ::lgetxattr(path.c_str(), name, value.data(), value.size());
    found[name] = length < 0 ? "errno " + std::to_string(errno) : value.substr(0, length);
  }
  return found;
}

std::string LinkTarget(int directory, const char* path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = ::readlinkat(directory, path, target.data(), target.size());
  return size < 0 ? "errno " + std::to_string(errno) : target.substr(0, size);
}

std::string ContentAt(int directory, const char* name) {
  const int fd = ::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return "errno " + std::to_string(errno);
  std::string content(kContentLimit, '\0');
  const ssize_t size = ::read(fd, content.data(), content.size());
  ::close(fd);
  return size < 0 ? "errno " + std::to_string(errno) : content.substr(0, size);
}

std::vector<std::string> NamesIn(int directory) {
  std::vector<std::string> names;
  DIR* stream = ::fdopendir(directory);
  while (const dirent* entry = ::readdir(stream)) {
    if (const std::string name = entry->d_name; name != "." && name != "..") names.push_back(name);
  }
  ::closedir(stream);
  std::ranges::sort(names);
  return names;
}

}  // namespace

Result Did(long value) {
  return value < 0 ? Result{-1, errno, {}} : Result{value, 0, {}};
}

std::string Quoted(std::string_view bytes) {
  std::string text = "\"";
  for (const char byte : bytes.substr(0, 40)) {
    if (byte >= ' ' && byte <= '~')
      text += byte;
    else
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  }
  return text + (bytes.size() > 40 ? fmt::format("...\" ({} bytes)", bytes.size()) : "\"");
}

std::string Told(const Result& result) {
  if (result.error != 0) return ::strerrorname_np(result.error);
  return result.data.empty() ? std::to_string(result.value)
                             : fmt::format("{} {}", result.value, Quoted(result.data));
}

Side::Side(std::string its_title, const std::string& base, const std::string& name, bool as_root)
    : title(std::move(its_title)), top_(base + "/" + name) {
  slots_.fill(-1);
  ::umask(0);
  std::string path = top_;
  Must(::mkdir(path.c_str(), 0755), path);
  for (int level = 0; level < kLevels; ++level) {
    path += "/" + std::to_string(level);
    Must(::mkdir(path.c_str(), level + 1 < kLevels ? 0755 : 0777), path);
  }
  root_ = Must(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
  // What is above belongs to nobody who walks, or cannot be written.
  if (!as_root) LetIn();
}

Side::~Side() {
  for (const int fd : slots_) {
    if (fd >= 0) ::close(fd);
  }
  ::close(root_);
}

void Side::Enter() const {
  if (::fchdir(root_) == 0) return;
  Reopen();
  Must(::fchdir(root_), "the walk's directory in " + title);
}

int Side::At(int slot) const {
  return slot == kNowhere ? AT_FDCWD : Fd(slot);
}

void Side::Put(int slot, int fd) {
  Close(slot);
  slots_[static_cast<std::size_t>(slot)] = fd;
}

int Side::Close(int slot) {
  const int fd = std::exchange(slots_[static_cast<std::size_t>(slot)], -1);
  return fd < 0 ? 0 : ::close(fd);
}

std::string Side::Expand(const std::string& path) const {
  if (path.size() < 3 || path[0] != '<' || path[2] != '>') return path;
  return ProcPath(Fd(path[1] - '0')) + path.substr(3);
}

Seen Side::See(const std::string& path, bool follow) const {
  const std::string real = Expand(path);
  if (real != path) follow = true;  // the link in /proc is none of the tree's
  Seen seen;
  if (::fstatat(AT_FDCWD, real.c_str(), &seen.attributes, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
    seen.error = errno;
    return seen;
  }
  seen.xattrs = Xattrs(real, follow);
  if (S_ISLNK(seen.attributes.st_mode) && real == path) seen.link = LinkTarget(AT_FDCWD, real.c_str());
  return seen;
}

Seen Side::SeeSlot(int slot) const {
  Seen seen;
  if (Fd(slot) < 0 || ::fstat(Fd(slot), &seen.attributes) != 0) seen.error = Fd(slot) < 0 ? EBADF : errno;
  return seen;
}

std::map<std::string, Seen> Side::SeeAll(bool contents) const {
  std::map<std::string, Seen> all;
  SeeBelow(root_, ".", contents, all);
  return all;
}

void Side::SeeBelow(int directory, const std::string& path, bool contents,
                    std::map<std::string, Seen>& all) const {
  const int again = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) {
    all[path].content = "errno " + std::to_string(errno);
    return;
  }
  for (const std::string& name : NamesIn(again)) {
    Seen& seen = all[path + "/" + name];
    if (::fstatat(directory, name.c_str(), &seen.attributes, AT_SYMLINK_NOFOLLOW) != 0) {
      seen.error = errno;
      continue;
    }
    const mode_t type = seen.attributes.st_mode & S_IFMT;
    if (type == S_IFLNK) seen.link = LinkTarget(directory, name.c_str());
    if (type == S_IFREG && contents) seen.content = ContentAt(directory, name.c_str());
    if (type != S_IFDIR) continue;
    const int below = ::openat(directory, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    seen.xattrs = Xattrs(ProcPath(below), true);
    SeeBelow(below, path + "/" + name, contents, all);
    ::close(below);
  }
}

void Side::Reopen() const {
  Must(::fchmod(root_, 0777), "the walk's directory in " + title);
}

bool Side::IsShutIn() const {
  std::string path = top_;
  for (int level = 0; level < kLevels; ++level) path += "/" + std::to_string(level);
  return ::access(path.c_str(), F_OK) != 0 && errno == EACCES;
}

void Side::LetIn() const {
  std::string path = top_;
  for (int level = 0; level < kLevels; ++level) {
    Must(::chmod(path.c_str(), 0555), path);
    path += "/" + std::to_string(level);
  }
}

void Side::Remove() {
  for (int slot = 0; slot < kSlots; ++slot) Close(slot);
  Must(::chdir("/"), "/");
  // An ordinary user has to let himself in first.
  const auto open_up = [](const auto& self, const std::filesystem::path& directory) -> void {
    ::chmod(directory.c_str(), 0700);
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.symlink_status().type() == std::filesystem::file_type::directory) self(self, entry.path());
    }
  };
  open_up(open_up, top_);
  std::filesystem::remove_all(top_);
}

}  // namespace baton::walk
