// After a restart of the server (rule D4): what is known of its earlier life, and who waits for whom. A session of that life is
// absent until it comes back. Nobody knows what it holds, so the instances that used it may hold anything.
#include <algorithm>

#include "server/arbiter/arbiter.h"

namespace baton {

void Arbiter::Restore(const Survivors& survivors) {
  for (const InstanceRecord& record : survivors.instances) {
    instances_[record.guid].record = record;
    last_epoch_ = std::max(last_epoch_, Raw(record.epoch));
  }
  for (const SessionBegins& known : survivors.sessions) {
    Session& session = sessions_[known.session];
    Describe(session, known);
    session.state = SessionState::kAbsent;
    Node& node = nodes_[known.node];
    node.boot = known.boot;
    node.machine = known.machine;
    node.sessions.insert(known.session);
  }
  for (const FenceRecord& fence : survivors.fences) {
    Node& node = nodes_[fence.node];
    if (node.sessions.empty()) node.boot = fence.boot;
    if (node.boot != fence.boot) continue;
    NodeFence& known = node.fences[fence.guid];
    known = {fence.guid, fence.epoch, fence.version, fence.acknowledged, {}};
    if (!fence.acknowledged) known.unacknowledged = node.sessions;
  }
  for (const Guid& guid : survivors.reserved) {
    if (instances_.contains(guid)) absent_.insert(guid);
  }
  for (const SessionUse& use : survivors.uses) RestoreUse(use);
  if (!absent_.empty() || !sessions_.empty()) absent_until_ = survivors.absent_until;
}

// Which of its incarnations lives: the last one, where it was not fenced; of --reclaim-scope file several.
void Arbiter::RestoreUse(const SessionUse& use) {
  const auto session = sessions_.find(use.session);
  const auto instance = instances_.find(use.guid);
  if (session == sessions_.end() || instance == instances_.end()) return;
  absent_.insert(use.guid);
  const std::string& node = session->second.node;
  const auto& fences = nodes_.at(node).fences;
  const auto fence = fences.find(use.guid);
  const bool is_fenced = fence != fences.end() && fence->second.epoch >= use.epoch;
  const InstanceRecord& record = instance->second.record;
  if (is_fenced || (options_.scope == ReclaimScope::kInstance && use.epoch != record.epoch)) return;
  Life* life = const_cast<Life*>(LifeOf(instance->second, use.epoch));
  if (life == nullptr) {
    life = &instance->second.lives.emplace_back();
    life->node = node;
    life->epoch = use.epoch;
    life->version = record.version;
  }
  life->gates[use.session] = GateId{++last_gate_};
  life->living.insert(use.session);
  session->second.instances.insert(use.guid);
  session->second.uses[use.guid] = {use.epoch, true};
}

Arbiter::Verdict Arbiter::WaitForAbsent(const Guid& guid) const {
  const bool is_over = absent_until_ == Instant{};  // but not on record yet
  Verdict verdict{.kind = Verdict::kWait,
                  .error = EBUSY,
                  .absent_until = is_over ? Instant::max() : absent_until_,
                  .holder = Holder{"", guid, 0, ""}};
  verdict.why = "may be held by an instance that has not come back since the server's restart";
  return verdict;
}

Arbiter::Verdict Arbiter::JudgeAbsent(const Requester& who, ClaimMode mode, Act act) const {
  const Relation relation = who.instance ? Relation::kOtherInstance : Relation::kAnonymous;
  if (Allows(mode, relation, act)) return {};
  for (const Guid& guid : absent_) {
    if (!who.instance || who.instance->guid != guid) return WaitForAbsent(guid);
  }
  return {};
}

// Of locks nobody knows the kind either: any may be in the way.
bool Arbiter::WaitsForAbsent(const Handle& handle) const {
  return std::any_of(absent_.begin(), absent_.end(), [&](const Guid& guid) { return handle.guid != guid; });
}

// It is known by its secret, but not what it has open: its mount begins anew.
void Arbiter::On(const SessionReturns& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr || session->state != SessionState::kAbsent) return;
  BeginEnding(*session, Ending::kFenced, "the server was restarted, and does not know what it had open");
}

void Arbiter::EndAbsence() {
  absent_until_ = {};
  for (auto& [id, session] : sessions_) {
    if (session.state != SessionState::kAbsent) continue;
    absent_ends_.insert(id);
    BeginEnding(session, Ending::kFenced, "it did not come back within a lease of the server's restart");
  }
  if (absent_ends_.empty()) ForgetAbsent();
}

// Nobody is waited for any longer.
void Arbiter::ForgetAbsent() {
  absent_.clear();
  for (const auto& [key, file] : files_) {
    if (!file.waiters.empty()) touched_.insert(key);
  }
  retry_ = true;
}

}  // namespace baton
