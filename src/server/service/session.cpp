#include "server/service/session.h"

#include <algorithm>

#include "base/check.h"
#include "protocol/codec.h"

namespace baton::server {

using protocol::FrameHeader;
using protocol::FrameKind;

Session::Arrival Session::Begin(const FrameHeader& header) {
  if (header.slot == protocol::kNoSlot) {
    // Only a slot bounds what waits and keeps a reply: without one nothing that must have its first reply (T10, A4).
    const auto properties = PropertiesOf(static_cast<protocol::Operation>(header.operation));
    const bool needs_slot = properties && properties->replay == protocol::Replay::kFirstReply;
    return needs_slot ? Arrival::kBroken : Arrival::kNew;
  }
  std::shared_ptr<Connection> connection;
  FrameHeader reply;
  std::vector<std::byte> body;
  {
    const std::lock_guard lock(mutex_);
    if (header.slot >= protocol::kMaxSlots) return Arrival::kBroken;
    if (header.slot >= slots_.size()) slots_.resize(header.slot + 1);
    Slot& slot = slots_[header.slot];
    if (header.sequence == slot.sequence + 1) {
      if (slot.in_progress) return Arrival::kBroken;
      slot.sequence = header.sequence;
      slot.in_progress = true;
      slot.has_reply = false;
      return Arrival::kNew;
    }
    if (header.sequence != slot.sequence || header.sequence == 0) return Arrival::kBroken;
    if (slot.in_progress) return Arrival::kInProgress;
    if (!slot.has_reply) {  // of a kind that may run again
      slot.in_progress = true;
      return Arrival::kNew;
    }
    connection = connection_;
    reply = slot.reply;
    body = slot.body;
  }
  if (connection) connection->Send(reply, body, {});
  return Arrival::kAnswered;
}

void Session::Complete(const FrameHeader& request, int error, Epoch epoch, std::span<const std::byte> body,
                       std::span<const std::byte> data) {
  FrameHeader reply;
  reply.operation = request.operation;
  reply.kind = FrameKind::kReply;
  reply.slot = request.slot;
  reply.sequence = request.sequence;
  reply.error = error;
  reply.epoch = Raw(epoch);
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard lock(mutex_);
    connection = connection_;
    if (request.slot != protocol::kNoSlot) {
      Slot& slot = slots_[request.slot];
      BATON_CHECK(slot.in_progress && slot.sequence == request.sequence);
      slot.in_progress = false;
      slot.waits_as = RequestId{};
      const auto properties = PropertiesOf(static_cast<protocol::Operation>(request.operation));
      if (properties && properties->replay == protocol::Replay::kFirstReply) {
        slot.has_reply = true;
        slot.reply = reply;
        slot.body.assign(body.begin(), body.end());
      }
    }
  }
  if (connection) connection->Send(reply, body, data);
}

void Session::SetWaiting(const FrameHeader& request, RequestId waits_as) {
  if (request.slot == protocol::kNoSlot) return;
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_[request.slot];
  if (slot.in_progress && slot.sequence == request.sequence) slot.waits_as = waits_as;
}

bool Session::IsCancelled(const FrameHeader& request) const {
  if (request.slot == protocol::kNoSlot) return false;
  const std::lock_guard lock(mutex_);
  return slots_[request.slot].cancelled == request.sequence;
}

RequestId Session::Cancel(std::uint32_t index, std::uint32_t sequence) {
  if (index >= protocol::kMaxSlots) return RequestId{};
  const std::lock_guard lock(mutex_);
  if (index >= slots_.size()) slots_.resize(index + 1);
  Slot& slot = slots_[index];
  const bool is_current = slot.in_progress && slot.sequence == sequence;
  const bool is_next = !slot.in_progress && slot.sequence + 1 == sequence;
  if (is_current || is_next) slot.cancelled = sequence;
  return is_current ? slot.waits_as : RequestId{};
}

void Session::Notify(protocol::Operation notice, std::span<const std::byte> body) {
  FrameHeader header;
  header.operation = static_cast<std::uint16_t>(notice);
  header.kind = FrameKind::kNotice;
  if (const auto to = connection()) to->Send(header, body, {});
}

void Session::NotifyRevoked(std::span<const HandleId> handles) {
  {
    const std::lock_guard lock(mutex_);
    revoked_.insert(handles.begin(), handles.end());
  }
  constexpr std::size_t kMostInNotice = protocol::kMaxBodySize / 16;
  while (!handles.empty()) {
    const auto some = handles.first(std::min(handles.size(), kMostInNotice));
    handles = handles.subspan(some.size());
    std::vector<std::byte> body;
    protocol::Encoder(body).Put(protocol::RevokedNotice{{some.begin(), some.end()}});
    Notify(protocol::Operation::kRevoked, body);
  }
}

void Session::NotifyRevokedAgain() {
  std::vector<HandleId> handles;
  {
    const std::lock_guard lock(mutex_);
    handles.assign(revoked_.begin(), revoked_.end());
  }
  NotifyRevoked(handles);
}

void Session::ForgetRevoked(HandleId handle) {
  const std::lock_guard lock(mutex_);
  revoked_.erase(handle);
}

void Session::Adopt(std::shared_ptr<Connection> connection) {
  std::shared_ptr<Connection> old;
  {
    const std::lock_guard lock(mutex_);
    old = std::exchange(connection_, std::move(connection));
    connections_.fetch_add(1, std::memory_order_acq_rel);
  }
  if (old) old->Close();
}

bool Session::Lost(const Connection* connection) {
  const std::lock_guard lock(mutex_);
  if (connection_.get() != connection) return false;
  connection_.reset();
  return true;
}

std::shared_ptr<Connection> Session::connection() const {
  const std::lock_guard lock(mutex_);
  return connection_;
}

void Session::End() {
  ended_.store(true, std::memory_order_release);
}

}  // namespace baton::server
