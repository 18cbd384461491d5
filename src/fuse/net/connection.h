// Connection: the Transport over TCP. One thread of its own connects, receives, and writes what the socket
// did not take at once; a caller of Send writes to the socket itself. Not encrypted; not aware of sessions.
//
// A link that comes back is used within a second however long it was cut (rule S1): where nobody answers, a
// new attempt starts every attempt_interval with a fresh SYN, and a link that has brought nothing for
// `silence` after a PING is given up instead of waiting for TCP's retransmission back-off. A server that is
// started again is found within 100 ms: an address that refuses is asked again every retry_interval, and
// slower only the longer that goes on. Each address has its own times, so that none waits for another's
// silence.
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
    Duration attempt_interval =
        std::chrono::milliseconds(250);  // beside a silent attempt; after a refusal by batond
    Duration retry_interval = std::chrono::milliseconds(50);  // after a failed connect; or a 200th of the
    Duration slowest_retry = std::chrono::milliseconds(500);  // time without a link, up to this
    Duration attempt_limit = std::chrono::seconds(1);         // for one connect
    Duration ping_after = std::chrono::milliseconds(500);     // or a quarter of the lease, if that is less
    Duration silence = std::chrono::milliseconds(1500);       // after a PING
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
    std::size_t target = 0;
    Instant started{};
  };

  struct Target {
    SocketAddress socket;
    Instant due{};        // of the next attempt
    bool tried = false;   // since the last link
    bool failed = false;  // in this round
  };

  // All of these run on the transport's thread.
  void Run();
  void PollOnce();
  // The first address at `begin`, the others behind it, sooner if it fails.
  void PlanFrom(std::size_t first, Instant begin);
  void RefreshTargets(Instant now);
  void StartAttempts(Instant now);
  void StartAttempt(std::size_t target, Instant now);
  void CheckAttempts(Instant now);
  // The next attempt at it is due after `wait`. When every address has failed in this round, the handler
  // hears.
  void Failed(std::size_t target, int error, const std::string& reason, Duration wait, Instant now);
  Duration RetryAfter(Instant now) const;
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
  std::vector<Target> targets_;
  std::size_t first_target_ = 0;  // they have their turns from here
  Instant without_link_since_{};
  int round_error_ = 0;
  std::string round_reason_;
  std::vector<Attempt> attempts_;
  std::optional<Instant> last_refresh_;
  std::optional<Instant> last_empty_;  // there was no address to be tried
  std::size_t link_target_ = 0;
  Instant link_started_{};
  Instant earlier_link_started_{};
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
  bool dropped_ = false;  // by the handler, who did not like it
};

}  // namespace baton
