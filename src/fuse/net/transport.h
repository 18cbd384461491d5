// Transport: frames to and from batond over one link at a time, with a new link made for ever when one
// breaks. It knows nothing of sessions, slots or what a frame means; that is client/session.h.
// Implementations: Connection (TCP) and the scripted one of the tests.
//
// Threads: all Handler calls come from one thread, the transport's. Everything else may be called from any
// thread, from inside a Handler call too (but Stop only from another thread). The transport holds no lock
// while it calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "protocol/frame.h"

namespace baton {

enum class LinkId : std::uint64_t {};  // one connection; never reused
inline constexpr LinkId kNoLink{0};

class Transport {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // A link is there and may be sent on.
    virtual void OnUp(LinkId link, std::string_view peer) = 0;
    // The bytes are valid during the call only.
    virtual void OnFrame(const protocol::FrameHeader& header, std::span<const std::byte> body,
                         std::span<const std::byte> data) = 0;
    // The link that was up is gone. `last_heard`: when it last brought anything.
    virtual void OnDown(std::string_view reason, Instant last_heard) = 0;
    // Every address has been tried once more without success; trying goes on. `error`: errno, ETIMEDOUT for
    // silence.
    virtual void OnUnreachable(int error, std::string_view reason) = 0;
    // Comes after Wake, and at least every kTickInterval.
    virtual void OnTick() = 0;
  };
  static constexpr Duration kTickInterval = std::chrono::milliseconds(100);

  virtual ~Transport() = default;

  virtual void Start(Handler& handler) = 0;
  // No Handler call begins after it returns.
  virtual void Stop() = 0;

  // Sends one frame, whole and in the order of the calls; never blocks on the peer. False: that link is not
  // up, nothing was sent. True is no promise that it arrives. The bytes are not needed after the call.
  virtual bool Send(LinkId link, const protocol::FrameHeader& header, std::span<const std::byte> body,
                    std::span<const std::byte> data) = 0;

  // Breaks the link: no further frame of it is delivered, OnDown follows with this reason, then a new link is
  // made.
  virtual void Drop(LinkId link, std::string_view reason) = 0;

  // The link carries a session with this lease: its address is the first to be tried after a break, and the
  // limits of silence follow the lease.
  virtual void Establish(LinkId link, Duration lease) = 0;

  // OnTick soon.
  virtual void Wake() = 0;
};

}  // namespace baton
