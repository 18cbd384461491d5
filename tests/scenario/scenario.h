// Scenario: one arbiter driven by lines of text, answering with its effects in words. The commands are
// described in data/README.md. What it is not: a judge; scenario_test.cpp compares. One thread.
// CheckInvariants runs after every step.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "server/arbiter/arbiter.h"
#include "server/state/sqlite_state_store.h"

namespace baton::test {

class Scenario {
 public:
  Scenario();

  // Carries out one command and returns what came of it, a line each. Throws std::invalid_argument if it
  // makes no sense.
  std::vector<std::string> Run(const std::string& line);

 private:
  class Words;

  bool RunSetup(const std::string& command, Words& words);
  bool RunSession(const std::string& command, Words& words);
  bool RunFile(const std::string& command, Words& words);
  bool RunLock(const std::string& command, Words& words);
  bool RunInstance(const std::string& command, Words& words);

  void Options(Words& words);
  void Begin(Words& words);
  OpenWish Open(Words& words);
  void Change(Words& words);
  void List();
  void Fences(const std::string& node);
  void Advance(Duration by);

  SessionId Session(const std::string& name) const;
  static FileKey File(const std::string& name);
  HandleId Handle(const std::string& name) const;
  Requester Who(Words& words);
  LockWish Wish(Words& words);

  Survivors Durable();
  WallTime Wall() const;  // its wall clock
  Instant ReservedUntil() const;
  // Makes it durable, and says so to the arbiter.
  void Save(const Commit& commit);
  void Save(const CommitUse& commit);
  void Save(const CommitEnd& commit);
  void Step(const Event& event);
  // Carries out what the arbiter asked to be committed and drained, unless it is held.
  void Settle();
  void Say(const std::string& lines) {
    for (std::size_t at = 0; at <= lines.size();) {
      const std::size_t end = std::min(lines.find('\n', at), lines.size());
      out_.push_back(lines.substr(at, end - at));
      at = end + 1;
    }
  }

  std::unique_ptr<Arbiter> arbiter_;
  std::unique_ptr<StateStore> durable_ = SqliteStateStore::OpenInMemory();
  Instant now_ = std::chrono::seconds(1000);
  Limits limits_;  // a restart keeps them
  std::uint64_t restarts_ = 0;
  std::uint64_t last_request_ = 0;
  std::uint64_t last_session_ = 0;
  bool hold_commits_ = false;
  bool hold_drains_ = false;
  bool show_all_ = false;
  std::deque<std::variant<Commit, CommitUse, CommitEnd>> to_commit_;
  std::deque<DrainId> to_drain_;
  std::vector<std::string> out_;
};

}  // namespace baton::test
