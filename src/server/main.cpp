// batond: composition only. Reads the configuration, opens state and store, and serves until SIGTERM or SIGINT.
#include <signal.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include "base/log.h"
#include "base/version.h"
#include "server/control/config.h"
#include "server/control/control_server.h"
#include "server/net/server.h"
#include "server/service/operator_backend.h"
#include "server/service/service.h"
#include "server/state/reply_file.h"
#include "server/state/sqlite_state_store.h"
#include "server/store/posix_store.h"

namespace baton::server {
namespace {

constexpr int kFailure = 1;

// To as many descriptors as whoever starts us allows; their number.
std::size_t RaiseFileLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

// What is left for open files: connections, directories and requests that run have descriptors, too.
store::StoreOptions StoreOptionsFor(const Config& config, std::size_t descriptors) {
  constexpr std::size_t kForRequests = 512;  // a few for each that runs
  store::StoreOptions options{config.squash_root, config.read_only};
  options.cached_directories = std::min(options.cached_directories, descriptors / 8);
  const std::size_t others = config.limits.connections + options.cached_directories + kForRequests;
  options.open_descriptors = descriptors - std::min(others, descriptors / 2);
  return options;
}

class Finally {
 public:
  explicit Finally(std::function<void()> action) : action_(std::move(action)) {}
  ~Finally() { action_(); }
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;

 private:
  std::function<void()> action_;
};

const char* NameOf(ClaimMode mode) {
  return mode == ClaimMode::kExclusive ? "exclusive" : mode == ClaimMode::kNone ? "none" : "write";
}

StatusInfo StatusOf(const Config& config, const std::string& listen) {
  StatusInfo status;
  status.version = Version();
  status.export_dir = config.export_dir;
  status.listen = listen;
  status.state_dir = config.state_dir;
  status.claim = NameOf(config.claim);
  status.reclaim_scope = config.reclaim_scope == ReclaimScope::kFile ? "file" : "instance";
  status.pid = getpid();
  status.lease = config.lease;
  status.reservation = config.reservation;
  status.read_only = config.read_only;
  status.squash_root = config.squash_root;
  return status;
}

int Serve(const Config& config, std::size_t descriptors, const sigset_t& stop_signals) {
  auto state = SqliteStateStore::Open(config.state_dir);
  if (!state) {
    log::Critical("{}", state.error());
    return kFailure;
  }
  const auto boot = ReadBootId(config.boot_id_file);
  if (!boot) {
    log::Critical("{}", boot.error());
    return kFailure;
  }
  const BootClock clock;
  const auto key = (*state)->LoadServerKey();
  const auto recovered = Recover(**state, {boot->text, clock.Now(), config.reservation, Instant::max()});
  if (!key || !recovered) return kFailure;  // the state store has said why

  auto store = store::PosixStore::Open(config.export_dir, *key, StoreOptionsFor(config, descriptors));
  if (!store) {
    log::Critical("{}", store.error());
    return kFailure;
  }
  if (const auto locked = (*store)->LockExport(); !locked) {
    log::Critical("{}", locked.error());
    return kFailure;
  }
  auto replies = ReplyFile::Open(config.state_dir, boot->text);
  if (!replies) {
    log::Critical("{}", replies.error());
    return kFailure;
  }
  auto pool = WorkerPool::Create({});
  if (!pool) {
    log::Critical("cannot start threads: {}", std::strerror(pool.error().value));
    return kFailure;
  }
  EventLog events;
#ifdef NDEBUG
  constexpr bool kCheckInvariants = false;
#else
  constexpr bool kCheckInvariants = true;
#endif
  Coordinator coordinator(config.Arbiter(), *recovered, **state, events, **pool, **pool, clock, kCheckInvariants);
  Service service({config.lease, config.claim, config.squash_root, config.forget_after,
                   NamePatterns(config.stale_locks), boot->number, *key}, **store, coordinator, **replies, **pool, clock);
  ServerConfig net;
  net.listen = ToString(config.listen);
  constexpr std::uint64_t kMiB = 1024 * 1024;
  net.max_connections = static_cast<std::uint32_t>(config.limits.connections);
  net.max_ungreeted = static_cast<std::uint32_t>(config.limits.ungreeted);
  net.max_unread = config.limits.unread_output * kMiB;
  net.max_unread_in_all = config.limits.unread_output_in_all * kMiB;
  auto server = std::make_unique<Server>(net, **pool, service);
  // However it ends: first whatever brings work, then the threads that do it, then what they work on.
  const Finally in_order([&] {
    (*store)->KeepForRestart();
    server.reset();
    service.Stop();
    coordinator.Stop();
    pool->reset();
  });
  if (const auto started = server->Start(); !started) {
    log::Critical("cannot listen on {}: {}; is another batond running, or is the address not this machine's?",
                  net.listen, std::strerror(started.error().value));
    return kFailure;
  }
  coordinator.Tell(WaitForAbsentUntil{clock.Now() + config.lease});
  const std::string listen = ToString(ListenAddress{config.listen.host, server->Port()});
  OperatorBackend backend(StatusOf(config, listen), coordinator, **store, **state, clock,
                          [&server] { return server->Connections(); });
  auto control = ControlServer::Start(config.state_dir, backend, events);
  if (!control) {
    log::Critical("{}", control.error());
    return kFailure;
  }
  if (geteuid() != 0) {
    log::Warn("not root: only uid {} is served, and files are found again by name and identity", geteuid());
  }
  log::Info("batond {} serves {} on {} (claim {}, lease {} ms, state in {})", Version(), config.export_dir.string(),
            listen, NameOf(config.claim), std::chrono::duration_cast<std::chrono::milliseconds>(config.lease).count(),
            config.state_dir.string());
  sd_notify(0, "READY=1");

  int signal = 0;
  sigwait(&stop_signals, &signal);
  log::Info("ending on {}", strsignal(signal));
  sd_notify(0, "STOPPING=1");
  control->reset();
  if (!server->Stop(std::chrono::seconds(5))) {
    log::Warn("requests are still waiting for the disk; ending without them");
    log::Flush();
    _exit(0);
  }
  return 0;
}

}  // namespace
}  // namespace baton::server

int main(int argc, char** argv) {
  const auto config = baton::ReadConfig(argc, argv);
  if (!config) {
    std::fputs(config.error().text.c_str(), config.error().code == 0 ? stdout : stderr);
    return config.error().code;
  }
  if (!baton::log::Open("batond", "", config->log_level)) return 1;
  signal(SIGPIPE, SIG_IGN);
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);  // inherited by every thread
  const int code = baton::server::Serve(*config, baton::server::RaiseFileLimit(), stop_signals);
  baton::log::Flush();
  return code;
}
