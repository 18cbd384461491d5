// Holdings: what a session holds at batond, as it has to be asserted to one that was started again (rules D2,
// D4, S1): each open with its proof, each lock as granted. It follows batond's answers and nothing else, so
// that it is what batond had when it gave the last of them; what a request that was not answered may have
// done, MayHaveDone takes into account when it matters. It knows no frames, slots or generations: Session
// feeds it.
//
// POSIX and OFD locks belong to (file, owner), each range to the handle through which it was set last; flock
// belongs to the handle. The algebra is LockTable's, the server's own.
//
// When in doubt the weaker is asserted, never the stronger: what is asserted too much could be somebody
// else's by now. batond takes LOCK, FLUSH and CLOSE in the order in which they are sent, but a lock that has
// to wait is granted later, and answered by another thread: after the answer to an unlock, by the same owner,
// that was carried out after it. So of a lock and a later unlock for the same bytes that were outstanding
// together nobody can tell which came last, nor of two locks of different modes. Session then calls
// MayHaveDone with what the other did. A program that makes one call after the other has returned never has
// such two; one that does not, in two of its threads, has to expect that the unlock came last. An unlock and
// a later lock are in no doubt: unlocking never waits. (That is what a lock's undoing and the program's next
// try are.) After a break the answers come in the order of the sending.
//
// One thread at a time (the transport's). About 450 bytes a handle with its proof and 170 a lock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file_ref.h"
#include "base/ids.h"
#include "locks/lock_table.h"
#include "protocol/messages.h"

namespace baton::client {

class Holdings {
 public:
  // --- What batond said

  // OPEN's or CREATE's answer, counted to this incarnation (0: none).
  void Opened(const protocol::OpenReply& granted, Epoch epoch);
  void Closed(HandleId handle);
  // A lock was granted or given up; FLUSH gives up all record locks that its owner has on the file.
  void Locked(const protocol::LockRequest& lock);
  // ... was refused: a flock that was to be converted is gone all the same (flock(2)).
  void Refused(const protocol::LockRequest& lock);
  // These handles, or all of these incarnations, are gone, and what was locked through them.
  void Revoked(std::span<const HandleId> handles);
  void Fenced(std::span<const protocol::Fence> fences);
  // The session has ended.
  void Clear();

  // --- What is not known

  // The request may have taken effect or not: what is held in both cases stays.
  void MayHaveDone(const protocol::LockRequest& lock);
  // Whether the order in which these two take effect makes a difference.
  bool Cross(const protocol::LockRequest& a, const protocol::LockRequest& b) const;

  // --- What is asserted

  // Where an assertion is: nothing may be Opened or Locked before its end.
  struct Assertion {
    std::vector<HandleId> left;  // the last is the next
    std::size_t locks_told = 0;  // of the next one
    std::size_t handles = 0;     // so far
    std::size_t locks = 0;
  };
  Assertion Begin() const;
  // The next request, of at most `room` encoded bytes. Requires room for a handle and a lock, and that the
  // last was not returned yet.
  protocol::AssertRequest Next(Assertion& assertion, std::size_t room) const;

  std::size_t Handles() const { return handles_.size(); }

 private:
  struct File {
    std::uint32_t handles = 0;
    std::unique_ptr<LockTable> records;  // none while nothing is locked
  };
  using FileMap = std::unordered_map<FileRef, File>;
  struct Handle {
    std::string proof;
    FileMap::value_type* file = nullptr;
    Epoch epoch{};
    std::uint64_t flock_owner = 0;
    std::int32_t flock_pid = 0;
    protocol::LockMode flock = protocol::LockMode::kUnlock;
  };
  using HandleMap = std::unordered_map<HandleId, Handle>;

  Handle* Find(HandleId handle);
  const Handle* Find(HandleId handle) const;
  HandleMap::iterator Drop(HandleMap::iterator at);
  static void Apply(Handle& handle, const protocol::LockRequest& lock);
  static void TrimRecords(File& file);
  static std::vector<protocol::HeldLock> LocksOf(HandleId id, const Handle& handle);

  FileMap files_;  // those of handles_
  HandleMap handles_;
};

// What of FLUSH concerns locks.
protocol::LockRequest AsUnlock(const protocol::FlushRequest& flush);

}  // namespace baton::client
