#include "fuse/kernel/daemon.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace baton {
namespace {

constexpr char kReady = '+';

[[noreturn]] void EndWithMessage(const std::string& what) {
  std::fprintf(stderr, "batonfs: %s\n", what.c_str());
  std::exit(EXIT_FAILURE);
}

// What the child says until it says no more: kReady, or the reason why not.
std::string ReadAll(int fd) {
  std::string all;
  char chunk[512];
  while (true) {
    const ssize_t count = read(fd, chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return all;
    all.append(chunk, static_cast<std::size_t>(count));
    if (all[0] == kReady) return all;
  }
}

[[noreturn]] void WaitForChild(int fd, pid_t child) {
  const std::string said = ReadAll(fd);
  if (!said.empty() && said[0] == kReady) _exit(EXIT_SUCCESS);
  if (!said.empty()) EndWithMessage(said);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    EndWithMessage(std::string("the mount's process ended with signal ") + strsignal(WTERMSIG(status)));
  }
  EndWithMessage("the mount's process ended before the mount was usable");
}

}  // namespace

Daemon Daemon::Start() {
  // Of what else the caller left open a daemon must hold nothing: somebody may wait for the end of that pipe.
  close_range(STDERR_FILENO + 1, ~0u, 0);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) EndWithMessage(std::string("pipe: ") + std::strerror(errno));
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) EndWithMessage(std::string("fork: ") + std::strerror(errno));
  if (child > 0) {
    writer.Reset();
    WaitForChild(reader.Get(), child);
  }
  setsid();
  return Daemon(std::move(writer));
}

void Daemon::Ready() {
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null) {
    for (int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.Get(), standard);
    if (null.Get() <= STDERR_FILENO) null.Release();
  }
  [[maybe_unused]] const ssize_t written = write(to_parent_.Get(), &kReady, 1);
  to_parent_.Reset();
}

void Daemon::Failed(const std::string& what) {
  [[maybe_unused]] const ssize_t written = write(to_parent_.Get(), what.data(), what.size());
  to_parent_.Reset();
  std::exit(EXIT_FAILURE);
}

}  // namespace baton
