// The values of a call to batond: its options, its answer, and the bytes a WRITE lends. The calls themselves
// are made through Session (session.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "fuse/client/unique_function.h"
#include "protocol/codec.h"
#include "protocol/operations.h"

namespace baton::client {

using protocol::MessagesOf;
using protocol::Operation;

// Which session a handle or a call belongs to: 1 is the mount's first, a new one follows each loss (ESTALE).
enum class Generation : std::uint64_t {};
inline constexpr Generation kAnyGeneration{0};

// Names one call for Abandon and Cancel. From Session::NewToken, so that it is known before the call is made.
enum class CallToken : std::uint64_t {};
inline constexpr CallToken kNoToken{0};

// Bytes with their owner: WRITE's data, kept without a copy until the request is answered, because it may
// have to be sent again. The owner is destroyed on any thread, with no lock of the session held.
struct OwnedBytes {
  std::span<const std::byte> bytes;
  std::unique_ptr<void, void (*)(void*)> owner{nullptr, [](void*) {}};
};

enum class Origin : std::uint8_t {
  kServer,  // batond said so
  kMount,   // the session answered itself: given up, timed out, of an ended session, or the mount ends
};
enum class Fate : std::uint8_t {
  kKnown,
  kUnknown,  // given up after it was sent: it may yet take effect; CallOptions::late tells how it ended (rule
             // S5)
};

template <Operation kOp>
struct Answer {
  Result<typename MessagesOf<kOp>::Reply> reply;
  Epoch epoch{};                    // the incarnation the request was counted to; 0: none
  std::span<const std::byte> data;  // READ's bytes; valid during the completion only
  Generation generation{};          // the session that answered; a handle in the reply belongs to it
  Origin origin = Origin::kServer;
  Fate fate = Fate::kKnown;
};

template <Operation kOp>
struct CallOptions {
  OwnedBytes data;
  // A call with a handle says which session the handle is from; if that has ended the answer is ESTALE and
  // nothing is sent.
  Generation generation = kAnyGeneration;
  // How long to wait while batond cannot be reached, then ETIMEDOUT (rule S5); 0: for ever. Waiting on a
  // server that can be reached (a lock, a claim) does not count.
  Duration op_timeout{};
  CallToken token = kNoToken;
  // Called exactly once for a call whose completion said Fate::kUnknown, when its fate is known: with
  // batond's first reply, so that an open or lock nobody waits for can be undone (rule O6); with ECANCELED if
  // it never took effect; with ESTALE if the session ended (what it held is gone); with ENOTCONN if the mount
  // ends first.
  UniqueFunction<void(Answer<kOp>&&)> late;
};

// --- Between Session's typed face and its type-less inside
// ------------------------------------------------------------

struct RawAnswer {
  int error = 0;
  Epoch epoch{};
  std::span<const std::byte> body;
  std::span<const std::byte> data;
  Generation generation{};
  Origin origin = Origin::kServer;
  Fate fate = Fate::kKnown;
};

// False, and nothing was called: the body is no reply of this operation.
using RawCompletion = UniqueFunction<bool(const RawAnswer&), 128>;

template <Operation kOp, class Done>
RawCompletion MakeRawCompletion(Done&& done) {
  return [done = std::forward<Done>(done)](const RawAnswer& raw) mutable {
    Answer<kOp> answer{.reply = Fail(raw.error == 0 ? EIO : raw.error),
                       .epoch = raw.epoch,
                       .data = raw.data,
                       .generation = raw.generation,
                       .origin = raw.origin,
                       .fate = raw.fate};
    if (raw.error == 0) {
      auto reply = protocol::Decode<typename MessagesOf<kOp>::Reply>(raw.body);
      if (!reply) return false;
      answer.reply = std::move(*reply);
    }
    done(std::move(answer));
    return true;
  };
}

}  // namespace baton::client
