#include "sim/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace baton::sim {

const char* NameOf(OpKind kind) {
  switch (kind) {
    case OpKind::kOpen:
      return "open";
    case OpKind::kClaim:
      return "claim";
    case OpKind::kAppend:
      return "append";
    case OpKind::kFsync:
      return "fsync";
    case OpKind::kClose:
      return "close";
    case OpKind::kLock:
      return "lock";
    case OpKind::kUnlock:
      return "unlock";
    case OpKind::kCreate:
      return "create";
    case OpKind::kUnlink:
      return "unlink";
    case OpKind::kRename:
      return "rename";
  }
  return "";
}

namespace {

// "[0000000017]....", with which a write begins.
constexpr std::size_t kIdDigits = 10;

OpId IdIn(const std::string& data) {
  OpId id = 0;
  if (data.size() < kIdDigits + 2 || data[0] != '[') return 0;
  std::from_chars(data.data() + 1, data.data() + 1 + kIdDigits, id);
  return id;
}

bool IsTakeover(OpKind kind) {
  return kind == OpKind::kOpen || kind == OpKind::kClaim || kind == OpKind::kCreate ||
         kind == OpKind::kUnlink || kind == OpKind::kRename;
}

bool HasEffect(OpKind kind) {
  return kind == OpKind::kAppend || kind == OpKind::kCreate || kind == OpKind::kUnlink ||
         kind == OpKind::kRename;
}

std::string KeyFor(OpKind kind, const std::string& name) {
  return std::string(NameOf(kind)) + ":" + name;
}

}  // namespace

std::string Checker::PayloadOf(OpId id, std::size_t size) {
  std::string payload = fmt::format("[{:0{}}]", id, kIdDigits);
  payload.resize(std::max(size, payload.size()), '.');
  return payload;
}

void Checker::Violation(const std::string& text) {
  const double seconds = std::chrono::duration<double>(scheduler_.Now() - std::chrono::hours(1)).count();
  violations.push_back(fmt::format("{:.6f} {}", seconds, text));
  if (trace) trace("VIOLATION: " + text);
}

std::string Checker::Describe(OpId id) const {
  const History& history = history_[id];
  const RunInfo& run = runs_.at(history.op.run);
  return fmt::format("op {} ({} {} by run {} of instance {} at node {} place {})", id,
                     NameOf(history.op.kind), history.op.what, history.op.run, run.instance, run.node,
                     run.place);
}

// --- Who there is

void Checker::RunBegins(int run, int instance, int node, int place) {
  RunInfo& info = runs_[run];
  info = {.instance = instance, .node = node, .place = place, .began = scheduler_.Now()};
  if (instance < 0) return;
  info.life = NewTenure(fmt::format("instance {}", instance), fmt::format("place {}", place), run);
}

void Checker::PlaceDies(int place) {
  for (auto& [id, run] : runs_) run.is_gone |= run.place == place;
  for (OpId id : outstanding_) {
    const History& history = history_[id];
    if (runs_.at(history.op.run).place == place) NoteTry(history.op, scheduler_.Now() + 2 * lease_);
  }
}

void Checker::ContactChanges(int node, bool has_contact) {
  auto& away = away_[node];
  const Instant now = scheduler_.Now();
  if (has_contact) {
    if (!away.empty() && away.back().second == Instant::max()) away.back().second = now;
  } else if (!away.empty() &&
             (away.back().second == Instant::max() || now - away.back().second < lease_ * 2 / 5)) {
    away.back().second = Instant::max();  // there was no time to find the way back
  } else {
    away.emplace_back(now, Instant::max());
  }
}

void Checker::ServerDies(bool with_machine) {
  if (with_machine) machine_died_ = scheduler_.Now();
  for (OpId id : outstanding_) {
    history_[id].saw_kill = true;
    history_[id].saw_machine |= with_machine;
  }
}

void Checker::DiskHasLost() {
  for (const Appended& appended : synced_) {
    if (!IsThere(appended, true))
      Violation("D1: lost although an fsync was acknowledged: " + Describe(appended.id));
  }
}

