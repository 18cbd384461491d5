// Connection and FrameHandler: what the service sees of the network. Not the sockets themselves
// (tcp_connection.h), not the session, which outlives its connections (rule S1). Every method may be called
// from any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "protocol/frame.h"

namespace baton::server {

class Connection {
 public:
  virtual ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Sends one frame; body_size and data_size of the header are filled in here. Never blocks: what the socket
  // does not take is copied and queued (bounded, see tcp_connection.h). Frames arrive whole and in the order
  // of the calls. Does nothing on a closed connection: the session's slots keep the reply (rule T10).
  virtual void Send(protocol::FrameHeader header, std::span<const std::byte> body,
                    std::span<const std::byte> data) = 0;

  // No further frame begins; what the socket already took is still delivered. OnClosed follows on another
  // thread.
  virtual void Close() = 0;
  virtual bool IsClosed() const = 0;

  // "ADDR:PORT", for logs and events.
  virtual const std::string& PeerName() const = 0;

  // One slot for the service's own record of the connection, its session.
  void Attach(std::shared_ptr<void> record) {
    const std::lock_guard lock(record_mutex_);
    record_.swap(record);
  }
  template <class T>
  std::shared_ptr<T> Attached() const {
    const std::lock_guard lock(record_mutex_);
    return std::static_pointer_cast<T>(record_);
  }

 protected:
  Connection() = default;

 private:
  mutable std::mutex record_mutex_;
  std::shared_ptr<void> record_;
};

class FrameHandler {
 public:
  virtual ~FrameHandler() = default;

  // One request, on the thread that read it; it may block. Frames of one connection run at the same time,
  // except that nothing behind an operation of Order::kOrdered is looked at before that one has returned. The
  // first frame of a connection is a HELLO request; only requests are passed on, their operation number may
  // be unknown. `body` and `data` stay valid during the call only.
  virtual void OnFrame(const std::shared_ptr<Connection>& connection, protocol::FrameHeader header,
                       std::span<const std::byte> body, std::span<const std::byte> data) = 0;

  // Bytes arrived, of whatever kind: any traffic renews the lease (rule S2). Before the OnFrame that they may
  // complete.
  virtual void OnHeard(const std::shared_ptr<Connection>&) {}

  // A bound that an operator may raise (server/arbiter/limits.h) has closed a connection, or refused one (null). Under the
  // connection's locks: it must not call it.
  virtual void OnLimit(const char* /*option*/, const std::string& /*what*/, const std::shared_ptr<Connection>&) {}

  // Once for each connection, never from inside another call of the connection. Frames that began before may
  // still run; none begins after it.
  virtual void OnClosed(const std::shared_ptr<Connection>& connection) = 0;
};

}  // namespace baton::server
