// After a restart of the server (rule D4): what is known of its earlier life, how sessions come back from it, and who waits for
// whom. A session of that life is absent until it has said what it held. Nobody knows that before, so the instances that used it
// may hold anything.
#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
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
  for (const SessionUse& use : survivors.uses) RestoreUse(use);
  if (!sessions_.empty()) absent_until_ = survivors.absent_until;
  reserved_ = survivors.reserved;
  CountAbsent();
}

// Which of its incarnations lives: the last one, where it was not fenced; of --reclaim-scope file several.
void Arbiter::RestoreUse(const SessionUse& use) {
  const auto session = sessions_.find(use.session);
  if (session == sessions_.end()) return;
  session->second.may_hold.insert(use.guid);
  if (use.guid.is_nil()) session->second.uses[use.guid] = {use.epoch, true};
  const auto instance = instances_.find(use.guid);
  if (instance == instances_.end()) return;
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

// --- Coming back ----------------------------------------------------------------------------------------------------

bool Arbiter::IsAbsent(SessionId id) const {
  const Session* session = FindSession(id);
  return session != nullptr && session->state == SessionState::kAbsent;
}

bool Arbiter::IsAnybodyAbsent() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& entry) { return entry.second.state == SessionState::kAbsent; });
}

void Arbiter::On(const SessionReturns& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr || session->state != SessionState::kAbsent) return;
  session->returning = true;
}

void Arbiter::On(const SessionReturned& event) {
  Session* session = FindSession(event.session);
  if (session == nullptr || session->state != SessionState::kAbsent || !session->returning) return;
  session->state = SessionState::kActive;
  session->returning = false;
  session->may_hold.clear();
  // Whose processes live without an open the mount does not say: they count again when they ask for something (rule T3).
  for (const Guid& guid : session->instances) {
    for (Life& life : instances_.at(guid).lives) {
      const bool has_handle = std::any_of(life.handles.begin(), life.handles.end(),
                                          [&](const Handle& handle) { return handle.session == session->id; });
      if (!has_handle) life.living.erase(session->id);
    }
  }
  EmitSession(EventKind::kSessionHeard, *session, session->handles.size(), "it came back after the server's restart");
  CountAbsent();
}

// What was granted in the server's earlier life stands against nobody, if all keep to what they were granted. Who does not, or has
// been fenced meanwhile, or has been waited for long enough, finds that it is another's.
bool Arbiter::MayReturn(const HandleReturns& event) const {
  const OpenWish& open = event.open;
  const Session* session = FindSession(open.who.session);
  if (session == nullptr || handles_.contains(event.handle) || Raw(event.handle) >= first_handle_) return false;
  const auto at = files_.find(open.file);
  if (!open.who.instance) return true;
  const InstanceClaim& claim = *open.who.instance;
  const Instance* instance = FindInstance(claim.guid);
  const Life* life = instance == nullptr ? nullptr : LifeOf(*instance, claim.epoch);
  if (life == nullptr || life->fencing || life->node != session->node || !life->gates.contains(session->id)) return false;
  // Which of their handles were revoked (rule T5) nobody knows any more.
  if (instance->lives.size() > 1) return false;
  if (at == files_.end()) return true;
  const Act act = open.writes ? Act::kWriteOpen : Act::kReadOpen;
  if (JudgeKnown(open.who, open.file, act).kind != Verdict::kGrant) return false;
  const bool claims = open.writes && open.mode != ClaimMode::kNone;
  return !claims || std::none_of(at->second.handles.begin(), at->second.handles.end(), [&](const Handle& handle) {
    const bool excludes = handle.writes || open.mode == ClaimMode::kExclusive;
    return handle.guid && *handle.guid != claim.guid && excludes;
  });
}

void Arbiter::On(const HandleReturns& event) {
  if (!MayReturn(event)) {
    Push(Refused{event.open.request, ESTALE, std::nullopt});
    return;
  }
  const std::vector<HandleId> demoted = DemotedByReturn(Grant(event.open, event.handle), event.open);
  if (!demoted.empty()) DemoteFor(RequestId{}, demoted);
}

// As JudgeOtherHandles found it when the claim began, in whatever order they return (rules O3, I7).
std::vector<HandleId> Arbiter::DemotedByReturn(const Handle& returned, const OpenWish& open) {
  const File& file = *returned.file;
  const std::string& node = NodeOf(returned.session);
  if (returned.claims) returned_families_[file.key].emplace_back(node, open.who.ancestors);
  if (!file.claim) return {};
  const auto& families = returned_families_[file.key];
  std::vector<HandleId> demoted;
  for (const Handle& handle : file.handles) {
    if (handle.guid || handle.demoted || !(handle.writes || file.claim->mode == ClaimMode::kExclusive)) continue;
    const bool of_its_opener = std::any_of(families.begin(), families.end(), [&](const auto& family) {
      const auto& [at, ancestors] = family;
      return at == NodeOf(handle.session) && std::find(ancestors.begin(), ancestors.end(), handle.pid) != ancestors.end();
    });
    if (!of_its_opener) demoted.push_back(handle.id);
  }
  return demoted;
}

