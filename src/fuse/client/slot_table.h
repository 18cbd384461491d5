// SlotTable: the calls of a session and the slots they occupy (protocol/frame.h): a pool of call records that
// keep their buffers, and for each slot its sequence and the call that is outstanding on it. No thread safety
// of its own: Session's mutex guards it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "fuse/client/call.h"

namespace baton::client {

enum class CallState : std::uint8_t {
  kFree,
  kQueued,     // no slot yet; batond has not seen it
  kSent,       // on a slot; batond may have seen it
  kAbandoned,  // on a slot, its caller has been answered already; `late` waits for its fate
  kAnswering,  // the transport's thread is completing it; nobody else may touch it
};

struct PendingCall {
  CallState state = CallState::kFree;
  Operation operation{};
  std::vector<std::byte> body;
  OwnedBytes data;
  RawCompletion done;
  RawCompletion late;
  CallToken token = kNoToken;
  Duration op_timeout{};
  Instant issued{};
  std::uint64_t order = 0;  // of the first sending
  std::uint32_t slot = 0;
  std::uint32_t sequence = 0;
  bool refused = false;     // its reply did not decode once
  bool only_waits = false;  // for a session: nothing is sent, it never gets a slot
  // Of a LOCK: what another request, that was outstanding together with it, did in its range (holdings.h).
  std::optional<protocol::LockRequest> doubt;
  // The caller's thread is still reading body and data. The record is not given back before this is false.
  std::atomic<bool> sending{false};
};

class SlotTable {
 public:
  SlotTable() = default;
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;

  PendingCall& Take();
  // Requires that it is on no slot and holds no callable or data any more.
  void GiveBack(PendingCall& call);

  // A new session: requires that no slot is occupied.
  void Open(std::uint32_t slots);
  std::uint32_t Slots() const { return static_cast<std::uint32_t>(slots_.size()); }
  bool HasFree() const { return !free_.empty(); }

  // Puts the call on a free slot, with the slot's next sequence. Requires HasFree().
  void Occupy(PendingCall& call);
  void Vacate(PendingCall& call);
  PendingCall* At(std::uint32_t slot) const { return slots_[slot].call; }
  std::uint32_t SequenceOf(std::uint32_t slot) const { return slots_[slot].sequence; }

  // Everything on a slot, in the order of its first sending.
  std::vector<PendingCall*> Outstanding() const;
  // The LOCKs on a slot, in no order.
  std::vector<PendingCall*> OutstandingLocks() const;
  // The call on a slot with this token, or nothing.
  PendingCall* Find(CallToken token) const;

 private:
  struct Slot {
    std::uint32_t sequence = 0;  // of the last request; the first has 1
    PendingCall* call = nullptr;
  };

  std::deque<PendingCall> pool_;
  std::vector<PendingCall*> idle_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;  // the last one is taken next: the server's slot is warm
  std::uint64_t orders_ = 0;
  std::size_t locks_ = 0;  // on slots
};

}  // namespace baton::client
