// Who may act as an instance: epochs, versions, owners, flapping (rules T1-T3, T7, T8, T11).
#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "server/arbiter/arbiter.h"

namespace baton {

const Arbiter::Instance* Arbiter::FindInstance(const Guid& guid) const {
  const auto at = instances_.find(guid);
  return at == instances_.end() ? nullptr : &at->second;
}

const Arbiter::Life* Arbiter::LifeOn(const Instance& instance, const std::string& node) {
  const auto at = std::find_if(instance.lives.begin(), instance.lives.end(),
                               [&](const Life& life) { return life.node == node; });
  return at == instance.lives.end() ? nullptr : &*at;
}

const Arbiter::Life* Arbiter::LifeOf(const Instance& instance, Epoch epoch) {
  const auto at = std::find_if(instance.lives.begin(), instance.lives.end(),
                               [&](const Life& life) { return life.epoch == epoch; });
  return at == instance.lives.end() ? nullptr : &*at;
}

// Rule T3: the record binds only while the incarnation has a handle, lock, reservation or living process.
bool Arbiter::IsBound(const Instance& instance, const Life& life) const {
  return !life.handles.empty() || !life.living.empty() || instance.reservations > 0;
}

bool Arbiter::IsAbsent(const Life& life) const {
  return std::any_of(life.gates.begin(), life.gates.end(), [this](const auto& gate) {
    const Session* session = FindSession(gate.first);
    return session != nullptr && session->state == SessionState::kAbsent;
  });
}

bool Arbiter::IsSilent(const Life& life) const {
  return std::none_of(life.gates.begin(), life.gates.end(), [this](const auto& gate) {
    const Session* session = FindSession(gate.first);
    return session != nullptr && session->state == SessionState::kActive;
  });
}

Arbiter::Verdict Arbiter::JudgeWho(const Requester& who) const {
  Verdict member = JudgeMembership(who);
  if (member.kind == Verdict::kGrant && !UseIsDurable(who)) member.kind = Verdict::kCommitUse;
  return member;
}

// A restart of the server must know what every session may hold (rule D4).
bool Arbiter::UseIsDurable(const Requester& who) const {
  if (!who.instance) return true;
  const Session& session = sessions_.at(who.session);
  const auto use = session.uses.find(who.instance->guid);
  const Life* life = LifeOn(instances_.at(who.instance->guid), session.node);
  return use != session.uses.end() && use->second.durable && use->second.epoch == life->epoch;
}

void Arbiter::CommitUseOf(const Requester& who) {
  Session& session = sessions_.at(who.session);
  const Guid& guid = who.instance->guid;
  CommitUseOf(session, guid, LifeOn(instances_.at(guid), session.node)->epoch);
}

void Arbiter::CommitUseOf(Session& session, const Guid& guid, Epoch epoch) {
  const auto [at, is_new] = session.uses.try_emplace(guid);
  if (!is_new && at->second.epoch == epoch) return;  // on its way
  at->second = {epoch, false};
  Push(CommitUse{{session.id, guid, epoch}});
}

void Arbiter::On(const UseCommitted& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr) return;
  const auto use = session->uses.find(event.guid);
  if (use == session->uses.end() || use->second.epoch != event.epoch) return;
  retry_ = true;
  use->second.durable = event.durable;
  if (event.guid.is_nil()) return On(event, *session);
  if (event.durable) return;
  const auto waits_for_it = [&](const Requester& who) {
    return who.session == event.session && who.instance && who.instance->guid == event.guid;
  };
  RefuseUncommitted(waits_for_it, Verdict::kCommitUse);
  session->uses.erase(use);
}

bool Arbiter::OwnerMayUse(const InstanceClaim& claim, const InstanceRecord& record) const {
  if (claim.by_policy) return true;  // the directory's owner has said so (rule I2 d)
  return claim.owner == record.owner || (claim.owner == 0 && options_.root_may);
}

