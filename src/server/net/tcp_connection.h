// TcpConnection: one accepted socket. Not the set of them (server.h), not the cutting into frames
// (frame_reader.h).
//
// Reading: the descriptor is registered EPOLLONESHOT; the thread that gets its event owns the reading side,
// takes one frame, gives the reading side back (another thread may take the next frame at once) and then runs
// its frame. An operation of Order::kOrdered runs before the reading side is given back. Sending: any thread,
// straight into the socket; what that does not take is queued.
//
// Bounds (rule A4): frames and bytes in execution, and queued output; beyond them the connection is not read.
// Lock order: send_mutex_, then mutex_; neither is held while the handler runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "server/net/address.h"
#include "server/service/connection.h"
#include "server/net/frame_reader.h"

namespace baton::server {

class Server;

class TcpConnection final : public Connection, public std::enable_shared_from_this<TcpConnection> {
 public:
  static constexpr std::size_t kMaxHelloSize = 64 * 1024;
  static constexpr std::size_t kMaxExecutingBytes = 16 * 1024 * 1024;
  static constexpr std::size_t kMostBacklog = 8 * 1024 * 1024;  // not read from here on, until half of it

  TcpConnection(Server& server, UniqueFd fd, const SocketAddress& peer, std::uint64_t tag,
                std::uint64_t arrival);
  ~TcpConnection() override;

  // False with errno if the kernel refuses.
  bool Register();
  void OnEvent(std::uint32_t events);
  // Closes if a deadline passed.
  void CheckDeadlines(Instant now);
  void MemoryMayBeFree();
  // Closes if no HELLO has come yet: others come, too.
  void GiveWay();
  std::size_t Queued();
  // Closes, and what was queued is gone at once.
  void DropOutput();
  // Gives the descriptor and the buffers back. Requires: closed. Repeats harmlessly.
  void Dispose();

  void Send(protocol::FrameHeader header, std::span<const std::byte> body,
            std::span<const std::byte> data) override;
  void Close() override;
  bool IsClosed() const override { return closed_.load(); }
  const std::string& PeerName() const override { return peer_name_; }

  std::uint64_t Tag() const { return tag_; }
  std::uint64_t Arrival() const { return arrival_; }  // rises with each connection
  const SocketAddress& Peer() const { return peer_; }

 private:
  using Bytes = std::span<const std::byte>;

  bool TakeReading(std::uint32_t events);
  void ReadAndRun();
  bool Receive();
  bool Run(Frame frame);
  bool IsAcceptable(const protocol::FrameHeader& header) const;
  void StopReading();
  void Flush();
  void Queue(std::span<const Bytes> parts, std::size_t sent);
  void Fail(const std::string& why, const char* limit = nullptr);
  bool MayRead() const;
  void Arm();

  Server& server_;
  const SocketAddress peer_;
  const std::string peer_name_;
  const std::uint64_t tag_;
  const std::uint64_t arrival_;
  const std::size_t backlog_;
  const Instant opened_;
  UniqueFd fd_;  // changes only in Dispose: both mutexes, closed, nobody reads
  std::atomic<bool> closed_ = false;
  std::atomic<bool> hello_seen_ = false;

  // The reading side's owner's.
  FrameReader reader_;

  std::mutex mutex_;          // for these
  bool reading_ = false;      // a thread owns the reading side
  bool frame_ready_ = false;  // a further complete frame is in reader_
  bool has_output_ = false;
  bool is_backlogged_ = false;
  bool lacks_memory_ = false;
  std::uint32_t executing_ = 0;
  std::size_t executing_bytes_ = 0;
  Instant partial_since_{};  // half a frame is waited for; 0: none

  std::mutex send_mutex_;  // for these, and for the socket's sending side
  std::deque<std::vector<std::byte>> queue_;
  std::size_t queue_offset_ = 0;  // sent of the first
  std::size_t queued_ = 0;
  Instant output_since_{};  // the peer last took something, or the queue began
};

}  // namespace baton::server
