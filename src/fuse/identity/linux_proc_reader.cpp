#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "fuse/identity/proc_reader.h"

namespace baton {
namespace {

// A task that goes away shows as ENOENT at open and ESRCH at read; without the right to look, EPERM or
// EACCES.
int TaskError(int error) {
  if (error == ENOENT) return ESRCH;
  if (error == EPERM) return EACCES;
  return error;
}

Result<std::string> ReadAt(int directory, const char* path, std::size_t limit) {
  UniqueFd fd(::openat(directory, path, O_RDONLY | O_CLOEXEC));
  if (!fd) return Fail(TaskError(errno));
  std::string text;
  std::size_t chunk = 4096;  // one read is enough for stat, comm, status
  while (text.size() < limit) {
    std::size_t used = text.size();
    text.resize(std::min(limit, used + chunk));
    ssize_t got = ::read(fd.Get(), text.data() + used, text.size() - used);
    if (got < 0 && errno == EINTR) {
      text.resize(used);
      continue;
    }
    if (got < 0) return Fail(TaskError(errno));
    text.resize(used + static_cast<std::size_t>(got));
    if (got == 0) break;
    chunk = 65536;
  }
  return text;
}

// For files the kernel gives whole in one read of this size: saves the read that only says "end".
Result<std::string_view> ReadOnce(int directory, const char* path, char* buffer, std::size_t size) {
  UniqueFd fd(::openat(directory, path, O_RDONLY | O_CLOEXEC));
  if (!fd) return Fail(TaskError(errno));
  ssize_t got = ::read(fd.Get(), buffer, size);
  if (got < 0) return Fail(TaskError(errno));
  if (got == 0) return Fail(ESRCH);
  return std::string_view(buffer, static_cast<std::size_t>(got));
}

struct TaskPath {
  TaskPath(pid_t tid, const char* name) { std::snprintf(text, sizeof text, "%d/%s", tid, name); }
  char text[40];
};

}  // namespace

LinuxProcReader::LinuxProcReader(const std::string& proc, std::string cgroup_root)
    : proc_(::open(proc.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
      cgroup_root_(std::move(cgroup_root)),
      ticks_per_second_(static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK))) {
  // Every read fails from here on, and every caller is unidentified (rule I5).
  if (!proc_) log::Error("cannot open {}: {}", proc, std::strerror(errno));
}

Result<std::string> LinuxProcReader::ReadFile(pid_t tid, const char* name, std::size_t limit) const {
  return ReadAt(proc_.Get(), TaskPath(tid, name).text, limit);
}

Result<TaskStat> LinuxProcReader::ReadStat(pid_t tid) const {
  char buffer[2048];
  Result<std::string_view> text = ReadOnce(proc_.Get(), TaskPath(tid, "stat").text, buffer, sizeof buffer);
  if (!text) return tl::unexpected(text.error());
  return ParseStat(*text);
}

Result<TaskStatus> LinuxProcReader::ReadStatus(pid_t tid) const {
  Result<std::string> text = ReadFile(tid, "status", 1 << 20);  // 65,536 groups fit
  if (!text) return tl::unexpected(text.error());
  return ParseStatus(*text);
}

Result<std::string> LinuxProcReader::ReadComm(pid_t tid) const {
  char buffer[64];
  Result<std::string_view> text = ReadOnce(proc_.Get(), TaskPath(tid, "comm").text, buffer, sizeof buffer);
  if (!text) return tl::unexpected(text.error());
  if (text->ends_with('\n')) text->remove_suffix(1);
  return std::string(*text);
}

Result<Environ> LinuxProcReader::ReadEnviron(pid_t tid, std::size_t limit) const {
  Result<std::string> text = ReadFile(tid, "environ", limit);
  if (!text) return tl::unexpected(text.error());
  bool truncated = text->size() == limit;
  return Environ{std::move(*text), truncated};
}

Result<CgroupId> LinuxProcReader::ReadCgroup(pid_t tid) const {
  Result<std::string> text = ReadFile(tid, "cgroup", 1 << 16);
  if (!text) return tl::unexpected(text.error());
  // The unified hierarchy's line is "0::/path". Where older hierarchies stand beside it (cgroups(7)) it may
  // say nothing but "/": then the whole text is the name.
  std::size_t line = text->starts_with("0::") ? 0 : text->find("\n0::");
  bool unified_only = line == 0 && text->find('\n') + 1 == text->size();
  if (line == std::string::npos) return CgroupId{std::move(*text), 0};
  std::size_t begin = text->find("0::", line) + 3;
  CgroupId id{text->substr(begin, text->find('\n', begin) - begin), 0};
  if (id.path == "/" && !unified_only) return CgroupId{std::move(*text), 0};
  struct stat about;
  if (::stat((cgroup_root_ + id.path).c_str(), &about) == 0) id.inode = about.st_ino;
  return id;
}

bool LinuxProcReader::CgroupMayHoldProcesses(const CgroupId& cgroup) const {
  if (cgroup.inode == 0) return true;
  std::string directory = cgroup_root_ + cgroup.path;
  struct stat about;
  if (::stat(directory.c_str(), &about) != 0) return errno != ENOENT;
  if (about.st_ino != cgroup.inode) return false;
  Result<std::string> events = ReadAt(AT_FDCWD, (directory + "/cgroup.events").c_str(), 4096);
  return !events || events->find("populated 0") == std::string::npos;
}

Result<std::vector<pid_t>> LinuxProcReader::ListProcesses() const {
  int fd = ::openat(proc_.Get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FailErrno();
  DIR* directory = ::fdopendir(fd);
  if (directory == nullptr) {
    int error = errno;
    ::close(fd);
    return Fail(error);
  }
  std::vector<pid_t> pids;
  errno = 0;
  while (const dirent* entry = ::readdir(directory)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    std::from_chars_result result = std::from_chars(entry->d_name, end, pid);
    if (result.ec == std::errc() && result.ptr == end) pids.push_back(pid);
    errno = 0;
  }
  int error = errno;
  ::closedir(directory);
  if (error != 0) return Fail(error);
  return pids;
}

Ticks LinuxProcReader::TickOf(Instant instant) const {
  auto nanoseconds = static_cast<std::uint64_t>(instant.count());
  return nanoseconds / (1'000'000'000 / ticks_per_second_);
}

}  // namespace baton
