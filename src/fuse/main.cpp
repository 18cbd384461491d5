// batonfs, the mount: composition only. From the command line to a usable mount, until it is unmounted or
// told to end.
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <future>
#include <optional>

#include "base/log.h"
#include "base/version.h"
#include "fuse/client/session.h"
#include "fuse/identity/resolver.h"
#include "fuse/kernel/daemon.h"
#include "fuse/kernel/guard.h"
#include "fuse/kernel/options.h"
#include "fuse/net/connection.h"
#include "fuse/ops/fence_keeper.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton {
namespace {

constexpr Duration kStartLimit = std::chrono::seconds(10);
constexpr Duration kBackgroundWait = std::chrono::seconds(1);  // for a server that is there after all
constexpr Duration kEndLimit = std::chrono::seconds(2);

using Problem = std::optional<std::string>;

std::string FirstLineOf(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string RandomRun() {
  std::uint64_t number[2] = {};
  while (getrandom(number, sizeof number, 0) < 0 && errno == EINTR) {
  }
  return fmt::format("{:016x}{:016x}", number[0], number[1]);
}

// --- Before anything is started
// -------------------------------------------------------------------------------------

// A second mount there would end the session of the first (rule S3).
bool IsMountedAlready(const std::string& mount_point) {
  struct statx place {};
  constexpr int kFlags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
  if (statx(AT_FDCWD, mount_point.c_str(), kFlags, STATX_MNT_ID, &place) != 0) return false;
  if ((place.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0) return false;
  const std::string begin = fmt::format("{} ", place.stx_mnt_id);
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.starts_with(begin)) return line.find(" - fuse.batonfs ") != std::string::npos;
  }
  return false;
}

Problem CheckMountPoint(MountOptions& options) {
  char real[PATH_MAX];
  struct stat place {};
  if (realpath(options.mount_point.c_str(), real) == nullptr || stat(real, &place) != 0) {
    const char* hint = errno == ENOTCONN ? " (an earlier mount died there: umount -l it first)" : "";
    return fmt::format("mount point {}: {}{}", options.mount_point, std::strerror(errno), hint);
  }
  if (!S_ISDIR(place.st_mode)) return fmt::format("mount point {} is not a directory", options.mount_point);
  if (IsMountedAlready(real)) return fmt::format("{} is a batonfs mount already; umount it first", real);
  options.mount_point = real;
  return std::nullopt;
}

Problem CheckLogFile(MountOptions& options) {
  if (options.log_file.empty() || options.log_file[0] == '/') return std::nullopt;
  char here[PATH_MAX];
  if (getcwd(here, sizeof here) == nullptr)
    return fmt::format("log file {}: {}", options.log_file, std::strerror(errno));
  options.log_file = std::string(here) + "/" + options.log_file;
  return std::nullopt;
}

Problem OpenLog(const MountOptions& options) {
  if (options.log_file.empty() && !options.foreground) {
    log::OpenSyslog("batonfs", options.log_level);
    return std::nullopt;
  }
  if (log::Open("batonfs", options.log_file, options.log_level)) return std::nullopt;
  return fmt::format("log file {}: {}", options.log_file, std::strerror(errno));
}

// The source as it was written: by it and the mount point mount(8) knows that a line of fstab is mounted
// already.
std::string SourceOption(const std::string& servers) {
  std::string option = "fsname=";
  for (const char letter : servers) {
    if (letter == ',' || letter == '\\') option += '\\';
    option += letter;
  }
  return option;
}

std::vector<std::string> KernelOptions(const MountOptions& options) {
  std::vector<std::string> words{SourceOption(options.servers), "subtype=batonfs", "default_permissions"};
  if (options.allow_other || geteuid() == 0) words.emplace_back("allow_other");
  words.insert(words.end(), options.kernel_options.begin(), options.kernel_options.end());
  return words;
}

// SIGTERM and SIGINT come through a descriptor; every thread inherits the mask.
UniqueFd BlockEndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

// --- The mount
// ------------------------------------------------------------------------------------------------------

class Program {
 public:
  Program(MountOptions options, std::vector<Endpoint> servers, MountGuard& guard)
      : options_(std::move(options)),
        guard_(guard),
        servers_(std::move(servers)),
        transport_(servers_, clock_),
        session_(transport_, clock_, Identity(), keeper_),
        program_xattrs_([this](std::uint64_t device) { return device == own_device_; },
                        [this](const ProgramFile& file) { return AskMount(file); }),
        resolver_(proc_, clock_, [this](pid_t pid) { return program_xattrs_.Read(pid); },
                  {options_.instance_variable, options_.version_variable, options_.takeover_variable}),
        mount_(options_, clock_, proc_, session_, resolver_, inodes_, opens_) {
    keeper_.SetMount(mount_);
  }