// --- Tenures

TenureId Checker::NewTenure(std::string domain, std::string group, int run) {
  by_domain_[domain].push_back(tenures_.size());
  tenures_.push_back({.domain = std::move(domain), .group = std::move(group), .run = run});
  return tenures_.size() - 1;
}

void Checker::MakeKnown(TenureId id, Instant invoked) {
  Tenure& granted = tenures_[id];
  if (granted.known != Instant::max()) return;
  const Instant now = scheduler_.Now();
  granted.known = now;
  granted.invoked = invoked;
  // What was given up stands against nobody.
  std::erase_if(by_domain_.at(granted.domain),
                [this](TenureId other) { return tenures_[other].released != Instant::max(); });
  CheckReserved(granted);
  for (TenureId other : by_domain_.at(granted.domain)) {
    Tenure& old = tenures_[other];
    // Whose grant was known before this was asked for was granted before.
    const bool is_old = old.group != granted.group && old.known < invoked && old.released == Instant::max();
    if (is_old) old.over = std::min(old.over, now);
  }
}

// Rule T9: who was seen to hold it holds it, or it is kept for him, unless he gave it up or took it again.
void Checker::CheckReserved(const Tenure& granted) {
  const Instant now = scheduler_.Now();
  if (granted.domain.starts_with("instance")) return;
  const int by = runs_.at(granted.run).instance;
  for (TenureId other : by_domain_.at(granted.domain)) {
    const Tenure& old = tenures_[other];
    const int instance = runs_.at(old.run).instance;
    if (instance < 0 || instance == by || old.confirmed == Instant{} || old.released != Instant::max())
      continue;
    const bool is_within = granted.invoked > old.confirmed && now < old.confirmed + reservation_;
    const auto asked = asked_.find({old.domain, instance});
    if (!is_within || (asked != asked_.end() && asked->second > old.confirmed)) continue;
    Violation(
        fmt::format("T9: {} granted to run {} while it was held by, or reserved for, instance {} (run {})",
                    granted.domain, granted.run, instance, old.run));
  }
}

std::vector<TenureId> Checker::TenuresOf(const History& history) const {
  std::vector<TenureId> all = history.op.under;
  const TenureId life = runs_.at(history.op.run).life;
  if (life != kNoTenure) all.push_back(life);
  return all;
}

// Something was done that only the holder may do.
void Checker::Use(TenureId id, const History& by, bool is_effect, const std::string& what) {
  Tenure& tenure = tenures_[id];
  MakeKnown(id, by.invoked);
  const bool is_late = is_effect ? scheduler_.Now() > tenure.over : by.invoked > tenure.over;
  if (is_late) {
    Violation(fmt::format("T4/O2/L1: {} by run {} ({}) after {} was granted to another: {}",
                          is_effect ? "an effect" : "a success", tenure.run, tenure.group, tenure.domain,
                          what));
  }
  tenure.confirmed = std::max(tenure.confirmed, by.invoked);
}

// --- Requests

void Checker::NoteTry(const Op& op, Instant until) {
  const RunInfo& run = runs_.at(op.run);
  if (run.instance >= 0 && IsTakeover(op.kind)) tried_[run.instance][run.place] = until;
}

OpId Checker::Invoked(Op op) {
  const OpId id = history_.size();
  NoteTry(op, Instant::max());
  const RunInfo& run = runs_.at(op.run);
  const bool asks = op.kind == OpKind::kClaim || op.kind == OpKind::kLock;
  if (asks && run.instance >= 0) asked_[{tenures_[op.tenure].domain, run.instance}] = scheduler_.Now();
  const bool gives_up = op.kind == OpKind::kUnlock || op.kind == OpKind::kClose;
  if (gives_up && op.tenure != kNoTenure) tenures_[op.tenure].released = scheduler_.Now();
  if (HasEffect(op.kind) && op.kind != OpKind::kAppend) by_name_[KeyFor(op.kind, op.what)] = id;
  history_.push_back({.op = std::move(op), .invoked = scheduler_.Now()});
  outstanding_.insert(id);
  if (trace) trace("ask    " + Describe(id));
  return id;
}

