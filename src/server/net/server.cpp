#include "server/net/server.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "server/net/tcp_connection.h"

namespace baton::server {
namespace {

constexpr Duration kSweepInterval = std::chrono::milliseconds(250);
constexpr Duration kAcceptRest = std::chrono::milliseconds(100);
constexpr Duration kLogInterval = std::chrono::seconds(10);
constexpr int kListenBacklog = 1024;
constexpr int kMostAcceptedAtOnce = 64;
constexpr std::size_t kMostListeners = 16;

// Tags: listeners by their index, connections by generation (from 1 on) and slot.
constexpr std::uint64_t kFirstListener = WorkerPool::kFirstTag;
constexpr std::uint64_t TagOf(std::uint32_t generation, std::uint32_t slot) {
  return std::uint64_t{generation} << 32 | slot;
}
constexpr std::uint32_t SlotOf(std::uint64_t tag) {
  return static_cast<std::uint32_t>(tag);
}
constexpr std::uint32_t GenerationOf(std::uint64_t tag) {
  return static_cast<std::uint32_t>(tag >> 32);
}

std::uint16_t PortOf(int fd) {
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size);
  if (bound.storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(bound.storage).sin6_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in&>(bound.storage).sin_port);
}

}  // namespace

Server::Server(const ServerConfig& config, WorkerPool& pool, FrameHandler& handler)
    : config_(config),
      pool_(pool),
      handler_(handler),
      buffers_(std::make_shared<BufferPool>(config.max_receive_memory, [this] { MemoryMayBeFree(); })),
      log_limiter_(kLogInterval),
      limit_limiter_(kLogInterval),
      slots_(config.max_connections) {
  for (std::uint32_t slot = config.max_connections; slot > 0; --slot) free_slots_.push_back(slot - 1);
}

Server::~Server() {
  Stop(Duration(0));
  pool_.SetSource(nullptr);
  std::unique_lock lock(quiet_mutex_);
  quiet_.wait(lock, [this] { return connection_count_.load() == 0 && own_tasks_ == 0; });
  buffers_->Detach();
}

Result<> Server::Start() {
  const auto addresses = ResolveAddress(config_.listen);
  if (!addresses) return tl::unexpected(addresses.error());
  pool_.SetSource(this);
  Errno failure{EADDRNOTAVAIL};
  for (const SocketAddress& address : *addresses) {
    if (listeners_.size() == kMostListeners) break;
    auto listener = Listen(address);
    if (listener) {
      listeners_.push_back(std::move(*listener));
    } else {
      failure = listener.error();
      // One family may be switched off on this machine; anything else means that the address is not ours to
      // have.
      if (failure != Errno{EADDRNOTAVAIL} && failure != Errno{EAFNOSUPPORT}) return tl::unexpected(failure);
    }
  }
  if (listeners_.empty()) return tl::unexpected(failure);
  port_ = PortOf(listeners_.front().Get());
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    if (!pool_.Add(listeners_[i].Get(), EPOLLIN | EPOLLONESHOT, kFirstListener + i)) return FailErrno();
  }
  const std::lock_guard lock(quiet_mutex_);
  ++own_tasks_;
  sweep_timer_ = pool_.At(pool_.Now() + kSweepInterval, [this] { Sweep(); });
  return {};
}