  // Until the mount is usable, or the reason why not.
  Problem Start() {
    // Nothing is mounted without a server, unless that is wanted.
    if (!options_.background_mount) {
      if (auto connected = session_.Start(kStartLimit); !connected) return connected.error().text;
      mount_.WaitForFences();
    }
    if (auto problem = StartKernel()) return problem;
    mount_.housekeeping.Start({.fast_wanted = [this] { return mount_.pending.Wanted(); },
                               .fast = [this] { mount_.pending.Poll(); },
                               .slow = [this] { Sweep(); }});
    if (options_.background_mount) session_.StartInBackground(kBackgroundWait);
    return std::nullopt;
  }

  // Until the kernel or a signal ends it.
  void Run(int signals) {
    pollfd ready[] = {{signals, POLLIN, 0}, {mount_.kernel.EndedEvent(), POLLIN, 0}};
    while (ready[0].revents == 0 && ready[1].revents == 0) poll(ready, 2, -1);
    if (ready[1].revents == 0) {
      log::Info("told to end: unmounting {}", options_.mount_point);
      mount_.kernel.Detach();
      poll(ready + 1, 1,
           static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(kEndLimit).count()));
    }
  }

  // Replies may be under way until the session has ended, so the kernel's side is destroyed after it.
  void End() {
    ending_ = true;
    mount_.kernel.Stop();
    guard_.Abort();  // a thread of ours may be in the kernel, which waits there for what nobody answers now
    mount_.housekeeping.Stop();
    // Before the pools, of which a process may hold a thread for as long as it pleases: the session's claims
    // do not wait for that. What is still called afterwards fails at once.
    session_.End(kEndLimit);
    mount_.identity_pool.Stop();
    mount_.notifier.Stop();
    mount_.name_pool.Stop();
  }

 private:
  Problem StartKernel() {
    const auto mounted =
        mount_.kernel.Mount(options_.mount_point, KernelOptions(options_), ops::Table(), &mount_);
    if (!mounted) {
      return fmt::format("mounting at {}: {}", options_.mount_point, std::strerror(mounted.error().value));
    }
    mount_.kernel.StartThreads();
    if (!mount_.kernel.WaitUsable(kStartLimit))
      return std::string("the kernel did not begin to use the mount");
    own_device_ = mount_.kernel.UsableDevice();
    if (own_device_ != 0) guard_.Watch(options_.mount_point, own_device_);
    mount_.coherence.CheckKernel();
    return std::nullopt;
  }

  client::SessionIdentity Identity() const {
    return {.node = options_.node,
            .boot = FirstLineOf("/proc/sys/kernel/random/boot_id"),
            .machine = FirstLineOf("/etc/machine-id"),
            .mount_point = options_.mount_point,
            .run = RandomRun(),
            .features = options_.entry_timeout > 0 ? protocol::kFeatureKeepsNames : 0};
  }

  // Rule I2 (c) for a program that lies on this mount. On the identity pool; waits for batond.
  ProgramXattr AskMount(const ProgramFile& file) {
    const auto inode = inodes_.FindByNumber(file.inode);
    if (inode == nullptr) return {};
    auto answer = std::make_shared<std::promise<std::optional<std::string>>>();
    auto value = answer->get_future();
    session_.Call<Operation::kGetxattr>(
        {inode->File(), "user.app_instance_id", {}}, [answer](client::Answer<Operation::kGetxattr>&& got) {
          answer->set_value(got.reply ? std::optional(got.reply->value) : std::nullopt);
        });
    while (value.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
      if (ending_) return {};
    }
    return {value.get()};
  }

