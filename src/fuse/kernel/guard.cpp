#include "fuse/kernel/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/log.h"

namespace baton {
namespace {

constexpr int kSocket = STDIN_FILENO;  // the guard's only file at its start
constexpr char kAbort = '!';

// What the guard needs to know again. With it comes, if there is one, the open switch of the connection.
struct Guarded {
  dev_t device = 0;
  std::uint64_t mount_id = 0;
};

// The kernel sends it. One that nobody else sends, and that none of another sender can hide.
int DeathSignal() {
  return SIGRTMAX;
}

// --- The guard's process: nothing that allocates or needs a thread

// In ps -f it would look like a second batonfs.
void ForgetArguments() {
  const UniqueFd file(open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC));
  char chunk[4096];
  std::size_t length = 0;
  for (ssize_t count; (count = read(file.Get(), chunk, sizeof chunk)) > 0;)
    length += static_cast<std::size_t>(count);
  std::memset(program_invocation_name, 0, length);
}

// Where the kernel's switch cannot be had. MNT_FORCE aborts before it unmounts, and it does not unmount what
// is in use: as this place is by `place`.
void AbortByForce(const char* mount_point, const Guarded& guarded) {
  const UniqueFd place(open(mount_point, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct statx found {};
  constexpr int kFlags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (!place || statx(place.Get(), "", kFlags, STATX_MNT_ID, &found) != 0) return;
  if (makedev(found.stx_dev_major, found.stx_dev_minor) != guarded.device) return;
  if (found.stx_mnt_id != guarded.mount_id) return;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", place.Get());
  umount2(path, MNT_FORCE);
}

class GuardProcess {
 public:
  GuardProcess(pid_t parent, const char* mount_point) : parent_(parent), mount_point_(mount_point) {}

  [[noreturn]] void Run(int death) {
    pollfd ready[] = {{death, POLLIN, 0}, {kSocket, POLLIN, 0}};
    while (true) {
      while (poll(ready, 2, -1) < 0) {
      }
      // First what came by the socket: the mount may have been told just before the death. Its end means that
      // batonfs has no file open any more: nothing can hang.
      if (ready[1].revents != 0) Listen();
      if (ready[0].revents != 0 && ParentDied(death)) Abort();
    }
  }

 private:
  void Listen() {
    char text[sizeof(Guarded)];
    iovec part{text, sizeof text};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = recvmsg(kSocket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (count <= 0) _exit(EXIT_SUCCESS);
    if (count == 1 && text[0] == kAbort) Abort();
    if (count != sizeof(Guarded)) return;
    std::memcpy(&guarded_, text, sizeof guarded_);
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr) std::memcpy(&switch_, CMSG_DATA(header), sizeof switch_);
  }

  bool ParentDied(int death) const {
    signalfd_siginfo info{};
    if (read(death, &info, sizeof info) != sizeof info) return false;
    // 0: the kernel could not keep who sent it.
    return info.ssi_pid == static_cast<std::uint32_t>(parent_) || info.ssi_pid == 0;
  }

  // Goes on then until the socket ends: the main thread's death is not that of the others.
  void Abort() const {
    if (switch_ >= 0) {
      [[maybe_unused]] const ssize_t written = write(switch_, "1", 1);
    } else if (guarded_.device != 0) {
      AbortByForce(mount_point_, guarded_);
    }
  }

  const pid_t parent_;
  const char* const mount_point_;
  Guarded guarded_;
  int switch_ = -1;
};

[[noreturn]] void Guard(pid_t parent, int socket, const char* mount_point) {
  setsid();
  if (dup2(socket, kSocket) < 0 || close_range(kSocket + 1, ~0u, 0) != 0) _exit(EXIT_FAILURE);
  if (chdir("/") != 0) _exit(EXIT_FAILURE);
  prctl(PR_SET_NAME, "baton-guard");
  ForgetArguments();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, DeathSignal());
  const int death = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (death < 0 || prctl(PR_SET_PDEATHSIG, DeathSignal()) != 0) _exit(EXIT_FAILURE);
  // It died before: then it had no mount yet.
  if (getppid() != parent) _exit(EXIT_SUCCESS);
  GuardProcess(parent, mount_point).Run(death);
}

// --- In batonfs

std::atomic<int> crash_socket = -1;

void OnCrash(int signal) {
  const int socket = crash_socket;
  if (socket >= 0) send(socket, &kAbort, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  raise(signal);  // as this handler returns, by the default now
}

// A core is dumped only when every thread has left the kernel.
void TellOfCrashes() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGQUIT}) {
    struct sigaction action {};
    if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) continue;  // a sanitizer's
    action.sa_handler = &OnCrash;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(signal, &action, nullptr);
  }
}

// fusectl, from its usual place or, where that is not mounted, by ourselves, without a place.
UniqueFd OpenSwitch(dev_t device) {
  const unsigned number = (major(device) << 20) | minor(device);  // as the kernel writes a dev_t
  const std::string name = fmt::format("{}/abort", number);
  UniqueFd found(open(("/sys/fs/fuse/connections/" + name).c_str(), O_WRONLY | O_CLOEXEC));
  if (found) return found;
  const UniqueFd context(fsopen("fusectl", FSOPEN_CLOEXEC));
  if (!context || fsconfig(context.Get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return {};
  const UniqueFd root(fsmount(context.Get(), FSMOUNT_CLOEXEC, 0));
  return root ? UniqueFd(openat(root.Get(), name.c_str(), O_WRONLY | O_CLOEXEC)) : UniqueFd();
}

}  // namespace

Result<MountGuard> MountGuard::Start(const std::string& mount_point) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return FailErrno();
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) Guard(parent, theirs.Get(), mount_point.c_str());
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) return baton::Fail(error);
  return MountGuard(child, std::move(ours));
}

MountGuard::MountGuard(MountGuard&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::move(other.socket_)) {}

void MountGuard::Watch(const std::string& mount_point, dev_t device) {
  struct statx place {};
  constexpr int kFlags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;  // asks nobody
  if (statx(AT_FDCWD, mount_point.c_str(), kFlags, STATX_MNT_ID, &place) != 0) return;
  Guarded guarded{.device = device, .mount_id = place.stx_mnt_id};
  const UniqueFd kernel_switch = OpenSwitch(device);
  if (!kernel_switch && geteuid() != 0)
    log::Warn("no fusectl at /sys/fs/fuse/connections: should this be killed, programs may hang");
  iovec part{&guarded, sizeof guarded};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (kernel_switch) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = kernel_switch.Get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  if (sendmsg(socket_.Get(), &message, MSG_NOSIGNAL) < 0)
    log::Warn("the guard of the mount is gone: {}", std::strerror(errno));
  crash_socket = socket_.Get();
  TellOfCrashes();
}

void MountGuard::Abort() {
  send(socket_.Get(), &kAbort, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void MountGuard::End() {
  if (pid_ < 0) return;
  crash_socket = -1;
  shutdown(socket_.Get(), SHUT_RDWR);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

}  // namespace baton
