// Takeover and fencing, step by step (rules T4-T7, T9, C3). The order is told at the head of arbiter.h.
#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "server/arbiter/arbiter.h"

namespace baton {

void Arbiter::BeginTakeover(const Requester& who, const std::string& path) {
  const InstanceClaim& claim = *who.instance;
  const std::string& node = sessions_.at(who.session).node;
  Instance& instance = instances_[claim.guid];
  instance.record.guid = claim.guid;

  Takeover takeover;
  takeover.successor = {.guid = claim.guid,
                        .epoch = Epoch{++last_epoch_},
                        .owner = claim.owner,
                        .version = claim.version ? claim.version : instance.record.version,
                        .node = node};
  for (const Life& life : instance.lives) {
    if (options_.scope == ReclaimScope::kInstance || life.node == node) takeover.old_lives.push_back(life.epoch);
  }
  takeover.raises_version = claim.version && (!instance.record.version || *claim.version > *instance.record.version);
  takeover.by = who;
  takeover.path = path;
  takeover.began = now_;
  CommitTakeover(instance, std::move(takeover), who.session);
}

// What it fences is durable with it: a restart of the server in between brings nobody back.
void Arbiter::CommitTakeover(Instance& instance, Takeover takeover, SessionId used_by) {
  Commit commit{takeover.successor, used_by, {}, {}};
  const std::string to_node = takeover.has_successor ? takeover.successor.node : "";
  for (Epoch epoch : takeover.old_lives) {
    const Life& life = *LifeOf(instance, epoch);
    if (IsToldOfFence(instance, life, to_node)) commit.fences.push_back(FenceOf(instance.record.guid, life));
    if (!life.handles.empty() || IsAbsent(life)) commit.reserved = options_.reservation;
  }
  Push(std::move(commit));
  instance.takeover = std::move(takeover);
}

void Arbiter::On(const FenceByHand& event) {
  const auto at = instances_.find(event.guid);
  if (at == instances_.end()) {
    Push(Refused{event.request, ENOENT, std::nullopt});
    return;
  }
  Instance& instance = at->second;
  if (instance.takeover) {
    instance.takeover->by_hand.push_back(event.request);
    return;
  }
  Takeover takeover;
  takeover.successor = instance.record;
  takeover.successor.epoch = Epoch{++last_epoch_};
  takeover.has_successor = false;
  for (const Life& life : instance.lives) takeover.old_lives.push_back(life.epoch);
  takeover.began = now_;
  takeover.by.program = "baton fence";
  takeover.by_hand.push_back(event.request);
  CommitTakeover(instance, std::move(takeover), SessionId{});
}

void Arbiter::On(const Committed& event) {
  const auto at = instances_.find(event.guid);
  if (at == instances_.end() || !at->second.takeover || at->second.takeover->draining) return;
  Instance& instance = at->second;
  if (event.durable) {
    const Takeover& takeover = *instance.takeover;
    if (Session* session = takeover.has_successor ? FindSession(takeover.by.session) : nullptr) {
      session->uses[event.guid] = {takeover.successor.epoch, true};
    }
    StartDraining(instance);
    return;
  }
  // Nothing has happened yet: the old incarnation works on, and whoever wanted to take over is told.
  for (RequestId request : instance.takeover->by_hand) Push(Refused{request, EIO, std::nullopt});
  instance.takeover.reset();
  RefuseUncommitted([&](const Requester& who) { return who.instance && who.instance->guid == event.guid; },
                    Verdict::kTakeOver);
  if (instance.record.epoch == Epoch{} && instance.lives.empty()) instances_.erase(at);
  retry_ = true;
}

void Arbiter::RefuseUncommitted(const std::function<bool(const Requester&)>& whose, Verdict::Kind wanted) {
  const Verdict failed = RefuseWith(EIO, "the state store could not record it");
  for (auto parked = parked_.begin(); parked != parked_.end();) {
    const auto& [who, path] = std::visit(
        [](const auto& wish) { return std::pair<const Requester&, const std::string&>(wish.who, wish.path); },
        parked->second.wish);
    const Verdict verdict = std::visit([this](const auto& wish) { return Judge(wish); }, parked->second.wish);
    // Of waits only those that the record would end.
    const bool is_endless = verdict.error == 0 || verdict.absent_until == Instant::max();
    const bool wants_it = !parked->second.draining && whose(who) && verdict.kind == wanted &&
                          (wanted != Verdict::kWait || is_endless);
    if (wants_it) {
      Refuse(parked->first, who, path, failed);
      const RequestId refused = (parked++)->first;
      Unpark(refused);
    } else {
      ++parked;
    }
  }
}

FenceRecord Arbiter::FenceOf(const Guid& guid, const Life& life) const {
  const auto node = nodes_.find(life.node);
  return {life.node, node == nodes_.end() ? "" : node->second.boot, guid, life.epoch, life.version, std::nullopt};
}

void Arbiter::StartDraining(Instance& instance) {
  Takeover& takeover = *instance.takeover;
  takeover.draining = true;
  instance.record = takeover.successor;  // durable: its number is used up, whatever happens now
  std::vector<GateId> gates;
  for (Life& life : instance.lives) {
    const auto& old = takeover.old_lives;
    if (!life.fencing && std::find(old.begin(), old.end(), life.epoch) != old.end()) {
      FenceLife(instance, life, takeover.has_successor ? takeover.successor.node : "", gates);
    }
  }
  // A life that its session's end is already draining is not drained twice, but its gates are waited for here too.
  for (const Life& life : instance.lives) {
    if (!life.fencing) continue;
    for (const auto& [session, gate] : life.gates) gates.push_back(gate);
  }
  std::sort(gates.begin(), gates.end());
  gates.erase(std::unique(gates.begin(), gates.end()), gates.end());
  const Guid guid = instance.record.guid;
  Push(CloseGates{NewDrain({.purpose = DrainPurpose::kTakeover, .guid = guid}), std::move(gates), {}, ESTALE});
  retry_ = true;  // wishes of the old incarnation that were parked are refused now
}

// Another owner begins where nothing of the old incarnation is left (rule T3): nobody there has to be told, or waited for.
bool Arbiter::IsToldOfFence(const Instance& instance, const Life& life, const std::string& to_node) const {
  return to_node != life.node || IsBound(instance, life);
}

void Arbiter::FenceLife(Instance& instance, Life& life, const std::string& to_node, std::vector<GateId>& gates) {
  life.fencing = true;
  if (IsAbsent(life)) {  // what it held is kept for the next, as what is known (rule T9)
    Instant& until = reserved_[instance.record.guid];
    until = std::max(until, now_ + options_.reservation);
  }
  std::vector<HandleId> shared;  // handles of others in an inode of the kernel that the fenced incarnation used, too
  std::set<std::pair<const File*, SessionId>> seen;  // asked whether they are there, never in order
  for (const Handle& handle : life.handles) {
    RefuseWaitsOf(handle, ESTALE);
    if (!handle.writes || handle.file->handles.size() == 1) continue;
    if (!seen.emplace(handle.file, handle.session).second) continue;
    for (const Handle& other : handle.file->handles) {
      if (other.session == handle.session && !(other.guid == handle.guid && other.epoch == handle.epoch)) {
        shared.push_back(other.id);
      }
    }
  }
  if (!shared.empty()) Push(RefuseCachedWrites{std::move(shared)});
  for (const auto& [session, gate] : life.gates) gates.push_back(gate);

  if (!IsToldOfFence(instance, life, to_node)) return;
  Node& node = nodes_[life.node];
  NodeFence& fence = node.fences[instance.record.guid];
  fence = {instance.record.guid, life.epoch, life.version, std::nullopt, {}};
  for (SessionId session : node.sessions) {
    if (FindSession(session) == nullptr) continue;
    fence.unacknowledged.insert(session);
    Push(NotifyFenced{session, fence.guid, fence.epoch, fence.version, to_node});
  }
}

void Arbiter::FinishTakeover(const Guid& guid) {
  Instance& instance = instances_.at(guid);
  const Takeover takeover = std::move(*instance.takeover);
  instance.takeover.reset();

  EventRecord event;
  event.kind = takeover.old_lives.empty() ? EventKind::kStarted : EventKind::kTakeover;
  if (!takeover.has_successor) event.kind = EventKind::kFenced;
  event.guid = guid;
  event.new_epoch = takeover.has_successor ? takeover.successor.epoch : Epoch{};
  if (takeover.has_successor) event.to_node = takeover.successor.node;
  event.uid = takeover.by.uid;
  event.pid = takeover.by.pid;
  event.program = takeover.by.program;
  event.file = takeover.path;
  event.took = now_ - takeover.began;
  bool was_elsewhere = false;
  for (Epoch epoch : takeover.old_lives) {
    if (const Life* life = LifeOf(instance, epoch)) was_elsewhere |= IsBound(instance, *life);
    DropLife(guid, epoch, event);
  }
  if (event.kind == EventKind::kTakeover && was_elsewhere) {
    if (takeover.raises_version) instance.recent.clear();
    instance.recent.push_back(now_);
    while (instance.recent.size() > options_.flap_limit) instance.recent.pop_front();
  }
  if (takeover.has_successor) {
    Life life;
    life.node = takeover.successor.node;
    life.epoch = takeover.successor.epoch;
    life.version = takeover.successor.version;
    instance.lives.push_back(std::move(life));
  }
  Push(Emit{std::move(event)});
  for (RequestId request : takeover.by_hand) Push(FenceDone{request});
  retry_ = true;
}

void Arbiter::DropLife(const Guid& guid, Epoch epoch, EventRecord& counted) {
  const auto known = instances_.find(guid);
  if (known == instances_.end()) return;  // it was forgotten: a takeover had dropped the life by then
  Instance& instance = known->second;
  const auto at = std::find_if(instance.lives.begin(), instance.lives.end(),
                               [&](const Life& life) { return life.epoch == epoch; });
  if (at == instance.lives.end()) return;
  counted.old_epoch = epoch;
  counted.from_node = at->node;
  counted.handles += at->handles.size();
  const std::optional<Guid> kept_for = Planted("reservation dropped") ? std::nullopt : std::optional(guid);
  while (!at->handles.empty()) counted.locks += DropHandle(at->handles.front(), kept_for);
  for (const auto& [session, gate] : at->gates) {
    Push(GateDropped{gate});
    if (const auto owner = sessions_.find(session); owner != sessions_.end()) owner->second.instances.erase(guid);
  }
  instance.lives.erase(at);
}

}  // namespace baton
