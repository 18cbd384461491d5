// Lock scripts: lines of text that say who makes which lock call, for running the same calls on the kernel's
// own locks, on the arbiter's LockTable and on mounts. Rules L1, L2.
//
//   OWNER VERB FILE [TYPE] [START LAST]      the answer
//   p1 lock a w 0 9                          ok, EAGAIN
//   o2 wait a r 10 $                         ok, EDEADLK, waits
//   p1 test a w 0 $                          free, or the lock that is in the way: w 10 19
//   p1 unlock a 3 5                          ok
//   p1 close a                               ok
//   o2 cancel                                EINTR (a signal ends its wait)
//
// An owner is a process of its own: p uses POSIX locks, o OFD locks, f flock (whose calls have no range).
// "close" is what releases without a word: for p any descriptor of the file is closed, for o and f their only
// one. Type u (test of an o only) asks for the owner's own locks. "$" is the end of every file. An answer
// goes on with " granted OWNER..." when the step ended the waits of others.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/range.h"

namespace baton::oracle {

struct Command {
  std::string owner;
  std::string verb;
  std::string file;
  char type = 0;
  ByteRange range;
};

// Nothing if the line is no command; the range of an f owner is the whole file.
std::optional<Command> ParseCommand(const std::string& line);
std::string ToString(const Command& command);
std::string ToString(char type, const ByteRange& range);

// Appends " granted a b", in the order of their names.
std::string WithGranted(std::string answer, std::vector<std::string> granted);

}  // namespace baton::oracle
