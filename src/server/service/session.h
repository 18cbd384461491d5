// Session: the server's side of one run of one mount: its connection of the moment, its slots with their last replies
// (rules S1, T10), when it was last heard (S2). The arbiter knows the rest of it. What a restart of the server must know of
// a slot is in the slot's record of the ReplyFile (rule D2). Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "protocol/frame.h"
#include "protocol/messages.h"
#include "protocol/operations.h"
#include "server/service/connection.h"
#include "server/state/reply_file.h"

namespace baton::server {

class Session {
 public:
  Session(SessionId id, protocol::SessionSecret secret, std::string node, bool keeps_names, Instant now)
      : id_(id), secret_(secret), node_(std::move(node)), keeps_names_(keeps_names), heard_(now) {}

  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Where its slots have their records, before the first frame. `Restore`: of a session of the server's earlier life, which
  // finds them there. The file outlives the session.
  void KeepRepliesIn(ReplyFile& file) { replies_ = &file; }
  void Restore(ReplyFile& file);

  SessionId id() const { return id_; }
  const protocol::SessionSecret& secret() const { return secret_; }
  const std::string& node() const { return node_; }
  bool keeps_names() const { return keeps_names_; }

  // What a request frame means to its slot.
  enum class Arrival : std::uint8_t {
    kNew,         // to be carried out
    kAnswered,    // has come before; its reply has been sent again
    kInProgress,  // has come before; its reply goes out when it is done
    kBroken,      // neither: the peer does not keep the protocol
    kNoRoom,      // new, but its reply could not be kept: to be refused, without any effect
    kReopens,     // an open that the server's earlier life answered: EarlierReply, once the handle is there again
  };
  Arrival Begin(const protocol::FrameHeader& header);

  // After kReopens: what the request was answered with. To be answered with Complete, as the operation that it was.
  struct Reply {
    protocol::FrameHeader header;
    std::vector<std::byte> body;
  };
  Reply EarlierReply(std::uint32_t slot) const;

  // Recorded before the effect, for the server's next life: see intent.h. Only for what gets its first reply.
  void Note(const protocol::FrameHeader& request, std::span<const std::byte> bytes);
  // What was noted of this very request in an earlier life; empty: nothing, or it did not happen.
  std::vector<std::byte> NotesOf(const protocol::FrameHeader& request) const;

  // The one reply to a request; kept if a repeated request must get it again.
  void Complete(const protocol::FrameHeader& request, int error, Epoch epoch, std::span<const std::byte> body,
                std::span<const std::byte> data);

  // For CANCEL, which may come at any time, before its request too. An operation names the id under which it is about to
  // wait, asks the arbiter, and then looks whether it was cancelled meanwhile: nobody else could withdraw it.
  void SetWaiting(const protocol::FrameHeader& request, RequestId waits_as);
  bool IsCancelled(const protocol::FrameHeader& request) const;
  // Gives the id under which the request waits or is about to; none if it does not (yet).
  RequestId Cancel(std::uint32_t slot, std::uint32_t sequence);

  void Notify(protocol::Operation notice, std::span<const std::byte> body);
  // Tells the mount, now and after each resume until it closes them: a notice may be lost with its connection.
  void NotifyRevoked(std::span<const HandleId> handles);
  void NotifyRevokedAgain();
  void ForgetRevoked(HandleId handle);

  // From now on replies go here, behind what `greet` sends; the old connection, if any, is closed.
  void Adopt(std::shared_ptr<Connection> connection, const std::function<void(Connection&)>& greet);
  // The connection closed. False if it was not (any longer) the session's.
  bool Lost(const Connection* connection);
  std::shared_ptr<Connection> connection() const;
  // How many it has had.
  std::uint32_t connections() const { return connections_.load(std::memory_order_acquire); }
  // Ended in the arbiter: whatever still comes is answered with ESTALE.
  void End();
  // The server ends, the session does not: nothing more is answered or recorded; the next server does.
  void Stop() { stopped_.store(true, std::memory_order_release); }
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  bool ended() const { return ended_.load(std::memory_order_acquire); }

  void Heard(Instant now) { heard_.store(now); }
  Instant heard() const { return heard_.load(); }
  std::atomic<bool> silent{false};  // as the arbiter was told
  std::atomic<bool> begun{false};   // its first HELLO was answered, and it may ask for more
  std::atomic<bool> must_assert{false};  // first it says what it held (rule D4)
  std::mutex assertion;                  // one ASSERT at a time

 private:
  struct Slot {
    std::uint32_t sequence = 0;
    bool in_progress = false;
    bool has_reply = false;
    bool is_untouched = false;  // since the server was started again: requests that run again may have come after `sequence`
    RequestId waits_as{};
    std::uint32_t cancelled = 0;  // the last sequence that was; 0: none
    ReplyRecord* record = nullptr;
    Reply reply;

    bool IsNext(std::uint32_t next) const;
  };

  // With mutex_ held.
  Slot& SlotAt(std::uint32_t index);
  Arrival Start(Slot& slot, const protocol::FrameHeader& header);

  const SessionId id_;
  const protocol::SessionSecret secret_;
  const std::string node_;
  const bool keeps_names_;
  std::atomic<Instant> heard_;
  std::atomic<bool> ended_{false};
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint32_t> connections_{0};
  mutable std::mutex mutex_;
  std::shared_ptr<Connection> connection_;
  std::set<HandleId> revoked_;  // bounded by what the mount has open
  std::vector<Slot> slots_;  // grows to the highest slot used, at most kMaxSlots
  ReplyFile* replies_ = nullptr;
  bool is_restored_ = false;
};

}  // namespace baton::server
