#include "fuse/client/slot_table.h"

#include <algorithm>

#include "base/check.h"

namespace baton::client {

PendingCall& SlotTable::Take() {
  if (idle_.empty()) return pool_.emplace_back();
  PendingCall& call = *idle_.back();
  idle_.pop_back();
  return call;
}

void SlotTable::GiveBack(PendingCall& call) {
  call.state = CallState::kFree;
  call.body.clear();  // keeps its room
  call.token = kNoToken;
  call.refused = false;
  call.only_waits = false;
  call.doubt.reset();
  idle_.push_back(&call);
}

void SlotTable::Open(std::uint32_t slots) {
  BATON_CHECK(free_.size() == slots_.size());
  slots_.assign(slots, Slot{});
  free_.clear();
  for (std::uint32_t slot = slots; slot > 0; --slot) free_.push_back(slot - 1);
}

void SlotTable::Occupy(PendingCall& call) {
  BATON_CHECK(HasFree());
  call.slot = free_.back();
  free_.pop_back();
  Slot& slot = slots_[call.slot];
  slot.call = &call;
  locks_ += call.operation == Operation::kLock;
  call.sequence = ++slot.sequence;
  call.order = ++orders_;
  call.state = CallState::kSent;
}

void SlotTable::Vacate(PendingCall& call) {
  BATON_CHECK(slots_[call.slot].call == &call);
  slots_[call.slot].call = nullptr;
  locks_ -= call.operation == Operation::kLock;
  free_.push_back(call.slot);
}

std::vector<PendingCall*> SlotTable::Outstanding() const {
  std::vector<PendingCall*> outstanding;
  for (const Slot& slot : slots_) {
    if (slot.call != nullptr) outstanding.push_back(slot.call);
  }
  std::ranges::sort(outstanding, {}, &PendingCall::order);
  return outstanding;
}

std::vector<PendingCall*> SlotTable::OutstandingLocks() const {
  std::vector<PendingCall*> locks;
  for (const Slot& slot : slots_) {
    if (locks.size() == locks_) break;
    if (slot.call != nullptr && slot.call->operation == Operation::kLock) locks.push_back(slot.call);
  }
  return locks;
}

PendingCall* SlotTable::Find(CallToken token) const {
  if (token == kNoToken) return nullptr;
  const auto found = std::ranges::find_if(
      slots_, [token](const Slot& slot) { return slot.call != nullptr && slot.call->token == token; });
  return found == slots_.end() ? nullptr : found->call;
}

}  // namespace baton::client
