#include "fuse/client/holdings.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

namespace baton::client {

using protocol::HeldHandle;
using protocol::HeldLock;
using protocol::LockKind;
using protocol::LockMode;
using protocol::LockRequest;

namespace {

constexpr SessionId kOwn{1};  // every owner here is of this session

LockOwner OwnerOf(const LockRequest& lock) {
  return {kOwn, lock.owner};
}

ByteRange RangeOf(const LockRequest& lock) {
  return {lock.start, lock.last};
}

bool IsValid(const LockRequest& lock) {
  return lock.start <= lock.last && lock.last <= kRangeEnd;
}

// batond keeps ranges of different incarnations apart; here too.
std::optional<Guid> MarkOf(Epoch epoch) {
  if (epoch == kNewEpoch) return std::nullopt;
  Guid mark{};
  const std::uint64_t raw = Raw(epoch);
  std::memcpy(mark.data, &raw, sizeof raw);
  return mark;
}

constexpr std::size_t kFixedSize = 4 + 1;       // of AssertRequest: a count and is_last
constexpr std::size_t kHandleSize = 8 + 4 + 4;  // of HeldHandle, without the proof's bytes and the locks
constexpr std::size_t kLockSize = 1 + 1 + 3 * 8 + 4;

}  // namespace

LockRequest AsUnlock(const protocol::FlushRequest& flush) {
  return {.handle = flush.handle,
          .kind = LockKind::kRecord,
          .mode = LockMode::kUnlock,
          .owner = flush.lock_owner,
          .start = 0,
          .last = kRangeEnd};
}

// --- What batond said
// ---------------------------------------------------------------------------------------------------

void Holdings::Opened(const protocol::OpenReply& granted, Epoch epoch) {
  const auto [at, is_new] = handles_.try_emplace(granted.handle);
  Handle& handle = at->second;
  handle.proof = granted.proof;
  handle.epoch = epoch;
  if (!is_new) return;
  handle.file = &*files_.try_emplace(granted.file).first;
  ++handle.file->second.handles;
}

void Holdings::Closed(HandleId handle) {
  if (const auto at = handles_.find(handle); at != handles_.end()) Drop(at);
}

Holdings::HandleMap::iterator Holdings::Drop(HandleMap::iterator at) {
  auto& [ref, file] = *at->second.file;
  if (file.records) file.records->DropHandle(at->first);
  TrimRecords(file);
  if (--file.handles == 0) files_.erase(files_.find(ref));
  return handles_.erase(at);
}

void Holdings::TrimRecords(File& file) {
  if (file.records && file.records->empty()) file.records.reset();
}

Holdings::Handle* Holdings::Find(HandleId handle) {
  const auto at = handles_.find(handle);
  return at == handles_.end() ? nullptr : &at->second;
}

const Holdings::Handle* Holdings::Find(HandleId handle) const {
  const auto at = handles_.find(handle);
  return at == handles_.end() ? nullptr : &at->second;
}

void Holdings::Locked(const LockRequest& lock) {
  Handle* const handle = Find(lock.handle);
  if (handle == nullptr || !IsValid(lock)) return;  // revoked or fenced on the way
  if (lock.kind == LockKind::kFlock) {
    if (lock.mode == handle->flock) return;
    handle->flock = lock.mode;
    handle->flock_owner = lock.owner;
    handle->flock_pid = lock.pid;
    return;
  }
  Apply(*handle, lock);
}

void Holdings::Apply(Handle& handle, const LockRequest& lock) {
  File& file = handle.file->second;
  if (lock.mode == LockMode::kUnlock) {
    if (file.records) file.records->Unlock(OwnerOf(lock), RangeOf(lock));
    return TrimRecords(file);
  }
  if (!file.records) file.records = std::make_unique<LockTable>();
  file.records->Apply({.owner = OwnerOf(lock),
                       .range = RangeOf(lock),
                       .handle = lock.handle,
                       .pid = lock.pid,
                       .type = lock.mode == LockMode::kWrite ? LockType::kWrite : LockType::kRead,
                       .instance = MarkOf(handle.epoch)});
}

void Holdings::Refused(const LockRequest& lock) {
  if (lock.kind == LockKind::kFlock) MayHaveDone(lock);
}

void Holdings::Revoked(std::span<const HandleId> handles) {
  for (const HandleId handle : handles) Closed(handle);
}

void Holdings::Fenced(std::span<const protocol::Fence> fences) {
  std::unordered_set<Epoch> epochs;
  for (const protocol::Fence& fence : fences) epochs.insert(fence.epoch);
  epochs.erase(kNewEpoch);
  if (epochs.empty()) return;
  for (auto at = handles_.begin(); at != handles_.end();) {
    at = epochs.contains(at->second.epoch) ? Drop(at) : std::next(at);
  }
}

void Holdings::Clear() {
  handles_.clear();
  files_.clear();
}

// --- What is not known
// --------------------------------------------------------------------------------------------------

void Holdings::MayHaveDone(const LockRequest& lock) {
  Handle* const handle = Find(lock.handle);
  if (handle == nullptr || !IsValid(lock)) return;
  if (lock.kind == LockKind::kFlock) {
    if (lock.mode != handle->flock) handle->flock = LockMode::kUnlock;  // a conversion lets go first
    return;
  }
  if (lock.mode == LockMode::kUnlock) return Apply(*handle, lock);
  if (lock.mode == LockMode::kWrite || !handle->file->second.records) return;
  LockTable& records = *handle->file->second.records;
  for (baton::Lock& held : records.HeldBy(OwnerOf(lock), RangeOf(lock))) {
    held.range = {std::max(held.range.start, lock.start), std::min(held.range.last, lock.last)};
    held.type = LockType::kRead;
    records.Apply(held);
  }
}

bool Holdings::Cross(const LockRequest& a, const LockRequest& b) const {
  if (a.kind != b.kind) return false;
  if (a.kind == LockKind::kFlock) return a.handle == b.handle;
  if (a.owner != b.owner || !RangeOf(a).Overlaps(RangeOf(b))) return false;
  const Handle* const handle = Find(a.handle);
  const Handle* const other = Find(b.handle);
  return handle != nullptr && other != nullptr && handle->file == other->file;
}

// --- What is asserted
// ---------------------------------------------------------------------------------------------------

Holdings::Assertion Holdings::Begin() const {
  Assertion assertion;
  assertion.left.reserve(handles_.size());
  for (const auto& [id, handle] : handles_) assertion.left.push_back(id);
  std::ranges::sort(assertion.left, std::ranges::greater{});
  return assertion;
}

std::vector<HeldLock> Holdings::LocksOf(HandleId id, const Handle& handle) {
  std::vector<HeldLock> locks;
  if (handle.flock != LockMode::kUnlock) {
    locks.push_back({LockKind::kFlock, handle.flock, handle.flock_owner, 0, kRangeEnd, handle.flock_pid});
  }
  if (!handle.file->second.records) return locks;
  for (const baton::Lock& lock : handle.file->second.records->HeldThrough(id)) {
    const LockMode mode = lock.type == LockType::kWrite ? LockMode::kWrite : LockMode::kRead;
    locks.push_back(
        {LockKind::kRecord, mode, lock.owner.owner(), lock.range.start, lock.range.last, lock.pid});
  }
  return locks;
}

protocol::AssertRequest Holdings::Next(Assertion& assertion, std::size_t room) const {
  protocol::AssertRequest request;
  std::size_t size = kFixedSize;
  while (!assertion.left.empty()) {
    const HandleId id = assertion.left.back();
    const Handle* const handle = Find(id);
    if (handle != nullptr) {  // else it was revoked or fenced since Begin
      size += kHandleSize + handle->proof.size();
      std::vector<HeldLock> locks = LocksOf(id, *handle);
      locks.erase(locks.begin(),
                  locks.begin() + static_cast<std::ptrdiff_t>(std::min(assertion.locks_told, locks.size())));
      const std::size_t fitting = size > room ? 0 : std::min(locks.size(), (room - size) / kLockSize);
      if (size > room || (fitting == 0 && !locks.empty())) return request;
      const bool is_whole = fitting == locks.size();
      locks.resize(fitting);
      size += fitting * kLockSize;
      assertion.handles += assertion.locks_told == 0 ? 1 : 0;
      assertion.locks += fitting;
      assertion.locks_told += fitting;
      request.handles.push_back({id, handle->proof, std::move(locks)});
      if (!is_whole) return request;
    }
    assertion.left.pop_back();
    assertion.locks_told = 0;
  }
  request.is_last = true;
  return request;
}

}  // namespace baton::client