Arbiter::Verdict Arbiter::JudgeMembership(const Requester& who) const {
  const Session* session = FindSession(who.session);
  if (session == nullptr) return RefuseWith(ESTALE, "its session has ended");
  if (!who.instance) return {};
  const InstanceClaim& claim = *who.instance;
  const Instance* instance = FindInstance(claim.guid);
  const Life* life = instance == nullptr ? nullptr : LifeOn(*instance, session->node);
  if (claim.epoch != kNewEpoch && !Planted("epoch not checked")) {
    if (life == nullptr || life->fencing || life->epoch != claim.epoch) {
      return RefuseWith(ESTALE, "its process belongs to an incarnation that was fenced; restart the program");
    }
    return {};
  }
  const auto& fences = nodes_.at(session->node).fences;
  if (const auto fence = fences.find(claim.guid); fence != fences.end() && fence->second.unacknowledged.contains(who.session)) {
    // A replacement with a higher version may start on the node before the node has heard of the fence.
    const bool is_newer = claim.version && (!fence->second.version || *claim.version > *fence->second.version);
    if (!is_newer) return RefuseWith(ESTALE, "its node has not acknowledged yet that the instance was fenced there");
  }
  if (instance == nullptr) {
    if (!claim.may_take_over) return RefuseWith(EBUSY, "it may not take over, and the instance does not live here");
    if (instances_.size() >= options_.max_instances) {
      return RefuseWith(ENOSPC, "too many instances are on record; forget some (baton forget)");
    }
    return {.kind = Verdict::kTakeOver};
  }
  if (instance->takeover) return {.kind = Verdict::kWait};
  return life != nullptr ? JudgeOnSameNode(who, *instance, *life) : JudgeFromOtherNode(who, *instance);
}

Arbiter::Verdict Arbiter::JudgeOnSameNode(const Requester& who, const Instance& instance, const Life& life) const {
  const InstanceClaim& claim = *who.instance;
  const InstanceRecord& record = instance.record;
  // What a session that ends (its mount died, its node booted again) still has inside the gate comes first (rule T4).
  const bool drains = std::any_of(life.gates.begin(), life.gates.end(),
                                  [this](const auto& gate) { return FindSession(gate.first) == nullptr; });
  if (life.fencing || drains) return {.kind = Verdict::kWait};
  if (record.version && (!claim.version || *claim.version < *record.version)) {
    return RefuseWith(ESTALE, "version " + ToString(*record.version) + " of the instance is on record");
  }
  const bool is_newer = claim.version && (!record.version || *claim.version > *record.version);
  if (!OwnerMayUse(claim, record)) {
    if (IsBound(instance, life)) {
      return RefuseWith(EBUSY, "the instance belongs to uid " + std::to_string(record.owner), EventKind::kOwnerMismatch);
    }
    return {.kind = Verdict::kTakeOver};
  }
  if (!is_newer) return {};
  if (!claim.may_take_over) return RefuseWith(EBUSY, "it may not take over from the version that lives here");
  return {.kind = Verdict::kTakeOver};
}

Arbiter::Verdict Arbiter::JudgeFromOtherNode(const Requester& who, const Instance& instance) const {
  const InstanceClaim& claim = *who.instance;
  const InstanceRecord& record = instance.record;
  // Where it was it may come back as it was; its incarnation may have ended with its session.
  const bool same_place = record.node == sessions_.at(who.session).node;
  if (record.version && (!claim.version || *claim.version < *record.version ||
                         (*claim.version == *record.version && !same_place))) {
    return RefuseWith(ESTALE, "version " + ToString(*record.version) +
                                  " of the instance is on record; another node needs a higher one "
                                  "(or: baton instance reset)");
  }
  const Life* holder = instance.lives.empty() ? nullptr : &instance.lives.front();
  if (holder != nullptr && holder->fencing) return {.kind = Verdict::kWait};
  const bool bound = holder != nullptr && IsBound(instance, *holder);
  if (bound && !OwnerMayUse(claim, record)) {
    return RefuseWith(EACCES, "the instance belongs to uid " + std::to_string(record.owner), EventKind::kOwnerMismatch);
  }
  if (!claim.may_take_over) return RefuseWith(EBUSY, "it may not take over, and the instance does not live here");
  if (!bound || options_.scope == ReclaimScope::kFile) return {.kind = Verdict::kTakeOver};
  if (claim.by_policy && !claim.takes_over_alive && IsAbsent(*holder)) return WaitForAbsent(claim.guid);
  if (claim.by_policy && !claim.takes_over_alive && !IsSilent(*holder)) {
    return RefuseWith(EBUSY, "the directory's instance is in use on node " + holder->node);
  }
  if (IsFlapping(instance, *holder, claim)) {
    return RefuseWith(EBUSY, "too many takeovers in a short time without a rising version", EventKind::kFlapping);
  }
  return {.kind = Verdict::kTakeOver};
}

