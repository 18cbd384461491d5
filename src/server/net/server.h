// Server: the TCP side of batond: accepts, bounds and closes connections, and passes their frames to a
// FrameHandler. Not the service, which gives frames their meaning. Rules A2 (address.h) and A4: whatever a
// peer sends, the answer is an error or a closed connection, memory is bounded, and the other connections are
// unharmed.
//
// Threads: everything runs on the WorkerPool. Bounds: connections, frames and bytes in execution per
// connection, queued output, receive buffers in sum; a connection that reaches one is not read until it falls
// below, or is closed with one log line.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log_limiter.h"
#include "base/result.h"
#include "server/net/address.h"
#include "server/net/buffers.h"
#include "server/service/connection.h"
#include "server/net/worker_pool.h"

namespace baton::server {

class TcpConnection;

struct ServerConfig {
  std::string listen = "127.0.0.1:7740";
  std::uint32_t max_connections = 4096;
  std::uint32_t max_ungreeted = 1024;                    // of them, without HELLO: then the oldest is closed
  std::uint32_t max_executing = 64;                      // frames of one connection at a time
  std::uint64_t max_receive_memory = 512 * 1024 * 1024;  // in buffers of frames larger than 16 KiB
  std::uint64_t max_unread = 128 * 1024 * 1024;          // queued output of one connection: then it is closed
  std::uint64_t max_unread_in_all = 1024 * 1024 * 1024;  // then those with the most are closed
  Duration hello_timeout = std::chrono::seconds(10);     // to the first complete frame
  Duration stall_timeout = std::chrono::seconds(30);     // half a frame, or queued output nobody reads
};

class Server final : private EventSource {
 public:
  // Requires: pool and handler outlive the server, and nothing else is the pool's source.
  Server(const ServerConfig& config, WorkerPool& pool, FrameHandler& handler);
  // Calls Stop; waits for frames in execution, however long they take.
  ~Server() override;

  // Binds and begins to accept. Fails with the errno of socket(2), bind(2) or listen(2), or of
  // ResolveAddress.
  Result<> Start();

  // Accepts no more, begins no further frame, waits up to `patience` for frames in execution and queued
  // output, and closes every connection. False: frames are still in execution, and the destructor would wait
  // for them.
  bool Stop(Duration patience);

  std::uint16_t Port() const { return port_; }  // the first address's, after Start
  std::uint32_t Connections() const { return connection_count_.load(std::memory_order_relaxed); }

 private:
  friend class TcpConnection;

  struct Slot {
    std::mutex mutex;
    std::shared_ptr<TcpConnection> connection;
    std::uint32_t generation = 0;
  };

  void OnEvent(std::uint64_t tag, std::uint32_t events) override;
  Result<UniqueFd> Listen(const SocketAddress& address);
  void Accept(std::size_t listener);
  void RestAccepting(std::size_t listener, int error);
  void Admit(UniqueFd fd, const SocketAddress& peer);
  void Sweep();
  std::vector<std::shared_ptr<TcpConnection>> All();
  std::shared_ptr<TcpConnection> Find(std::uint64_t tag);

  // Posts or schedules work of the server's own; the destructor waits for it.
  void PostOwn(std::function<void()> task);
  void ScheduleOwn(Duration after, std::function<void()> task);
  void OwnTaskEnded();

  // Called by connections.
  bool FrameBegins();  // false: the server stops, do not run it
  void FrameEnded();
  void OutputQueued(std::size_t bytes);
  void RelieveOutput();
  void Greeted(std::uint64_t arrival);
  void AtLimit(const char* option, const std::string& what, const SocketAddress& peer, const std::shared_ptr<Connection>& connection);
  void OutputGone(std::size_t bytes);
  void Closed(std::shared_ptr<TcpConnection> connection);
  void Forget(std::uint64_t tag);
  void WaitForMemory(std::weak_ptr<TcpConnection> connection);
  void MemoryMayBeFree();
  void LogLimited(const SocketAddress& peer, const std::string& text);
  void NotifyIfQuiet();

  const ServerConfig config_;
  WorkerPool& pool_;
  FrameHandler& handler_;
  std::shared_ptr<BufferPool> buffers_;
  LogLimiter log_limiter_;
  LogLimiter limit_limiter_;  // of events
  std::vector<UniqueFd> listeners_;
  std::uint16_t port_ = 0;

  std::vector<Slot> slots_;
  std::mutex free_mutex_;
  std::vector<std::uint32_t> free_slots_;
  std::uint64_t last_arrival_ = 0;
  std::map<std::uint64_t, std::uint64_t> ungreeted_;  // who has said no HELLO yet: arrival, tag
  std::atomic<std::uint32_t> connection_count_ = 0;

  std::mutex memory_mutex_;
  std::vector<std::weak_ptr<TcpConnection>> waiting_for_memory_;

  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> executing_ = 0;
  std::atomic<std::uint64_t> queued_bytes_ = 0;
  std::atomic<bool> relieving_ = false;
  std::mutex quiet_mutex_;  // for quiet_ and the two below
  std::condition_variable quiet_;
  std::uint64_t own_tasks_ = 0;
  TimerId sweep_timer_{};
};

}  // namespace baton::server
