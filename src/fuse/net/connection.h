// Connection: the Transport over TCP. One thread of its own connects, receives, and writes what the socket
// did not take at once; a caller of Send writes to the socket itself. Not encrypted; not aware of sessions.
//
// A link that comes back is used within a second however long it was cut (rule S1): a new attempt starts
// every attempt_interval with a fresh SYN, and a link that has brought nothing for `silence` after a PING
// is given up instead of waiting for TCP's retransmission back-off.
//
// Bounded memory (rule A4): one receive buffer of two frames' size; the output that waits is what the callers
// sent.
#pragma once

#include <poll.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "fuse/net/endpoint.h"
#include "fuse/net/frame_reader.h"
#include "fuse/net/transport.h"

namespace baton {

class Connection final : public Transport {
 public:
  struct Limits {
    Duration attempt_interval = std::chrono::milliseconds(250);
    Duration attempt_limit = std::chrono::seconds(1);      // for one connect
    Duration ping_after = std::chrono::milliseconds(500);  // or a quarter of the lease, if that is less
    Duration silence = std::chrono::milliseconds(1500);    // after a PING
  };

  // `clock` must outlive the connection.
  Connection(std::vector<Endpoint> endpoints, const Clock& clock);
  Connection(std::vector<Endpoint> endpoints, const Clock& clock, const Limits& limits);
  ~Connection() override;

  void Start(Handler& handler) override;
  void Stop() override;
  bool Send(LinkId link, const protocol::FrameHeader& header, std::span<const std::byte> body,
            std::span<const std::byte> data) override;
  void Drop(LinkId link, std::string_view reason) override;
  void Establish(LinkId link, Duration lease) override;
  void Wake() override;

 private:
  struct Attempt {
    UniqueFd fd;
    std::size_t address = 0;
    Instant started{};
  };

  // All of these run on the transport's thread.
  void Run();
  void PollOnce();
  void StartAttempts(Instant now);
  bool StartAttempt(std::size_t address, Instant now);
  void CheckAttempts(Instant now);
  // True: every address has failed in this round, and the handler knows; the next round waits its interval.
  bool CountFailure(std::size_t address, int error, const std::string& reason);
  void Adopt(Attempt attempt);
  void Receive();
  void DeliverFrames();
  void FlushOutput();
  void CheckSilence(Instant now);
  void TakeDown();
  void TickIfDue();
  int PollTimeout(Instant now) const;

  void Break(LinkId link, std::string_view reason);  // any thread, out_mutex_ not held
  void BreakLocked(std::string_view reason);

  const Clock& clock_;
  const Limits limits_;
  AddressBook book_;
  Handler* handler_ = nullptr;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  UniqueFd wake_;  // eventfd
  std::atomic<bool> woken_{false};

  // Of the transport's thread.
  std::vector<pollfd> polled_;
  bool tick_wanted_ = false;
  Instant last_tick_{};
  std::vector<SocketAddress> addresses_;
  std::vector<bool> failed_;  // in this round
  int round_error_ = 0;
  std::string round_reason_;
  std::vector<Attempt> attempts_;
  std::size_t next_address_ = 0;
  std::optional<Instant> last_attempt_;
  std::optional<Instant> last_refresh_;
  std::size_t link_address_ = 0;
  FrameReader reader_;
  Instant last_heard_{};
  std::optional<Instant> pinged_;

  // The link, for those who send. fd_ and link_ change on the transport's thread only, with the mutex held,
  // so that thread reads them without it.
  mutable std::mutex out_mutex_;
  UniqueFd fd_;
  LinkId link_ = kNoLink;
  std::uint64_t links_ = 0;
  std::optional<std::string> broken_;  // why; no frame goes in or out any more
  std::atomic<bool> dead_{false};      // broken_ is set: for the transport's thread, without the mutex
  std::deque<std::vector<std::byte>> output_;
  std::size_t output_offset_ = 0;  // into output_.front()
  Duration ping_after_;
  bool established_ = false;
};

}  // namespace baton
