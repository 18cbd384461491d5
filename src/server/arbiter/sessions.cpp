// Sessions: begin, silence, courtesy, end (rules S1-S4), and what a node was told of fences (T7).
#include <algorithm>

#include "base/check.h"
#include "server/arbiter/arbiter.h"

namespace baton {

Arbiter::Session* Arbiter::FindSession(SessionId id) {
  const auto at = sessions_.find(id);
  return at == sessions_.end() || at->second.state == SessionState::kEnding ? nullptr : &at->second;
}

const Arbiter::Session* Arbiter::FindSession(SessionId id) const {
  return const_cast<Arbiter*>(this)->FindSession(id);
}

int Arbiter::MayBegin(const std::string& node, const std::string& machine, const std::string&) const {
  const auto at = nodes_.find(node);
  if (at == nodes_.end() || at->second.machine == machine) return 0;
  const bool spoken_for = std::any_of(at->second.sessions.begin(), at->second.sessions.end(), [this](SessionId id) {
    const SessionState state = sessions_.at(id).state;
    return state == SessionState::kActive || state == SessionState::kAbsent;
  });
  return spoken_for ? EBUSY : 0;
}

void Arbiter::On(const SessionBegins& event) {
  Node& node = nodes_[event.node];
  // Of a node with fences only, the server does not know the machine after its restart.
  const bool new_machine = node.machine != event.machine && !(node.machine.empty() && node.sessions.empty());
  const bool new_boot = node.boot != event.boot || new_machine;
  for (SessionId id : node.sessions) {
    Session& old = sessions_.at(id);
    if (old.state == SessionState::kEnding) continue;
    if (new_boot) {
      BeginEnding(old, Ending::kReplaced, "its node has booted again");
    } else if (old.mount_point == event.mount_point) {
      BeginEnding(old, Ending::kReplaced, "a new run of its mount");
    }
  }
  if (new_boot) node.fences.clear();  // every process of the earlier boot is gone
  for (auto& [guid, fence] : node.fences) {
    if (!fence.acknowledged) fence.unacknowledged.insert(event.session);
  }
  node.boot = event.boot;
  node.machine = event.machine;
  node.sessions.insert(event.session);

  Session& session = sessions_[event.session];
  Describe(session, event);
  EmitSession(EventKind::kSessionBegan, session, 0, "mount " + event.mount_point);
}

void Arbiter::Describe(Session& session, const SessionBegins& as) {
  session.id = as.session;
  session.node = as.node;
  session.boot = as.boot;
  session.machine = as.machine;
  session.mount_point = as.mount_point;
  session.anonymous_gate = GateId{++last_gate_};
}

void Arbiter::On(const SessionSilent& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr) return;
  if (session->returning) {
    absent_ends_.insert(session->id);
    BeginEnding(*session, Ending::kFenced, "it fell silent before it had said what it held");
    return CountAbsent();
  }
  if (session->state != SessionState::kActive) return;
  session->state = SessionState::kSilent;
  EmitSession(EventKind::kSessionSilent, *session, session->handles.size(), "its lease ended");
  for (const Handle& handle : session->handles) touched_.insert(handle.file->key);
  retry_ = true;
}

void Arbiter::On(const SessionHeard& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr || session->state != SessionState::kSilent) return;
  session->state = SessionState::kActive;
  retry_ = true;  // a directory's instance that lives there is no longer to be taken (rule I2 d)
  EmitSession(EventKind::kSessionHeard, *session, session->handles.size(), "nobody had needed its state");
}

void Arbiter::On(const SessionUnmounts& event) {
  if (Session* session = FindSession(event.session)) BeginEnding(*session, Ending::kClean, "unmounted");
}

void Arbiter::On(const SessionEvicted& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr || session->state != SessionState::kSilent) return;
  BeginEnding(*session, Ending::kFenced, "it was silent and there are too many sessions");
}

void Arbiter::On(const FenceAcknowledged& event) {
  const Session* session = FindSession(event.session);
  if (session == nullptr) return;
  auto& fences = nodes_.at(session->node).fences;
  const auto at = fences.find(event.guid);
  if (at == fences.end() || at->second.epoch != event.epoch) return;
  const bool is_new = at->second.unacknowledged.erase(event.session) > 0 || !at->second.acknowledged;
  if (!is_new) return;
  if (!at->second.acknowledged) at->second.acknowledged = event.at;
  // On record only when no mount of the node is left that may still ask as before: a restart does not know who has.
  if (!at->second.unacknowledged.empty()) return;
  Push(KeepFence{{session->node, session->boot, event.guid, event.epoch, at->second.version, at->second.acknowledged}});
}

