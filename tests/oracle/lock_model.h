// LockModel: answers lock scripts from LockTable and WaitGraph alone, with the plainest queue: waiters are
// tried in the order in which they came, each against what is held. One thread.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "locks/lock_table.h"
#include "oracle/lock_script.h"
#include "server/arbiter/wait_graph.h"

namespace baton::oracle {

class LockModel {
 public:
  // "busy" if the owner waits, "idle" if there is no wait to cancel.
  std::string Run(const Command& command);

  // What a test may answer if the order in which owners came is not known.
  std::vector<std::string> PossibleAnswers(const Command& test);

  bool IsWaiting(const std::string& owner, std::optional<LockType> type = {}) const;
  bool AnyoneWaits() const { return !waiters_.empty(); }
  bool Holds(const std::string& owner, const std::string& file) const;
  void CheckInvariants() const;

 private:
  struct Waiter {
    RequestId request;
    std::string owner;
    LockTable* table;
    Lock wish;
  };

  LockTable& TableOf(const Command& command);
  std::string Answer(const Command& command);
  std::string Set(const Command& command);
  std::string Test(const Command& command);
  std::string Close(const Command& command);
  std::string Cancel(const std::string& owner);
  std::vector<std::string> Serve();

  std::map<std::string, LockTable> posix_;  // by file
  std::map<std::string, LockTable> flock_;
  std::deque<Waiter> waiters_;
  WaitGraph graph_;
  std::uint64_t last_request_ = 0;
};

}  // namespace baton::oracle