void Checker::AnswerTo(OpId id, const Answered& answer) {
  History& history = history_[id];
  const Op& op = history.op;
  history.is_answered = true;
  history.answer = answer;
  history.answered = scheduler_.Now();
  outstanding_.erase(id);
  if (trace) {
    trace(fmt::format("answer {}: {}{}{}", Describe(id), answer.error,
                      answer.error != 0 && !answer.by_server ? " (the mount's)" : "",
                      answer.is_fate_unknown ? ", fate unknown" : ""));
  }
  if (!answer.is_fate_unknown) NoteTry(op, scheduler_.Now());
  if (answer.is_fate_unknown && op.kind == OpKind::kAppend) given_up_.push_back(id);
  if (answer.error != 0) return CheckError(history, id);
  ++answered_ok_;
  ++answered_by_run[op.run];
  if (HasEffect(op.kind) && history.effects == 0 && !history.saw_machine &&
      by_name_.contains(KeyFor(op.kind, op.what))) {
    Violation("D2: acknowledged, and did not happen: " + Describe(id));
  }
  if (op.kind == OpKind::kAppend && history.effects == 0) {
    Violation("D2: acknowledged, and did not happen: " + Describe(id));
  }
  for (TenureId tenure : TenuresOf(history)) Use(tenure, history, false, Describe(id));
  const bool asks = op.kind == OpKind::kClaim || op.kind == OpKind::kLock;
  if (asks) Use(op.tenure, history, false, Describe(id));
  if (op.kind == OpKind::kAppend) {
    appended_[op.ino].push_back(
        {id, op.run, op.ino, op.handle, answer.number, PayloadOf(id, answer.size), history.answered});
  }
  if (op.kind == OpKind::kFsync) NoteSynced(history);
  if (op.kind == OpKind::kOpen || op.kind == OpKind::kClaim) BarGivenUp(history);
}

void Checker::BarGivenUp(const History& opened) {
  const int place = runs_.at(opened.op.run).place;
  for (OpId id : given_up_) {
    History& old = history_[id];
    const bool is_of_it = old.answered < opened.invoked && old.op.ino == opened.answer.ino;
    if (is_of_it && runs_.at(old.op.run).place == place) old.is_barred = true;
  }
}

// --- Errors

// A gap so long that its lease may have ended in it.
bool Checker::WasAway(int node, Instant since) const {
  const auto at = away_.find(node);
  if (at == away_.end()) return false;
  return std::any_of(at->second.begin(), at->second.end(), [&](const auto& gap) {
    const Instant end = std::min(gap.second, scheduler_.Now());
    return end > since && end - gap.first > lease_ / 2;
  });
}

bool Checker::HasReasonToLose(const RunInfo& run) const {
  const Instant since = run.began - lease_;  // what came before may be told late
  if (machine_died_ > run.began || WasAway(run.node, since)) return true;
  const auto tried = tried_.find(run.instance);
  if (tried == tried_.end()) return false;
  return std::any_of(tried->second.begin(), tried->second.end(),
                     [&](const auto& by) { return by.first != run.place && by.second > since; });
}

void Checker::CheckError(const History& history, OpId id) {
  const auto [error, by_server] = std::pair(history.answer.error, history.answer.by_server);
  const RunInfo& run = runs_.at(history.op.run);
  const bool machine_died = history.saw_machine || machine_died_ > run.began;
  const OpKind kind = history.op.kind;
  if (error == EINTR && !by_server) return;
  if (error == EBUSY && history.op.may_be_busy) return;
  if (error == EAGAIN && kind == OpKind::kLock) return;
  if (error == ESTALE && HasReasonToLose(run)) return;
  if (error == EIO && history.saw_kill && HasEffect(kind)) return;
  if (error == EIO && machine_died && (kind == OpKind::kFsync || kind == OpKind::kClose)) {
    for (Appended& appended : appended_[history.op.ino])
      appended.is_told_lost |= appended.handle == history.op.handle;
    return;
  }
  if ((error == ENOENT || error == EEXIST) && machine_died) return;
  const bool was_done = history.effects > 0;
  Violation(fmt::format("{}: {} was answered with {}{}", was_done ? "T10" : "S1/D2", Describe(id), error,
                        was_done ? ", and had been done" : " without a reason"));
}

