#include "fuse/kernel/kernel_session.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "base/log.h"
#include "fuse/kernel/init_reply.h"

namespace baton {
namespace {

constexpr int kThreads = 2;
constexpr int kMostInterrupts = 4096;  // of requests just answered: hardly ever one
constexpr int kWakeSignal = SIGUSR1;   // gets a thread out of its read when we end

void IgnoreWakeSignal(int) {}

bool StillMounted(fuse_session* session) {
  pollfd device{.fd = fuse_session_fd(session), .events = 0, .revents = 0};
  return device.fd >= 0 && poll(&device, 1, 0) >= 0 && (device.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

// Whether a mount with this device (as st_dev) is in the name space at the place.
bool IsMountedAt(const std::string& mount_point, dev_t device) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream fields(line);
    std::string id, parent, number, root, place;
    fields >> id >> parent >> number >> root >> place;
    if (number == fmt::format("{}:{}", major(device), minor(device)) && place == mount_point) return true;
  }
  return false;
}

// A user's mount may be taken down by fusermount3 only.
bool RunFusermount(const std::string& mount_point) {
  const char* arguments[] = {"fusermount3", "-u", "-q", "-z", "--", mount_point.c_str(), nullptr};
  pid_t pid = 0;
  if (posix_spawnp(&pid, arguments[0], nullptr, nullptr, const_cast<char**>(arguments), environ) != 0)
    return false;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

KernelSession::~KernelSession() {
  if (session_ == nullptr) return;
  Stop();
  if (!mount_point_.empty())
    fuse_session_unmount(session_);  // as the device answers POLLERR, it only closes it
  fuse_session_destroy(session_);
}

Result<> KernelSession::Mount(const std::string& mount_point, const std::vector<std::string>& options,
                              const fuse_lowlevel_ops& operations, void* userdata) {
  ended_event_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ended_event_) return FailErrno();
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return FailErrno();
  close(pipe_ends[0]);
  severed_.Reset(pipe_ends[1]);
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  BATON_CHECK(fuse_opt_add_arg(&arguments, "batonfs") == 0);
  for (const std::string& option : options) {
    BATON_CHECK(fuse_opt_add_arg(&arguments, "-o") == 0);
    BATON_CHECK(fuse_opt_add_arg(&arguments, option.c_str()) == 0);
  }
  session_ = fuse_session_new(&arguments, &operations, sizeof operations, userdata);
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr) return Fail(EINVAL);
  errno = 0;
  if (fuse_session_mount(session_, mount_point.c_str()) != 0) {
    const int error = errno != 0 ? errno : EIO;
    fuse_session_destroy(std::exchange(session_, nullptr));
    return Fail(error);
  }
  mount_point_ = mount_point;
  if (!AskKernelForMore(session_)) log::Warn("libfuse lets nothing be added to its INIT reply");
  return {};
}

void KernelSession::StartThreads() {
  struct sigaction action {};
  action.sa_handler = &IgnoreWakeSignal;  // and no SA_RESTART
  sigaction(kWakeSignal, &action, nullptr);
  running_ = kThreads;
  for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this, i] { Receive(i); });
}

void KernelSession::Receive(int number) {
  pthread_setname_np(pthread_self(), ("kernel" + std::to_string(number)).c_str());
  CurrentRequestBuffer current(buffers_);
  while (!fuse_session_exited(session_)) {
    fuse_buf buffer{};
    buffer.mem = current.Memory();
    const int received = fuse_session_receive_buf(session_, &buffer);
    current.Set(buffer.mem);
    if (received == -EINTR || received == -EAGAIN) continue;
    if (received <= 0) {
      if (received < 0) log::Error("reading requests from the kernel failed: {}", std::strerror(-received));
      break;
    }
    fuse_session_process_buf(session_, &buffer);
  }
  ended_ = true;
  --running_;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(ended_event_.Get(), &one, sizeof one);
}

void KernelSession::SetUsable() {
  std::lock_guard lock(mutex_);
  usable_ = true;
  changed_.notify_all();
}

bool KernelSession::WaitUsable(Duration limit) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, limit, [this] { return usable_; })) return false;
  device_ = Device();
  return true;
}

dev_t KernelSession::Device() const {
  // Asks nobody: the request would come to ourselves.
  struct statx place {};
  constexpr int kFlags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
  if (statx(AT_FDCWD, mount_point_.c_str(), kFlags, STATX_TYPE, &place) != 0) return 0;
  return makedev(place.stx_dev_major, place.stx_dev_minor);
}

bool KernelSession::ForgetAllNames() {
  constexpr std::int32_t kNotifyIncEpoch = 8;  // FUSE_NOTIFY_INC_EPOCH of linux/fuse.h since protocol 7.44
  const fuse_out_header notice{.len = sizeof(fuse_out_header), .error = kNotifyIncEpoch, .unique = 0};
  return write(fuse_session_fd(session_), &notice, sizeof notice) == sizeof notice;
}

void KernelSession::Detach() {
  if (session_ == nullptr || !StillMounted(session_)) return;
  Unmount();
}

void KernelSession::Unmount() {
  if (umount2(mount_point_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || RunFusermount(mount_point_)) return;
  log::Warn("cannot unmount {}: {}", mount_point_, std::strerror(errno));
}

void KernelSession::Stop() {
  if (session_ == nullptr || std::exchange(stopped_, true)) return;
  fuse_session_exit(session_);
  // A thread that was just before its read when the signal came goes on to wait there: so again, until all
  // have ended.
  while (running_ > 0) {
    for (std::thread& thread : threads_) pthread_kill(thread.native_handle(), kWakeSignal);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  // Also a mount whose connection was aborted (umount -f of a busy one), which is dead but there. If it never
  // became usable its device is not known, but then nobody had a reason to mount another one in its place.
  const bool is_mounted = device_ != 0 ? IsMountedAt(mount_point_, device_) : StillMounted(session_);
  Sever();
  if (is_mounted) Unmount();
  DropInterrupts();
}

// As if the kernel had aborted the connection: requests that wait for us end, replies are refused (EPIPE, for
// SIGPIPE is ignored), poll says POLLERR. Never a moment without a file under the number.
void KernelSession::Sever() {
  int result = 0;
  do result = dup3(severed_.Get(), fuse_session_fd(session_), O_CLOEXEC);
  while (result < 0 && (errno == EINTR || errno == EBUSY));
  BATON_CHECK(result >= 0);
}

// An INTERRUPT whose request was answered meanwhile stays with libfuse until the next request, each of which
// takes one along, and is lost if none comes.
void KernelSession::DropInterrupts() {
  struct {
    fuse_in_header header{};
    fuse_batch_forget_in none{};  // of no inode, and without a reply
  } request;
  static_assert(sizeof request == sizeof request.header + sizeof request.none);
  request.header.len = sizeof request;
  request.header.opcode = FUSE_BATCH_FORGET;
  fuse_buf buffer{};
  buffer.mem = &request;
  buffer.size = sizeof request;
  for (int i = 0; i < kMostInterrupts; ++i) fuse_session_process_buf(session_, &buffer);
}

}  // namespace baton
