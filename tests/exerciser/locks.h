// Who may touch which bytes now. Threads of one process agree among themselves (RangeLocks); processes on two
// nodes take the file system's own record locks (FileLocks), which carry C1 with them. A worker holds one
// range at a time, so there is no deadlock.
#pragma once

#include <condition_variable>
#include <list>
#include <mutex>

#include "exerciser/model.h"

namespace baton::exerciser {

enum class Kind { kInProcess, kPosix, kOfd };

// Of one file, for all threads of the process.
class RangeLocks {
 public:
  void Take(Range range, bool exclusive);
  void Release(Range range, bool exclusive);

 private:
  struct Held {
    Range range;
    bool exclusive;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Held> held_;
};

// Holds the range while it lives. With record locks, `fd` is the worker's own descriptor of the file.
class Guard {
 public:
  Guard(Kind kind, RangeLocks& locks, int fd, Range range, bool exclusive);
  ~Guard();
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Kind kind_;
  RangeLocks& locks_;
  int fd_;
  Range range_;
  bool exclusive_;
};

}  // namespace baton::exerciser