void Arbiter::On(const LockReturns& event) {
  const auto at = handles_.find(event.lock.handle);
  if (at == handles_.end() || IsFenced(at->second)) {
    Push(Refused{event.lock.request, ESTALE, std::nullopt});
    return;
  }
  File& file = *at->second.file;
  LockTable& table = TableOf(file, event.lock.kind);
  const Lock lock = LockOf(event.lock, at->second);
  if (table.Conflict(lock) != nullptr) {
    Push(Refused{event.lock.request, ESTALE, std::nullopt});
    return;
  }
  const std::size_t before = table.size();
  if (event.lock.kind == LockKind::kFlock) {
    table.SetFlock(lock);
  } else {
    table.Apply(lock);
  }
  CountLocks(at->second.session, before, table.size());
  Push(LockGranted{event.lock.request, file.key});
}

// --- Waiting for who has not ------------------------------------------------------------------------------------------

Arbiter::Verdict Arbiter::WaitForAbsent(const Guid& guid) const {
  const auto at = absent_.find(guid);
  Verdict verdict{.kind = Verdict::kWait,
                  .error = EBUSY,
                  .absent_until = at == absent_.end() ? absent_until_ : at->second,
                  .holder = Holder{"", guid, 0, ""}};
  verdict.why = "may be held by an instance that has not come back since the server's restart";
  return verdict;
}

Arbiter::Verdict Arbiter::JudgeAbsent(const Requester& who, ClaimMode mode, Act act) const {
  if (Planted("no grace")) return {};
  const Relation relation = who.instance ? Relation::kOtherInstance : Relation::kAnonymous;
  if (Allows(mode, relation, act)) return {};
  Verdict longest;
  for (const auto& [guid, until] : absent_) {
    if (guid.is_nil() || (who.instance && who.instance->guid == guid)) continue;
    if (longest.kind == Verdict::kGrant || until > longest.absent_until) longest = WaitForAbsent(guid);
  }
  return longest;
}

// Of locks nobody knows the kind either: any may be in the way.
bool Arbiter::WaitsForAbsent(const Handle& handle) const {
  if (absent_.empty() || Planted("no grace")) return false;
  if (std::any_of(absent_.begin(), absent_.end(), [&](const auto& absent) { return handle.guid != absent.first; })) return true;
  // Its own incarnation, through another mount of its node.
  const Life* life = LifeOf(instances_.at(*handle.guid), handle.epoch);
  return life != nullptr && IsAbsent(*life);
}

bool Arbiter::MayMeetAbsent(HandleId handle) const {
  const auto at = handles_.find(handle);
  return at != handles_.end() && WaitsForAbsent(at->second);
}

void Arbiter::CountAbsent() {
  std::erase_if(reserved_, [this](const auto& reserved) { return reserved.second <= now_; });
  absent_ = reserved_;
  bool is_anybody_absent = false;
  for (const auto& [id, session] : sessions_) {
    if (session.state != SessionState::kAbsent && !absent_ends_.contains(id)) continue;
    is_anybody_absent = true;
    const bool has_end = absent_until_ != Instant{} && session.returning == only_returning_;
    const Instant until = has_end ? absent_until_ : Instant::max();
    for (const Guid& guid : session.may_hold) absent_[guid] = std::max(absent_[guid], until);
  }
  if (!is_anybody_absent) {
    absent_until_ = {};
    only_returning_ = false;
    returned_families_.clear();
  }
  for (const auto& [key, file] : files_) {
    if (!file.waiters.empty()) touched_.insert(key);
  }
  retry_ = true;
}

void Arbiter::On(const WaitForAbsentUntil& event) {
  if (absent_until_ == Instant{}) return;
  absent_until_ = std::max(absent_until_ == Instant::max() ? Instant{} : absent_until_, event.until);
  CountAbsent();
}

Instant Arbiter::ReservedUntil() const {
  Instant first = Instant::max();
  for (const auto& [guid, until] : reserved_) first = std::min(first, until);
  return first;
}

// Who has come back by then has one more lease to say what he held: others wait for him.
void Arbiter::EndAbsence() {
  const bool is_last = only_returning_;
  absent_until_ = {};
  only_returning_ = false;
  bool is_somebody_returning = false;
  for (auto& [id, session] : sessions_) {
    if (session.state != SessionState::kAbsent) continue;
    if (session.returning && !is_last) {
      is_somebody_returning = true;
      continue;
    }
    absent_ends_.insert(id);
    BeginEnding(session, Ending::kFenced,
                session.returning ? "it came back after the server's restart, and did not say within a lease what it held"
                                  : "it did not come back within a lease of the server's restart");
  }
  if (is_somebody_returning) {
    only_returning_ = true;
    absent_until_ = now_ + options_.lease;
  }
  CountAbsent();
}

}  // namespace baton