  // Each second. Reading /proc of many processes may wait for one of them: not on this thread.
  void Sweep() {
    const auto link = session_.State();
    mount_.coherence.CheckLink(link.state == client::LinkState::kLive, link.since, clock_.Now());
    if (sweeping_.exchange(true)) return;
    mount_.identity_pool.Post([this] {
      for (const auto& [guid, epoch] : resolver_.Sweep()) session_.InstanceGone(guid, epoch);
      sweeping_ = false;
    });
  }

  const MountOptions options_;
  MountGuard& guard_;
  const std::vector<Endpoint> servers_;
  BootClock clock_;
  LinuxProcReader proc_;
  InodeTable inodes_;
  OpenTable opens_;
  FenceKeeper keeper_;
  Connection transport_;
  client::Session session_;
  std::atomic<std::uint64_t> own_device_ = 0;
  std::atomic<bool> ending_ = false;
  std::atomic<bool> sweeping_ = false;
  ProgramXattrReader program_xattrs_;
  IdentityResolver resolver_;
  Mount mount_;
};

[[noreturn]] void Fail(std::optional<Daemon>& daemon, const std::string& what) {
  if (daemon) daemon->Failed(what);
  std::fprintf(stderr, "batonfs: %s\n", what.c_str());
  std::exit(EXIT_FAILURE);
}

int RunMount(MountOptions options, std::vector<Endpoint> servers) {
  std::optional<Daemon> daemon;
  if (!options.foreground) daemon = Daemon::Start();
  if (auto problem = OpenLog(options)) Fail(daemon, *problem);
  if (!options.foreground && chdir("/") != 0) Fail(daemon, fmt::format("chdir /: {}", std::strerror(errno)));
  auto guard = MountGuard::Start(options.mount_point);
  if (!guard) Fail(daemon, fmt::format("fork: {}", std::strerror(guard.error().value)));
  const UniqueFd signals = BlockEndSignals();
  if (options.node.empty()) options.node = HostName() + ":" + options.mount_point;
  const std::string from = options.servers;
  const std::string to = options.mount_point;
  Program program(std::move(options), std::move(servers), *guard);
  if (auto problem = program.Start()) {
    program.End();
    guard->End();
    Fail(daemon, fmt::format("{} on {}: {}", from, to, *problem));
  }
  log::Info("{} is mounted on {}", from, to);
  if (daemon) daemon->Ready();
  program.Run(signals.Get());
  program.End();
  log::Info("unmounted {}", to);
  return EXIT_SUCCESS;
}

int Main(const std::vector<std::string>& arguments) {
  auto options = ParseMountOptions(arguments);
  std::optional<Daemon> none;
  if (!options) Fail(none, options.error());
  if (options->task == MountOptions::Task::kHelp) {
    std::fwrite(MountUsage().data(), 1, MountUsage().size(), stdout);
    return EXIT_SUCCESS;
  }
  if (options->task == MountOptions::Task::kVersion) {
    std::printf("batonfs %s\n", Version());
    return EXIT_SUCCESS;
  }
  auto servers = ParseEndpoints(options->servers);
  if (!servers) Fail(none, fmt::format("'{}' is not HOST[:PORT][,HOST2...]", options->servers));
  if (auto problem = CheckMountPoint(*options)) Fail(none, *problem);
  if (auto problem = CheckLogFile(*options)) Fail(none, *problem);
  if (options->verbose)
    std::fprintf(stderr, "batonfs: %s on %s\n", options->servers.c_str(), options->mount_point.c_str());
  if (options->fake) return EXIT_SUCCESS;
  return RunMount(std::move(*options), std::move(*servers));
}

}  // namespace
}  // namespace baton

int main(int argc, char** argv) {
  return baton::Main(std::vector<std::string>(argv, argv + argc));
}
