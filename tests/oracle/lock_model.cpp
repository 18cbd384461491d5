#include "oracle/lock_model.h"

#include <algorithm>

namespace baton::oracle {
namespace {

const SessionId kSession{1};

// A number for the owner, distinct from those of other kinds.
std::uint64_t NumberOf(const std::string& owner) {
  return owner[0] * 10'000u + std::stoul(owner.substr(1));
}

LockOwner OwnerOf(const std::string& owner) {
  return {kSession, NumberOf(owner)};
}

Lock WishOf(const Command& command) {
  return {.owner = OwnerOf(command.owner),
          .range = command.range,
          .handle = HandleId{NumberOf(command.owner)},
          .type = command.type == 'w' ? LockType::kWrite : LockType::kRead};
}

std::string TextOf(const Lock& lock) {
  return ToString(lock.type == LockType::kWrite ? 'w' : 'r', lock.range);
}

}  // namespace

std::string LockModel::Run(const Command& command) {
  std::string answer = Answer(command);
  return WithGranted(std::move(answer), Serve());
}

std::string LockModel::Answer(const Command& command) {
  if (command.verb == "cancel") return Cancel(command.owner);
  if (IsWaiting(command.owner)) return "busy";
  if (command.verb == "close") return Close(command);
  if (command.verb == "test") return Test(command);
  if (command.verb != "unlock") return Set(command);
  TableOf(command).Unlock(OwnerOf(command.owner), command.range);
  return "ok";
}

std::string LockModel::Set(const Command& command) {
  LockTable& table = TableOf(command);
  const Lock wish = WishOf(command);
  const bool flock = command.owner[0] == 'f';
  const Lock* conflict = flock ? table.SetFlock(wish).conflict : table.Conflict(wish);
  if (conflict == nullptr) {
    if (!flock) table.Apply(wish);
    return "ok";
  }
  if (command.verb == "lock") return "EAGAIN";
  if (command.owner[0] == 'p' && graph_.WouldDeadlock(table, wish)) return "EDEADLK";
  const RequestId request{++last_request_};
  if (command.owner[0] == 'p') graph_.Add(request, table, wish);
  waiters_.push_back({request, command.owner, &table, wish});
  return "waits";
}

std::string LockModel::Test(const Command& command) {
  const LockTable& table = TableOf(command);
  const Lock* found = command.type == 'u' ? table.FirstHeld(OwnerOf(command.owner), command.range)
                                          : table.Conflict(WishOf(command));
  return found == nullptr ? "free" : TextOf(*found);
}

std::string LockModel::Close(const Command& command) {
  if (command.owner[0] == 'p') {
    TableOf(command).DropOwner(OwnerOf(command.owner));
  } else {
    TableOf(command).DropHandle(HandleId{NumberOf(command.owner)});
  }
  return "ok";
}

std::string LockModel::Cancel(const std::string& owner) {
  const auto waiter = std::find_if(waiters_.begin(), waiters_.end(),
                                   [&owner](const Waiter& each) { return each.owner == owner; });
  if (waiter == waiters_.end()) return "idle";
  graph_.Remove(waiter->request);
  waiters_.erase(waiter);
  return "EINTR";
}

// A grant may itself let others in (a downgrade), so each one begins the round anew.
std::vector<std::string> LockModel::Serve() {
  std::vector<std::string> granted;
  for (auto at = waiters_.begin(); at != waiters_.end();) {
    if (at->table->Conflict(at->wish) != nullptr) {
      ++at;
      continue;
    }
    at->table->Apply(at->wish);
    graph_.Remove(at->request);
    granted.push_back(at->owner);
    waiters_.erase(at);
    at = waiters_.begin();
  }
  return granted;
}

LockTable& LockModel::TableOf(const Command& command) {
  return command.owner[0] == 'f' ? flock_[command.file] : posix_[command.file];
}

std::vector<std::string> LockModel::PossibleAnswers(const Command& test) {
  std::vector<std::string> answers{Test(test)};
  if (test.type == 'u') return answers;
  for (const Lock* lock : TableOf(test).AllConflicts(WishOf(test))) answers.push_back(TextOf(*lock));
  return answers;
}

bool LockModel::IsWaiting(const std::string& owner, std::optional<LockType> type) const {
  return std::any_of(waiters_.begin(), waiters_.end(), [&owner, type](const Waiter& waiter) {
    return waiter.owner == owner && waiter.wish.type == type.value_or(waiter.wish.type);
  });
}

bool LockModel::Holds(const std::string& owner, const std::string& file) const {
  const auto& tables = owner[0] == 'f' ? flock_ : posix_;
  const auto table = tables.find(file);
  return table != tables.end() && table->second.FirstHeld(OwnerOf(owner), ByteRange{}) != nullptr;
}

void LockModel::CheckInvariants() const {
  for (const auto& [file, table] : posix_) table.CheckInvariants();
  for (const auto& [file, table] : flock_) table.CheckInvariants();
}

}  // namespace baton::oracle
