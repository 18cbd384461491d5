// Checker: reads the history of a simulation as it happens, and knows nothing of the implementation: what
// programs asked and were answered, what took effect on the disk in order, who was killed and which paths
// were cut. The rules it holds this against are those of docs/semantics.md:
//
//   T4, T6, T7  no effect of an incarnation after another of its instance was granted something; ever
//   O2, O3      none through a claim after another instance's was granted; L1, L3: none under a lock after another's
//   T9          what a dead incarnation had claimed or locked nobody else gets within the reservation
//   D1, D3      what an fsync acknowledged is there, whatever goes down; what is lost is told to the next fsync
//   D2, T10     each request takes effect at most once, and once if it was acknowledged; a refusal has none
//   S1, S2, D2  nobody loses a handle without a reason: another took it, or the node was away
//
// Claims, locks and incarnations are all tenures: held by one group at a time in their domain.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace baton::sim {

using OpId = std::uint64_t;
using TenureId = std::size_t;
inline constexpr TenureId kNoTenure = ~TenureId{0};

enum class OpKind : std::uint8_t {
  kOpen,
  kClaim,
  kAppend,
  kFsync,
  kClose,
  kLock,
  kUnlock,
  kCreate,
  kUnlink,
  kRename
};
const char* NameOf(OpKind kind);

struct Answered {
  int error = 0;
  bool is_fate_unknown = false;
  bool by_server = true;
  std::uint64_t number = 0;  // an append's place
  Ino ino = 0;               // an open's file
  std::size_t size = 0;      // what was appended
};

class Checker {
 public:
  Checker(const Scheduler& scheduler, Disk& disk, Duration lease, Duration reservation)
      : scheduler_(scheduler), disk_(disk), lease_(lease), reservation_(reservation), history_(1) {}

  // --- Who there is. A place is one life of a mount.
  void RunBegins(int run, int instance, int node, int place);
  void PlaceDies(int place);  // with all its runs
  // Nothing passes between the node and the server any more, or does again.
  void ContactChanges(int node, bool has_contact);
  void ServerDies(bool with_machine);
  void DiskHasLost();

  // --- What they do
  struct Op {
    OpKind kind{};
    int run = 0;
    std::string what;             // the name, or the file's
    Ino ino = 0;                  // of a file that is open
    std::uint64_t handle = 0;     // of which open, in the program's own counting
    std::vector<TenureId> under;  // kAppend: what it relies on
    TenureId tenure = kNoTenure;  // kClaim, kLock: what it asks for; kUnlock, kClose: what it gives up
    bool may_be_busy = false;
  };
  TenureId NewTenure(std::string domain, std::string group, int run);
  OpId Invoked(Op op);
  void AnswerTo(OpId id, const Answered& answer);
  // The bytes that this request writes; by them its effect is known again.
  static std::string PayloadOf(OpId id, std::size_t size);

  void TookEffect(const Effect& effect);
  // All is well again and everybody had his answer.
  void Ends();

  std::vector<std::string> violations;
  std::function<void(const std::string&)> trace;  // one line
  std::uint64_t answered() const { return answered_ok_; }
  std::map<int, std::uint64_t> answered_by_run;

 private:
  struct Tenure {
    std::string domain;
    std::string group;
    int run = 0;
    Instant invoked = Instant::max();  // of what made it known
    Instant known = Instant::max();
    Instant released = Instant::max();  // asked to be
    Instant over = Instant::max();      // another's was granted
    Instant confirmed{};                // the invocation of the last that succeeded under it
  };
  struct RunInfo {
    int instance = -1;
    int node = 0;
    int place = 0;
    Instant began{};
    TenureId life = kNoTenure;  // of its incarnation
    bool is_gone = false;       // with its place
  };
  struct History {
    Op op;
    Instant invoked{};
    bool is_answered = false;
    Answered answer;
    Instant answered{};
    int effects = 0;
    bool saw_kill = false;     // the server was killed while it was outstanding
    bool saw_machine = false;  // its machine, too
    bool is_barred = false;    // given up, and the file was opened anew from there since (rule S5)
  };
  struct Appended {
    OpId id = 0;
    int run = 0;
    Ino ino = 0;
    std::uint64_t handle = 0;
    std::uint64_t offset = 0;
    std::string payload;
    Instant answered{};
    bool is_told_lost = false;
  };
  void Violation(const std::string& text);
  void MakeKnown(TenureId id, Instant invoked);
  void CheckReserved(const Tenure& granted);
  void Use(TenureId id, const History& by, bool is_effect, const std::string& what);
  std::vector<TenureId> TenuresOf(const History& history) const;
  void CheckError(const History& history, OpId id);
  bool HasReasonToLose(const RunInfo& run) const;
  bool WasAway(int node, Instant since) const;
  void NoteTry(const Op& op, Instant until);
  void BarGivenUp(const History& opened);
  void NoteSynced(const History& history);
  bool IsThere(const Appended& appended, bool durably) const;
  void EffectOf(OpId id, const Effect& effect);
  std::string Describe(OpId id) const;

  const Scheduler& scheduler_;
  Disk& disk_;
  const Duration lease_;
  const Duration reservation_;
  std::map<int, RunInfo> runs_;
  std::map<int, std::vector<std::pair<Instant, Instant>>> away_;  // of a node
  std::vector<Tenure> tenures_;
  std::map<std::string, std::vector<TenureId>> by_domain_;
  std::map<int, std::map<int, Instant>> tried_;  // when a run of the instance last tried to be at a place
  std::map<std::pair<std::string, int>, Instant> asked_;  // when an instance last asked for a claim or lock
  std::vector<History> history_;                          // by OpId
  std::set<OpId> outstanding_;
  std::vector<OpId> given_up_;
  std::set<Ino> removed_;                // have had a name taken from them, and may go
  std::map<std::string, OpId> by_name_;  // who makes, removes or renames that name
  std::map<Ino, std::vector<Appended>>
      appended_;  // acknowledged, not on stable storage for all anybody knows
  std::vector<Appended> synced_;
  Instant machine_died_{};
  std::uint64_t answered_ok_ = 0;
};

}  // namespace baton::sim
