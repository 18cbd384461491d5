#include "oracle/random_script.h"

#include <algorithm>
#include <array>
#include <random>

#include "oracle/lock_model.h"

namespace baton::oracle {
namespace {

constexpr std::array<std::string_view, 5> kNames{"ranges", "flock", "waits", "flock-waits", "deadlocks"};

// The model runs along, to know who waits and who holds.
class Writer {
 public:
  Writer(ScriptKind kind, std::uint64_t seed) : kind_(kind), random_(seed * kNames.size() + Index()) {
    const bool waits = kind == ScriptKind::kWaits || kind == ScriptKind::kFlockWaits;
    writers_only_ = kind == ScriptKind::kDeadlocks || (waits && seed % 2 == 0);
    switch (kind) {
      case ScriptKind::kRanges:
        owners_ = {"p1", "p2", "p3", "o1", "o2", "o3"};
        break;
      case ScriptKind::kFlock:
      case ScriptKind::kFlockWaits:
        owners_ = {"f1", "f2", "f3", "f4", "f5"};
        break;
      case ScriptKind::kWaits:
        owners_ = {"p1", "p2", "p3", "p4", "o1", "o2", "o3"};
        break;
      case ScriptKind::kDeadlocks:
        owners_ = {"p1", "p2", "p3", "p4", "p5"};
        break;
    }
  }

  std::vector<Command> Write() {
    const std::size_t steps = kind_ == ScriptKind::kRanges ? 150 : 60;
    while (script_.size() < steps) {
      const Command command = Next();
      model_.Run(command);
      script_.push_back(command);
    }
    return script_;
  }

 private:
  std::size_t Index() const { return static_cast<std::size_t>(kind_); }
  // Not std::uniform_int_distribution: its results differ between libraries, and a seed shall mean one
  // script.
  std::uint64_t Below(std::uint64_t bound) { return random_() % bound; }
  bool OneIn(std::uint64_t n) { return Below(n) == 0; }

  bool MayWait() const {
    return kind_ == ScriptKind::kWaits || kind_ == ScriptKind::kFlockWaits || kind_ == ScriptKind::kDeadlocks;
  }

  Command Next() {
    for (;;) {
      const std::string& owner = owners_[Below(owners_.size())];
      if (!model_.IsWaiting(owner)) return Call(owner);
      if (OneIn(4) && MayCancel(owner)) return {.owner = owner, .verb = "cancel"};
    }
  }

  bool MayCancel(const std::string& owner) const {
    return writers_only_ || model_.IsWaiting(owner, LockType::kWrite) || !AWriterWaits();
  }

  bool AWriterWaits() const {
    return std::any_of(owners_.begin(), owners_.end(), [this](const std::string& owner) {
      return model_.IsWaiting(owner, LockType::kWrite);
    });
  }

  Command Call(const std::string& owner) {
    Command command{.owner = owner};
    command.file = kind_ == ScriptKind::kDeadlocks && OneIn(2) ? "b" : "a";
    command.verb = Verb(command);
    if (command.verb == "close") return command;
    if (command.verb != "unlock") command.type = writers_only_ || OneIn(2) ? 'w' : 'r';
    if (command.verb == "test" && owner[0] == 'o' && OneIn(3)) command.type = 'u';
    if (command.verb == "wait" && command.type == 'w' && !writers_only_ && AWriterWaits())
      command.verb = "lock";
    if (owner[0] != 'f') command.range = command.verb == "unlock" && OneIn(3) ? ByteRange{} : Range();
    return command;
  }

  std::string Verb(const Command& command) {
    const bool holds = model_.Holds(command.owner, command.file);
    const bool converts = kind_ == ScriptKind::kFlockWaits && holds && model_.AnyoneWaits();
    switch (Below(12)) {
      case 0:
        return "close";
      case 1:
        return command.owner[0] == 'f' ? "unlock" : "test";
      case 2:
      case 3:
      case 4:
        return "unlock";
      default:
        break;
    }
    if (converts) return "unlock";
    const bool waits = MayWait() && (kind_ != ScriptKind::kWaits || !holds) && !OneIn(4);
    return waits ? "wait" : "lock";
  }

  ByteRange Range() {
    if (kind_ != ScriptKind::kRanges) {
      const std::uint64_t slot = Below(3);
      return {slot * 10, slot * 10 + 9};
    }
    ByteRange range{Below(40), 0};
    if (OneIn(10)) range.start = 0;
    range.last = OneIn(8) ? kRangeEnd : range.start + Below(OneIn(3) ? 40 : 6);
    if (OneIn(40)) range = {kRangeEnd - Below(3), kRangeEnd};
    return range;
  }

  ScriptKind kind_;
  bool writers_only_ = false;
  std::mt19937_64 random_;
  std::vector<std::string> owners_;
  LockModel model_;
  std::vector<Command> script_;
};

}  // namespace

std::optional<ScriptKind> ParseScriptKind(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<ScriptKind>(i);
  }
  return {};
}

std::vector<Command> RandomScript(ScriptKind kind, std::uint64_t seed) {
  return Writer(kind, seed).Write();
}

}  // namespace baton::oracle
