// WaitGraph: finds deadlocks among waiting POSIX locks, across files and nodes (rule L2, EDEADLK). It keeps
// no edges of its own: who stands in a waiter's way is asked of the lock tables at the moment of the
// question, so that nothing has to be kept in step when locks change hands. What it is not: the queue of
// waiters. flock waits never belong here (the kernel does not look at them either). A request does not tell
// OFD from POSIX, so OFD waiters are looked at like POSIX ones: best effort, as rule L2 has it.
//
// It sees more than Linux's posix_locks_deadlock, which follows only the first lock that stands in a waiter's
// way, and ten steps at most: a waiter needs *all* of them gone, so a circle through any of them is a
// deadlock. Like the kernel it takes an owner that waits anywhere for one that can release nothing; a program
// with several threads may be told EDEADLK where another of its threads would have unlocked.
//
// A value; one thread at a time.
#pragma once

#include <cstddef>
#include <map>

#include "base/ids.h"
#include "locks/lock_table.h"

namespace baton {

class WaitGraph {
 public:
  // So much of the graph is looked at for one question; beyond it the answer is "no deadlock", and the waiter
  // can still be interrupted.
  static constexpr std::size_t kMaxEdges = 100'000;

  // `wish` waits in `table`, which must stay where it is until Remove.
  void Add(RequestId request, const LockTable& table, const Lock& wish);
  // Granted, cancelled or failed. An unknown request is ignored.
  void Remove(RequestId request);

  // True if `wish`, when it waited in `table`, would close a circle of owners each of which waits for the
  // next.
  bool WouldDeadlock(const LockTable& table, const Lock& wish) const;

  std::size_t size() const { return waits_.size(); }

 private:
  struct Wait {
    const LockTable* table;
    Lock wish;
  };

  std::map<RequestId, Wait> waits_;
  std::multimap<LockOwner, RequestId> by_owner_;
};

}  // namespace baton
