#include "parity/parity.h"

#include <dirent.h>
#include <grp.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace baton::parity {

void PrintTo(const Outcome& outcome, std::ostream* out) {
  const int number = static_cast<int>(outcome.value);
  switch (outcome.kind) {
    case Outcome::kValue:
      *out << "value " << outcome.value;
      return;
    case Outcome::kErrno: {
      const char* name = strerrorname_np(number);
      *out << (name ? name : std::to_string(number));
      return;
    }
    case Outcome::kSignal:
      *out << "ended by SIG" << sigabbrev_np(number);
      return;
    case Outcome::kBroken:
      *out << "could not be set up: " << strerror(number);
      return;
  }
}

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

long Must(long result) {
  if (result < 0) {
    throw std::system_error(errno, std::generic_category(), "set-up");
  }
  return result;
}

Fd Open(const std::string& path, int flags, mode_t mode) {
  const int fd = ::open(path.c_str(), flags, mode);
  if (fd < 0) {
    throw std::system_error(errno, std::generic_category(), "open " + path);
  }
  return Fd(fd);
}

Outcome TryOpen(const std::string& path, int flags, mode_t mode) {
  const int fd = ::open(path.c_str(), flags, mode);
  if (fd < 0) {
    return Fails(errno);
  }
  return Did(::close(fd));
}

void Make(const std::string& path, std::string_view content, mode_t mode) {
  const mode_t mask = ::umask(0);
  const Fd fd = Open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
  ::umask(mask);
  if (!content.empty()) {
    Must(::write(fd, content.data(), content.size()));
  }
  if (!content.empty() && mode & 06000) {
    Must(::fchmod(fd, mode));  // the write may have cleared them
  }
}

void MakeDir(const std::string& path, mode_t mode) {
  const mode_t mask = ::umask(0);
  Must(::mkdir(path.c_str(), mode));
  ::umask(mask);
  if (mode & 06000) {
    Must(::chmod(path.c_str(), mode));  // mkdir knows nothing of them
  }
}

std::string Rest(int fd) {
  std::string text;
  char part[65536];
  while (const long size = Must(::read(fd, part, sizeof part))) {
    text.append(part, size);
  }
  return text;
}

std::string Content(const std::string& path) {
  return Rest(Open(path, O_RDONLY));
}

std::string At(int fd, off_t offset, size_t size) {
  std::string text(size, '\0');
  text.resize(Must(::pread(fd, text.data(), size, offset)));
  return text;
}

struct stat Stat(const std::string& path) {
  struct stat attributes {};
  Must(::stat(path.c_str(), &attributes));
  return attributes;
}

struct stat Lstat(const std::string& path) {
  struct stat attributes {};
  Must(::lstat(path.c_str(), &attributes));
  return attributes;
}

struct stat Fstat(int fd) {
  struct stat attributes {};
  Must(::fstat(fd, &attributes));
  return attributes;
}

mode_t Mode(const std::string& path) {
  return Lstat(path).st_mode & 07777;
}

bool Exists(const std::string& path) {
  struct stat attributes {};
  return ::lstat(path.c_str(), &attributes) == 0;
}

std::string Link(const std::string& path) {
  std::string target(PATH_MAX, '\0');
  target.resize(Must(::readlink(path.c_str(), target.data(), target.size())));
  return target;
}

std::vector<std::string> Names(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  Must(directory ? 0 : -1);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  std::erase(names, ".");
  std::erase(names, "..");
  std::ranges::sort(names);
  return names;
}

bool IsRoot() {
  return ::geteuid() == 0;
}

namespace {

Outcome Become(const Who& who, const std::function<Outcome()>& act) {
  try {
    if (who.kind == Who::kUser) {
      Must(::setgroups(who.groups.size(), who.groups.data()));
      Must(::setresgid(who.gid, who.gid, who.gid));
      Must(::setresuid(who.uid, who.uid, who.uid));
    }
    return act();
  } catch (const std::system_error& error) {
    return {Outcome::kBroken, error.code().value()};
  }
}

}  // namespace

Outcome As(const Who& who, const std::function<Outcome()>& act) {
  int ends[2];
  Must(::pipe2(ends, O_CLOEXEC));
  Fd from(ends[0]), to(ends[1]);
  const pid_t child = static_cast<pid_t>(Must(::fork()));
  if (child == 0) {
    const Outcome outcome = Become(who, act);
    _exit(::write(to, &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
  }
  to.Close();
  Outcome outcome;
  const bool told = ::read(from, &outcome, sizeof outcome) == sizeof outcome;
  int status = 0;
  Must(::waitpid(child, &status, 0));
  if (WIFSIGNALED(status)) {
    return Dies(WTERMSIG(status));
  }
  return told ? outcome : Outcome{Outcome::kBroken, EPIPE};
}

void Parity::SetUp() {
  static int number = 0;
  const char* base = std::getenv("BATON_PARITY_DIR");
  ASSERT_NE(base, nullptr) << "BATON_PARITY_DIR names the directory to work in";
  ::umask(022);
  home_ = std::string(base) + "/case-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
  MakeDir(home_);
  Must(::chdir(home_.c_str()));
}

void Parity::TearDown() {
  if (!home_.empty()) {
    Must(::chdir("/"));
    std::filesystem::remove_all(home_);
  }
}

void RootParity::SetUp() {
  if (!IsRoot()) {
    GTEST_SKIP() << "needs root";
  }
  Parity::SetUp();
}

void Table::SetUp() {
  Parity::SetUp();
  if (HasFatalFailure()) {
    return;
  }
  if (!IsRoot() && GetParam().who.kind != Who::kCaller) {
    GTEST_SKIP() << "needs root";
  }
  Make("file", "0123456789");
  Must(::link("file", "hard"));
  Make("secret", "secret", 0600);
  Make("readonly", "readonly", 0444);
  Make("alices", "alice's");
  for (const auto& [name, mode] :
       {std::pair{"dir", 0755}, {"full", 0755}, {"open", 0777}, {"closed", 0755}}) {
    MakeDir(name, mode);
  }
  Make("full/file");
  MakeDir("full/sub");
  Make("open/file", "in open");
  Make("closed/file", "in closed", 0666);
  Must(::chmod("closed", 0700));
  MakeDir("sticky", 01777);
  Make("sticky/roots", "", 0666);
  Make("sticky/alices");
  MakeDir("sticky/alicesdir");
  if (IsRoot()) {
    for (const char* name : {"alices", "sticky/alices", "sticky/alicesdir"}) {
      Must(::chown(name, kAliceId, kAliceId));
    }
  }
  Must(::symlink("file", "link"));
  Must(::symlink("dir", "dirlink"));
  Must(::symlink("absent", "dangling"));
  Must(::symlink("loop", "loop"));
  ::umask(0);
  Must(::mkfifo("fifo", 0666));
  ::umask(022);
}

}  // namespace baton::parity