// --- Stable storage

bool Checker::IsThere(const Appended& appended, bool durably) const {
  if (!disk_.Exists(appended.ino)) return removed_.contains(appended.ino);
  const std::string* data = durably ? disk_.DurableDataOf(appended.ino) : &disk_.DataOf(appended.ino);
  return data != nullptr && data->size() >= appended.offset + appended.payload.size() &&
         data->compare(appended.offset, appended.payload.size(), appended.payload) == 0;
}

// Through the same handle whatever happened; through others unless the machine went down since.
void Checker::NoteSynced(const History& history) {
  std::erase_if(appended_[history.op.ino], [&](Appended& appended) {
    const bool may_be_lost = appended.answered <= machine_died_ || history_[appended.id].saw_machine;
    const bool is_lost = appended.is_told_lost || (appended.handle != history.op.handle && may_be_lost);
    if (appended.answered > history.invoked || is_lost) return false;
    if (!IsThere(appended, true)) {
      Violation("D1/D3: an fsync was acknowledged, and it is not on stable storage: " +
                Describe(appended.id));
    }
    synced_.push_back(std::move(appended));
    return true;
  });
}

// --- Effects

void Checker::TookEffect(const Effect& effect) {
  if (trace) trace("disk   " + ToText(effect));
  OpId id = 0;
  if (effect.kind == Effect::Kind::kUnlink) removed_.insert(effect.ino);
  if (effect.kind == Effect::Kind::kWrite) {
    id = IdIn(effect.data);
  } else {
    const OpKind kind = effect.kind == Effect::Kind::kCreate   ? OpKind::kCreate
                        : effect.kind == Effect::Kind::kUnlink ? OpKind::kUnlink
                                                               : OpKind::kRename;
    const auto at = by_name_.find(KeyFor(kind, effect.name));
    if (at != by_name_.end()) id = at->second;
  }
  if (id != 0 && id < history_.size()) EffectOf(id, effect);
}

void Checker::EffectOf(OpId id, const Effect& effect) {
  History& history = history_[id];
  if (++history.effects > 1 && !history.saw_machine) Violation("D2: took effect twice: " + Describe(id));
  if (history.is_answered && history.answer.error != 0 && !history.answer.is_fate_unknown) {
    Violation(fmt::format("T10: took effect after it was answered with {}: {}", history.answer.error,
                          Describe(id)));
  }
  if (history.is_barred)
    Violation("S5: given up, and took effect after its file was opened anew: " + Describe(id));
  for (TenureId tenure : TenuresOf(history)) Use(tenure, history, true, ToText(effect));
}

void Checker::Ends() {
  for (const Appended& appended : synced_) {
    if (!IsThere(appended, true))
      Violation("D1: lost although an fsync was acknowledged: " + Describe(appended.id));
  }
  for (const auto& [ino, all] : appended_) {
    for (const Appended& appended : all) {
      const bool may_be_lost = appended.answered <= machine_died_ || history_[appended.id].saw_machine;
      if (!may_be_lost && !IsThere(appended, false)) {
        Violation("D2: acknowledged, and not there: " + Describe(appended.id));
      }
    }
  }
  for (OpId id : outstanding_) {
    const History& history = history_[id];
    if (!runs_.at(history.op.run).is_gone)
      Violation("S1: all is well, and it has no answer: " + Describe(id));
  }
}

}  // namespace baton::sim