bool Arbiter::IsFlapping(const Instance& instance, const Life& holder, const InstanceClaim& claim) const {
  if (options_.flap_limit == 0 || IsSilent(holder)) return false;
  if (claim.version && (!instance.record.version || *claim.version > *instance.record.version)) return false;
  if (now_ < instance.refused_until) return true;
  const auto recent = std::count_if(instance.recent.begin(), instance.recent.end(),
                                    [this](Instant at) { return now_ - at < options_.flap_window; });
  return static_cast<std::uint32_t>(recent) >= options_.flap_limit;
}

bool Arbiter::WouldOutlive(const Requester& who, Epoch creator) const {
  if (!who.instance || Raw(creator) > last_epoch_) return false;
  const Verdict verdict = JudgeMembership(who);
  if (verdict.kind == Verdict::kRefuse) return false;
  const Instance* instance = FindInstance(who.instance->guid);
  const Life* old = instance == nullptr ? nullptr : LifeOf(*instance, creator);
  const std::string& node = sessions_.at(who.session).node;
  if (verdict.kind == Verdict::kGrant) return old == nullptr && creator < LifeOn(*instance, node)->epoch;
  return old == nullptr || old->fencing || options_.scope == ReclaimScope::kInstance || old->node == node;
}

std::pair<GateId, Epoch> Arbiter::Enlist(const Requester& who) {
  Session& session = sessions_.at(who.session);
  if (!who.instance) return {session.anonymous_gate, Epoch{}};
  Instance& instance = instances_.at(who.instance->guid);
  Life& life = const_cast<Life&>(*LifeOn(instance, session.node));
  GateId& gate = life.gates[session.id];
  // Wishes of other nodes and owners that wait are judged anew: it is bound now, and lives in a session that is there.
  if (!IsBound(instance, life) || gate == GateId{}) retry_ = true;
  if (gate == GateId{}) gate = GateId{++last_gate_};
  session.instances.insert(who.instance->guid);
  // Whose process it is by policy (rule I2 d) the mount does not know, so it cannot tell when that is gone.
  if (!who.instance->by_policy) life.living.insert(session.id);
  return {gate, life.epoch};
}

void Arbiter::On(const InstanceGone& event) {
  const auto instance = instances_.find(event.guid);
  if (instance == instances_.end()) return;
  for (Life& life : instance->second.lives) {
    if (life.epoch == event.epoch) life.living.erase(event.session);
  }
  retry_ = true;  // who waits for an absent one's instance: it may not be bound any more
}

int Arbiter::Forget(const Guid& guid) {
  const auto at = instances_.find(guid);
  if (at == instances_.end()) return ENOENT;
  const Instance& instance = at->second;
  const bool bound = instance.takeover || std::any_of(instance.lives.begin(), instance.lives.end(), [&](const Life& life) {
    return life.fencing || IsBound(instance, life);
  });
  if (bound || instance.reservations > 0) return EBUSY;
  const bool is_waiting = std::any_of(parked_.begin(), parked_.end(), [&](const auto& parked) {
    const Requester& who = std::visit([](const auto& wish) -> const Requester& { return wish.who; }, parked.second.wish);
    return who.instance && who.instance->guid == guid;
  });
  if (is_waiting) return EBUSY;
  for (const Life& life : instance.lives) {
    for (const auto& [session, gate] : life.gates) {
      sessions_.at(session).instances.erase(guid);
      Push(GateDropped{gate});  // with the next step's effects
    }
  }
  instances_.erase(at);
  return 0;
}

std::optional<InstanceRecord> Arbiter::RecordOf(const Guid& guid) const {
  const Instance* instance = FindInstance(guid);
  return instance == nullptr ? std::nullopt : std::optional(instance->record);
}

std::optional<InstanceRecord> Arbiter::ResetVersion(const Guid& guid) {
  const auto at = instances_.find(guid);
  if (at == instances_.end()) return std::nullopt;
  at->second.record.version.reset();
  retry_ = true;  // with the next step
  if (!at->second.takeover) return at->second.record;
  // The successor's record may be on stable storage already: never fall back behind its epoch.
  at->second.takeover->successor.version.reset();
  return at->second.takeover->successor;
}

}  // namespace baton