// The gates close now; handles, locks and claims go when nobody is inside any more (rule T4 for a whole session), and when a
// restart of the server would not bring the session back to them (D4). One that is replaced is forgotten with the record of the
// next; one that unmounts has released everything, and may be forgotten later.
void Arbiter::BeginEnding(Session& session, Ending how, const std::string& reason) {
  const bool was_absent = session.state == SessionState::kAbsent;
  session.state = SessionState::kEnding;
  session.returning = false;
  session.clean = how == Ending::kClean;
  session.committed = how != Ending::kFenced;
  session.reason = reason;
  CommitEnd end{session.id, {}};
  std::vector<GateId> gates{session.anonymous_gate};
  for (const Guid& guid : session.instances) {
    Instance& instance = instances_.at(guid);
    for (Life& life : instance.lives) {
      const auto gate = life.gates.find(session.id);
      if (gate == life.gates.end()) continue;
      if (how == Ending::kFenced) {
        session.fenced.emplace_back(guid, life.epoch);
        end.fences.push_back(FenceOf(guid, life));
        FenceLife(instance, life, "", gates);
      } else {
        gates.push_back(gate->second);
      }
    }
  }
  for (const Handle& handle : session.handles) RefuseWaitsOf(handle, ESTALE);
  Push(CloseGates{NewDrain({.purpose = DrainPurpose::kSession, .session = session.id}), std::move(gates), {}, ESTALE});
  if (!session.committed) Push(std::move(end));
  retry_ = true;
  if (!was_absent) return;
  const bool is_over = absent_until_ == Instant{} || only_returning_;  // a lease has been waited
  for (const Guid& guid : session.may_hold) {
    if (how != Ending::kClean && !guid.is_nil() && !is_over) reserved_[guid] = std::max(now_ + options_.reservation, reserved_[guid]);
  }
  CountAbsent();
}

void Arbiter::On(const EndCommitted& event) {
  const auto at = sessions_.find(event.session);
  if (at == sessions_.end() || at->second.state != SessionState::kEnding) return;
  if (!event.durable) {  // nobody is to hang on a store that is down
    RefuseUncommitted([](const Requester&) { return true; }, Verdict::kWait);
    std::vector<RequestId> waiting;
    for (const auto& [id, wait] : lock_waits_) {
      if (!absent_ends_.empty() && WaitsForAbsent(handles_.at(wait.wish.handle))) waiting.push_back(id);
    }
    for (RequestId id : waiting) RefuseWait(id, EIO);
    return;
  }
  at->second.committed = true;
  if (absent_ends_.erase(event.session) > 0) CountAbsent();
  FinishEnding(event.session);
}

void Arbiter::FinishEnding(SessionId id) {
  Session& session = sessions_.at(id);
  if (!session.drained || !session.committed) return;
  const std::set<Guid> instances = session.instances;
  const std::size_t handles = session.handles.size();
  EventRecord counted;
  for (const auto& [guid, epoch] : session.fenced) {
    counted.kind = EventKind::kFenced;
    counted.guid = guid;
    counted.old_epoch = epoch;
    counted.from_node = session.node;
    counted.detail = "its session ended: " + session.reason;
    DropLife(guid, epoch, counted);
    Push(Emit{counted});
    counted = {};
  }
  while (!session.handles.empty()) {
    Handle& gone = session.handles.front();
    DropHandle(gone, IsFenced(gone) ? gone.guid : std::nullopt);
  }
  for (const Guid& guid : instances) {
    const auto instance = instances_.find(guid);
    if (instance == instances_.end()) continue;
    for (Life& life : instance->second.lives) {
      life.living.erase(id);
      if (const auto gate = life.gates.find(id); gate != life.gates.end()) {
        Push(GateDropped{gate->second});
        life.gates.erase(gate);
      }
    }
  }
  Push(GateDropped{session.anonymous_gate});
  nodes_.at(session.node).sessions.erase(id);
  for (auto& [guid, fence] : nodes_.at(session.node).fences) fence.unacknowledged.erase(id);
  Push(SessionEnded{id, session.reason});
  EmitSession(EventKind::kSessionEnded, session, handles, session.reason);
  sessions_.erase(id);
  if (nodes_.size() > 2 * options_.limits.sessions) ForgetEmptyNodes();
  retry_ = true;
}

// Names of nodes cost a peer nothing (rule A4). What was fenced on a node, or lives there, keeps its boot (rule T7).
void Arbiter::ForgetEmptyNodes() {
  std::set<std::string> lived_on;
  for (const auto& [guid, instance] : instances_) {
    for (const Life& life : instance.lives) lived_on.insert(life.node);
  }
  std::erase_if(nodes_, [&](const auto& entry) {
    return entry.second.sessions.empty() && entry.second.fences.empty() && !lived_on.contains(entry.first);
  });
}

std::vector<Arbiter::NodeFence> Arbiter::FencesOf(const std::string& node) const {
  std::vector<NodeFence> fences;
  if (const auto at = nodes_.find(node); at != nodes_.end()) {
    for (const auto& [guid, fence] : at->second.fences) fences.push_back(fence);
  }
  return fences;
}

void Arbiter::EmitSession(EventKind kind, const Session& session, std::size_t handles,
                          const std::string& detail) {
  EventRecord event;
  event.kind = kind;
  const bool arrives = kind == EventKind::kSessionBegan || kind == EventKind::kSessionHeard;
  (arrives ? event.to_node : event.from_node) = session.node;
  event.handles = handles;
  event.detail = detail;
  Push(Emit{std::move(event)});
}

}  // namespace baton
