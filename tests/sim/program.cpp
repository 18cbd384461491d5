#include "sim/program.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>

namespace baton::sim {

using protocol::LockMode;

std::string PrizeName(int index) {
  return fmt::format("prize-{}", index);
}
std::string LockName(int index) {
  return fmt::format("lock-{}", index);
}

Program::Program(Scheduler& scheduler, Checker& checker, Mount& mount, std::unique_ptr<Run> run, int instance)
    : scheduler_(scheduler), checker_(checker), mount_(mount), run_(std::move(run)), instance_(instance) {}

std::string Program::InstanceGroup() const {
  return fmt::format("instance {}", instance_);
}

void Program::Main() {
  const std::string name = instance_ < 0 ? fmt::format("own-{}", run_->id) : fmt::format("log-{}", instance_);
  log_ = Open(OpKind::kOpen, {.name = name, .flags = O_RDWR | O_APPEND, .creates = true});
  while (log_ && !gives_up_ && !is_to_stop_ && !run_->is_killed) {
    OneRound();
    if (!gives_up_) ++rounds_;
    const bool is_idle = Chance(0.1);
    scheduler_.Sleep(scheduler_.random().Between({}, std::chrono::milliseconds(is_idle ? 80 : 12)));
  }
  if (log_) Close(log_);
  mount_.Gone(*run_);
  has_ended_ = true;
}

void Program::OneRound() {
  const std::uint64_t dice = scheduler_.random().Below(10);
  if (dice < 4) return AppendRound();
  if (dice < 6) return LockRound();
  if (dice < 8 && instance_ >= 0) return PrizeRound();
  FileRound();
}

// --- What it asks for

bool Program::Note(OpId op, const Mount::Outcome& outcome, Ino ino, std::size_t size) {
  checker_.AnswerTo(op, {.error = outcome.error,
                         .is_fate_unknown = outcome.is_fate_unknown,
                         .by_server = outcome.by_server,
                         .number = outcome.number,
                         .ino = ino,
                         .size = size});
  const bool may_go_on = outcome.error == 0 || outcome.error == EBUSY || outcome.error == EAGAIN;
  if (!may_go_on) gives_up_ = true;
  return outcome.error == 0;
}

Program::Opened Program::Open(OpKind kind, const Mount::OpenWish& wish, TenureId tenure) {
  Opened opened{.number = ++last_open_ << 32 | static_cast<std::uint64_t>(run_->id), .tenure = tenure};
  const OpId op = checker_.Invoked({.kind = kind,
                                    .run = run_->id,
                                    .what = wish.name,
                                    .tenure = tenure,
                                    .may_be_busy = kind == OpKind::kClaim});
  const auto outcome = mount_.Open(*run_, wish, opened.file);
  Note(op, outcome, opened.file ? opened.file->ino : 0);
  return opened;
}

void Program::Close(Opened& opened) {
  const OpId op = checker_.Invoked({.kind = OpKind::kClose,
                                    .run = run_->id,
                                    .ino = opened.file->ino,
                                    .handle = opened.number,
                                    .tenure = opened.tenure});
  Note(op, mount_.Close(*run_, std::exchange(opened.file, nullptr)));
}

bool Program::Append(const Opened& to, std::vector<TenureId> under) {
  const OpId op = checker_.Invoked({.kind = OpKind::kAppend,
                                    .run = run_->id,
                                    .ino = to.file->ino,
                                    .handle = to.number,
                                    .under = std::move(under)});
  // Some cross a page's boundary.
  const std::size_t size = Chance(0.02) ? 5000 : 12 + scheduler_.random().Below(40);
  const std::string payload = Checker::PayloadOf(op, size);
  return Note(op, mount_.Append(*run_, *to.file, payload), to.file->ino, size);
}

bool Program::Fsync(const Opened& file) {
  const OpId op = checker_.Invoked(
      {.kind = OpKind::kFsync, .run = run_->id, .ino = file.file->ino, .handle = file.number});
  return Note(op, mount_.Fsync(*run_, *file.file));
}

bool Program::Unlink(const std::string& name) {
  const OpId op = checker_.Invoked({.kind = OpKind::kUnlink, .run = run_->id, .what = name});
  return Note(op, mount_.Unlink(*run_, name));
}

bool Program::Rename(const std::string& from, const std::string& to) {
  const OpId op = checker_.Invoked({.kind = OpKind::kRename, .run = run_->id, .what = from});
  return Note(op, mount_.Rename(*run_, from, to));
}

// --- Its rounds

void Program::AppendRound() {
  for (std::uint64_t left = 1 + scheduler_.random().Below(3); left > 0; --left) {
    if (!Append(log_)) return;
  }
  if (Chance(0.3)) Fsync(log_);
}

void Program::LockRound() {
  const std::string name = LockName(static_cast<int>(scheduler_.random().Below(kLocks)));
  Opened lock = Open(OpKind::kOpen, {.name = name, .flags = O_RDONLY});
  if (!lock) return;
  lock.tenure = checker_.NewTenure("lock " + name, fmt::format("run {}", run_->id), run_->id);
  const bool waits = Chance(0.6);
  const OpId op =
      checker_.Invoked({.kind = OpKind::kLock, .run = run_->id, .what = name, .tenure = lock.tenure});
  const bool has_it = Note(op, mount_.Flock(*run_, *lock.file, LockMode::kWrite, waits));
  if (has_it) {
    for (std::uint64_t left = scheduler_.random().Below(4); left > 0 && Append(log_, {lock.tenure}); --left) {
      if (Chance(0.2)) scheduler_.Sleep(scheduler_.random().Between({}, std::chrono::milliseconds(20)));
    }
    if (!gives_up_ && !run_->is_killed && Chance(0.7)) {
      const OpId unlock =
          checker_.Invoked({.kind = OpKind::kUnlock, .run = run_->id, .what = name, .tenure = lock.tenure});
      Note(unlock, mount_.Flock(*run_, *lock.file, LockMode::kUnlock, false));
    }
  }
  Close(lock);
}

void Program::PrizeRound() {
  const std::string name = PrizeName(static_cast<int>(scheduler_.random().Below(kPrizes)));
  const TenureId claim = checker_.NewTenure("claim " + name, InstanceGroup(), run_->id);
  const Duration wait = Chance(0.5) ? std::chrono::milliseconds(scheduler_.random().Below(100)) : Duration{};
  Opened prize =
      Open(OpKind::kClaim, {.name = name, .flags = O_WRONLY | O_APPEND, .claim_wait = wait}, claim);
  if (!prize) return;
  for (std::uint64_t left = scheduler_.random().Below(5); left > 0 && Append(prize, {claim}); --left) {
    if (Chance(0.3)) scheduler_.Sleep(scheduler_.random().Between({}, std::chrono::milliseconds(30)));
  }
  if (!gives_up_ && Chance(0.3)) Fsync(prize);
  Close(prize);
}

Program::Opened Program::Make(std::string& name) {
  Opened made{.number = ++last_open_ << 32 | static_cast<std::uint64_t>(run_->id)};
  name = fmt::format("f-{}-{}", run_->id, last_open_);
  const OpId op = checker_.Invoked({.kind = OpKind::kCreate, .run = run_->id, .what = name});
  Note(op, mount_.Open(*run_, {.name = name, .flags = O_RDWR | O_EXCL, .creates = true}, made.file));
  return made;
}

void Program::FileRound() {
  std::string name;
  Opened made = Make(name);
  if (!made) return;
  bool is_well = Append(made);
  if (is_well && Chance(0.5)) {  // goes on without a name
    is_well = Unlink(name) && Append(made);
    if (is_well && Chance(0.3))
      scheduler_.Sleep(scheduler_.random().Between({}, std::chrono::milliseconds(100)));
    if (is_well) Append(made);
    return Close(made);
  }
  if (is_well && Chance(0.5)) is_well = Fsync(made);
  const std::string final_name = name + "-final";
  if (is_well) is_well = Rename(name, final_name);
  Close(made);
  if (is_well && !gives_up_ && Chance(0.7)) Unlink(final_name);
}

}  // namespace baton::sim
