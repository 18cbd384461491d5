#include "server/service/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "protocol/codec.h"

namespace baton::server {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::Operation;
using protocol::Replay;

namespace {

Replay ReplayOf(std::uint16_t operation) {
  const auto properties = PropertiesOf(static_cast<Operation>(operation));
  return properties ? properties->replay : Replay::kRunsAgain;
}

bool OpensHandle(const FrameHeader& reply) {
  const auto operation = static_cast<Operation>(reply.operation);
  return reply.error == 0 && (operation == Operation::kOpen || operation == Operation::kCreate);
}

// What the server's earlier life watched it watches no more (rule C2).
template <class Reply>
void Unwatch(std::vector<std::byte>& body) {
  if constexpr (requires(Reply& any) { any.watched; }) {
    auto reply = protocol::Decode<Reply>(body);
    if (!reply) return;
    reply->watched = false;
    body.clear();
    protocol::Encoder(body).Put(*reply);
  }
}

void Unwatch(const FrameHeader& reply, std::vector<std::byte>& body) {
  switch (static_cast<Operation>(reply.operation)) {
#define X(number, name, request, answer, ...) \
  case Operation::k##name:                    \
    return Unwatch<protocol::answer>(body);
    BATON_SESSION_OPERATIONS(X)
#undef X
    default:
      return;
  }
}

}  // namespace

Session::~Session() {
  if (!ended()) return;  // its records are for the server's next life
  std::vector<ReplyRecord*> records;
  for (const Slot& slot : slots_) {
    if (slot.record != nullptr) records.push_back(slot.record);
  }
  if (!records.empty()) replies_->GiveBack(records);
}

void Session::Restore(ReplyFile& file) {
  const std::lock_guard lock(mutex_);
  replies_ = &file;
  is_restored_ = true;
  for (ReplyRecord* record : file.RecordsOf(id_)) {
    if (record->Slot() >= protocol::kMaxSlots) continue;
    Slot& slot = SlotAt(record->Slot());
    slot.record = record;
    slot.sequence = record->Sequence();
    slot.has_reply = record->HasReply();
    if (!slot.has_reply) continue;
    const ReplyRecord::Reply last = record->LastReply();
    slot.reply.header = {.operation = record->Operation(),
                         .kind = FrameKind::kReply,
                         .slot = record->Slot(),
                         .sequence = record->Sequence(),
                         .error = last.error,
                         .epoch = last.epoch};
    slot.reply.body.assign(last.body.begin(), last.body.end());
    Unwatch(slot.reply.header, slot.reply.body);
  }
}

// Sequences wrap; those that were not recorded are few where there is a record, and any number where there is none.
bool Session::Slot::IsNext(std::uint32_t next) const {
  if (next == sequence + 1) return true;
  if (!is_untouched || next == sequence) return false;
  return record == nullptr || next - sequence < 0x80000000U;
}

Session::Slot& Session::SlotAt(std::uint32_t index) {
  while (index >= slots_.size()) slots_.emplace_back().is_untouched = is_restored_;
  return slots_[index];
}

Session::Arrival Session::Begin(const FrameHeader& header) {
  if (header.slot == protocol::kNoSlot) {
    // Only a slot bounds what waits and keeps a reply: without one nothing that must have its first reply (T10, A4).
    return ReplayOf(header.operation) == Replay::kRunsAgain ? Arrival::kNew : Arrival::kBroken;
  }
  std::shared_ptr<Connection> connection;
  Reply reply;
  {
    const std::lock_guard lock(mutex_);
    if (header.slot >= protocol::kMaxSlots) return Arrival::kBroken;
    Slot& slot = SlotAt(header.slot);
    const bool is_next = slot.IsNext(header.sequence);
    if (!is_next && (header.sequence != slot.sequence || header.sequence == 0)) return Arrival::kBroken;
    if (slot.in_progress) return is_next ? Arrival::kBroken : Arrival::kInProgress;
    if (is_next || !slot.has_reply || Planted("replies not kept")) return Start(slot, header);
    if (std::exchange(slot.is_untouched, false) && OpensHandle(slot.reply.header)) {
      slot.in_progress = true;
      return Arrival::kReopens;
    }
    connection = connection_;
    reply = slot.reply;
  }
  if (connection) connection->Send(reply.header, reply.body, {});
  return Arrival::kAnswered;
}

// The next request of the slot, or one of a kind that may run again.
Session::Arrival Session::Start(Slot& slot, const FrameHeader& header) {
  const bool is_next = header.sequence != slot.sequence;
  const bool is_recorded = ReplayOf(header.operation) == Replay::kFirstReply;
  const bool has_notes = !is_next && slot.record != nullptr && !slot.record->Notes().empty();
  if (has_notes && is_recorded && slot.record->Operation() != header.operation) return Arrival::kBroken;
  if (is_recorded && slot.record == nullptr) slot.record = replies_->Take(id_, header.slot);
  // What is noted of a request of an earlier life counts until it is answered.
  if (slot.record != nullptr && !has_notes) slot.record->Begin(header.sequence, header.operation);
  slot.sequence = header.sequence;
  slot.in_progress = true;
  slot.has_reply = false;
  slot.is_untouched = false;
  return is_recorded && slot.record == nullptr ? Arrival::kNoRoom : Arrival::kNew;
}

Session::Reply Session::EarlierReply(std::uint32_t slot) const {
  const std::lock_guard lock(mutex_);
  return slots_[slot].reply;
}

void Session::Note(const FrameHeader& request, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  slots_[request.slot].record->Note(bytes);
}

std::vector<std::byte> Session::NotesOf(const FrameHeader& request) const {
  const std::lock_guard lock(mutex_);
  const auto notes = slots_[request.slot].record->Notes();
  return {notes.begin(), notes.end()};
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
      const Replay replay = ReplayOf(request.operation);
      if (replay != Replay::kRunsAgain) {
        slot.has_reply = true;
        slot.reply.header = reply;
        slot.reply.body.assign(body.begin(), body.end());
      }
      if (replay == Replay::kFirstReply && slot.record != nullptr) slot.record->Finish({error, Raw(epoch), body});
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
  Slot& slot = SlotAt(index);
  const bool is_current = slot.in_progress && slot.sequence == sequence;
  const bool is_next = !slot.in_progress && (slot.IsNext(sequence) || (slot.sequence == sequence && !slot.has_reply));
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

void Session::Adopt(std::shared_ptr<Connection> connection, const std::function<void(Connection&)>& greet) {
  std::shared_ptr<Connection> old;
  {
    const std::lock_guard lock(mutex_);
    greet(*connection);
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