Result<UniqueFd> Server::Listen(const SocketAddress& address) {
  const int family = address.storage.ss_family;
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno();
  const int on = 1;
  ::setsockopt(fd.Get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) ::setsockopt(fd.Get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(fd.Get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 ||
      ::listen(fd.Get(), kListenBacklog) != 0) {
    return FailErrno();
  }
  return fd;
}

// --- Events
// ---------------------------------------------------------------------------------------------------------

void Server::OnEvent(std::uint64_t tag, std::uint32_t events) {
  if (GenerationOf(tag) == 0) return Accept(tag - kFirstListener);
  if (const auto connection = Find(tag)) connection->OnEvent(events);
}

std::shared_ptr<TcpConnection> Server::Find(std::uint64_t tag) {
  Slot& slot = slots_[SlotOf(tag)];
  const std::lock_guard lock(slot.mutex);
  return slot.generation == GenerationOf(tag) ? slot.connection : nullptr;
}

void Server::Accept(std::size_t listener) {
  const int fd = listeners_[listener].Get();
  for (int i = 0; i < kMostAcceptedAtOnce && !stopping_.load(); ++i) {
    SocketAddress peer;
    peer.size = sizeof peer.storage;
    UniqueFd accepted(
        ::accept4(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (accepted) {
      Admit(std::move(accepted), peer);
      continue;
    }
    if (errno == EAGAIN) break;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      return RestAccepting(listener, errno);
    }
    // Otherwise a connection that died before it was accepted.
  }
  if (!stopping_.load()) pool_.Modify(fd, EPOLLIN | EPOLLONESHOT, kFirstListener + listener);
}

// The waiting peer keeps the listener readable: without a rest this would spin.
void Server::RestAccepting(std::size_t listener, int error) {
  if (const auto left_out = log_limiter_.Allow("accept", pool_.Now())) {
    log::Error("cannot accept connections: errno {}; trying again ({} such lines left out)", error,
               *left_out);
  }
  ScheduleOwn(kAcceptRest, [this, listener] {
    if (stopping_.load()) return;
    pool_.Modify(listeners_[listener].Get(), EPOLLIN | EPOLLONESHOT, kFirstListener + listener);
  });
}

void Server::Admit(UniqueFd fd, const SocketAddress& peer) {
  std::optional<std::uint32_t> free;
  {
    const std::lock_guard lock(free_mutex_);
    if (!free_slots_.empty()) {
      free = free_slots_.back();
      free_slots_.pop_back();
    }
  }
  if (!free) {
    return AtLimit("max-connections", "refused the connection of " + ToString(peer) + ": " +
                                          std::to_string(config_.max_connections) + " are open already", peer, nullptr);
  }
  const std::uint32_t index = *free;
  connection_count_.fetch_add(1);
  Slot& slot = slots_[index];
  std::shared_ptr<TcpConnection> connection;
  std::uint64_t oldest = 0;
  {
    const std::scoped_lock lock(slot.mutex, free_mutex_);
    if (++slot.generation == 0) slot.generation = 1;
    const std::uint64_t tag = TagOf(slot.generation, index);
    connection = std::make_shared<TcpConnection>(*this, std::move(fd), peer, tag, ++last_arrival_);
    slot.connection = connection;
    ungreeted_.emplace(last_arrival_, tag);
    if (ungreeted_.size() > config_.max_ungreeted) {
      oldest = ungreeted_.begin()->second;
      ungreeted_.erase(ungreeted_.begin());
    }
  }
  if (const auto silent = oldest == 0 ? nullptr : Find(oldest)) silent->GiveWay();
  // A connection admitted while Stop collects them closes itself.
  if (!connection->Register() || stopping_.load()) connection->Close();
}

void Server::Closed(std::shared_ptr<TcpConnection> connection) {
  PostOwn([this, connection = std::move(connection)] {
    connection->Dispose();
    handler_.OnClosed(connection);
    Forget(connection->Tag());
  });
}

void Server::Forget(std::uint64_t tag) {
  std::shared_ptr<TcpConnection> gone;
  {
    Slot& slot = slots_[SlotOf(tag)];
    const std::lock_guard lock(slot.mutex);
    gone.swap(slot.connection);
  }
  {
    const std::lock_guard lock(free_mutex_);
    if (gone) ungreeted_.erase(gone->Arrival());
    free_slots_.push_back(SlotOf(tag));
  }
  connection_count_.fetch_sub(1);
}

std::vector<std::shared_ptr<TcpConnection>> Server::All() {
  std::vector<std::shared_ptr<TcpConnection>> all;
  for (Slot& slot : slots_) {
    const std::lock_guard lock(slot.mutex);
    if (slot.connection) all.push_back(slot.connection);
  }
  return all;
}

void Server::Sweep() {
  const Instant now = pool_.Now();
  for (const auto& connection : All()) connection->CheckDeadlines(now);
  MemoryMayBeFree();  // also for who was refused just after memory came back
  {
    const std::lock_guard lock(quiet_mutex_);
    if (!stopping_.load()) {
      ++own_tasks_;
      sweep_timer_ = pool_.At(now + kSweepInterval, [this] { Sweep(); });
    }
  }
  OwnTaskEnded();
}

// --- What connections ask for
// ---------------------------------------------------------------------------------------

bool Server::FrameBegins() {
  executing_.fetch_add(1);
  if (!stopping_.load()) return true;
  FrameEnded();
  return false;
}

void Server::FrameEnded() {
  if (executing_.fetch_sub(1) == 1) NotifyIfQuiet();
}

void Server::Greeted(std::uint64_t arrival) {
  const std::lock_guard lock(free_mutex_);
  ungreeted_.erase(arrival);
}

void Server::OutputQueued(std::size_t bytes) {
  const bool is_too_much = queued_bytes_.fetch_add(bytes) + bytes > config_.max_unread_in_all;
  if (is_too_much && !relieving_.exchange(true)) PostOwn([this] { RelieveOutput(); });
}

// Who reads has next to nothing queued: those with the most are the ones that do not.
void Server::RelieveOutput() {
  std::vector<std::pair<std::size_t, std::shared_ptr<TcpConnection>>> queued;
  for (auto& connection : All()) {
    if (const std::size_t bytes = connection->Queued(); bytes != 0) queued.emplace_back(bytes, std::move(connection));
  }
  std::sort(queued.begin(), queued.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [bytes, connection] : queued) {
    if (queued_bytes_.load() <= config_.max_unread_in_all) break;
    connection->DropOutput();
  }
  relieving_.store(false);
}

void Server::OutputGone(std::size_t bytes) {
  if (bytes != 0 && queued_bytes_.fetch_sub(bytes) == bytes) NotifyIfQuiet();
}

void Server::NotifyIfQuiet() {
  if (!stopping_.load()) return;
  const std::lock_guard lock(quiet_mutex_);
  quiet_.notify_all();
}

void Server::WaitForMemory(std::weak_ptr<TcpConnection> connection) {
  const std::lock_guard lock(memory_mutex_);
  waiting_for_memory_.push_back(std::move(connection));
}

void Server::MemoryMayBeFree() {
  std::vector<std::weak_ptr<TcpConnection>> waiting;
  {
    const std::lock_guard lock(memory_mutex_);
    waiting.swap(waiting_for_memory_);
  }
  for (const auto& weak : waiting) {
    if (const auto connection = weak.lock()) connection->MemoryMayBeFree();
  }
}

void Server::AtLimit(const char* option, const std::string& what, const SocketAddress& peer,
                     const std::shared_ptr<Connection>& connection) {
  LogLimited(peer, what + " (--" + option + ")");
  if (limit_limiter_.Allow(option + HostOf(peer), pool_.Now())) handler_.OnLimit(option, what, connection);
}

void Server::LogLimited(const SocketAddress& peer, const std::string& text) {
  const auto left_out = log_limiter_.Allow(HostOf(peer), pool_.Now());
  if (!left_out) return;
  if (*left_out == 0) {
    log::Warn("{}", text);
  } else {
    log::Warn("{} ({} lines about its host left out)", text, *left_out);
  }
}

// --- The server's own tasks, and the end
// -----------------------------------------------------------------------------

void Server::PostOwn(std::function<void()> task) {
  {
    const std::lock_guard lock(quiet_mutex_);
    ++own_tasks_;
  }
  pool_.Post([this, task = std::move(task)]() mutable {
    task();
    task = nullptr;
    OwnTaskEnded();
  });
}

void Server::ScheduleOwn(Duration after, std::function<void()> task) {
  {
    const std::lock_guard lock(quiet_mutex_);
    ++own_tasks_;
  }
  pool_.At(pool_.Now() + after, [this, task = std::move(task)] {
    task();
    OwnTaskEnded();
  });
}

void Server::OwnTaskEnded() {
  const std::lock_guard lock(quiet_mutex_);
  --own_tasks_;
  quiet_.notify_all();
}

bool Server::Stop(Duration patience) {
  stopping_.store(true);
  bool is_quiet = false;
  {
    std::unique_lock lock(quiet_mutex_);
    quiet_.wait_for(lock, patience, [this] { return executing_.load() == 0 && queued_bytes_.load() == 0; });
    is_quiet = executing_.load() == 0;
    if (sweep_timer_ != TimerId{} && pool_.Cancel(std::exchange(sweep_timer_, TimerId{}))) --own_tasks_;
  }
  for (const UniqueFd& listener : listeners_) ::shutdown(listener.Get(), SHUT_RDWR);
  for (const auto& connection : All()) connection->Close();
  return is_quiet;
}

}  // namespace baton::server
