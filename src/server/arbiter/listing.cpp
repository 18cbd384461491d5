// Listings for the operator (baton status, sessions, instances, opens, locks) and for user.baton.holders.
#include "server/arbiter/arbiter.h"

namespace baton {

std::vector<SessionInfo> Arbiter::ListSessions() const {
  std::vector<SessionInfo> list;
  for (const auto& [id, session] : sessions_) {
    const char* state = session.state == SessionState::kActive   ? "active"
                        : session.state == SessionState::kSilent ? "silent"
                        : session.state == SessionState::kAbsent ? "absent"
                                                                 : "ending";
    list.push_back({id, session.node, session.boot, session.machine, session.mount_point, state, session.handles.size()});
  }
  return list;
}

std::vector<InstanceInfo> Arbiter::ListInstances() const {
  std::vector<InstanceInfo> list;
  std::map<Guid, std::uint64_t> locks;
  for (const auto& [key, file] : files_) {
    for (const LockTable* table : {&file.records, &file.flocks}) {
      if (table->empty()) continue;
      for (const Lock& lock : table->List()) {
        if (lock.instance && !lock.owner.IsReservation()) ++locks[*lock.instance];
      }
    }
  }
  for (const auto& [guid, instance] : instances_) {
    InstanceInfo info;
    info.record = instance.record;
    info.reservations = instance.reservations;
    info.state = instance.takeover ? "taking over" : instance.lives.empty() ? "fenced" : "idle";
    for (const Life& life : instance.lives) {
      info.handles += life.handles.size();
      if (!instance.takeover && IsBound(instance, life)) info.state = "live";
    }
    if (const auto at = locks.find(guid); at != locks.end()) info.locks = at->second;
    list.push_back(std::move(info));
  }
  return list;
}

std::vector<OpenInfo> Arbiter::ListOpens(std::optional<FileKey> only) const {
  std::vector<OpenInfo> list;
  for (const auto& [key, file] : files_) {
    if (only && *only != key) continue;
    for (const Handle& handle : file.handles) {
      const char* mode = handle.demoted  ? "demoted"
                         : handle.claims ? (file.claim->mode == ClaimMode::kExclusive ? "exclusive" : "claim")
                         : handle.writes ? "write"
                                         : "read";
      list.push_back({handle.id, key, file.path, NodeOf(handle.session), handle.guid, handle.epoch,
                      handle.uid, handle.pid, handle.program, mode});
    }
    for (const auto& [guid, reservation] : file.reservations) {
      if (reservation.claim) list.push_back({HandleId{}, key, file.path, "", guid, Epoch{}, 0, 0, "", "reserved"});
    }
  }
  return list;
}

std::vector<LockInfo> Arbiter::ListLocks(std::optional<FileKey> only) const {
  std::vector<LockInfo> list;
  const auto add = [&](const FileKey& key, const File& file, const Lock& lock, LockKind kind, const char* state) {
    LockInfo info{key, file.path, NodeOf(lock.owner.session()), lock.instance, lock.pid, "",
                  kind == LockKind::kFlock ? "flock" : "record", lock.type == LockType::kWrite ? "write" : "read",
                  lock.range, state};
    if (const auto handle = handles_.find(lock.handle); handle != handles_.end()) info.program = handle->second.program;
    if (lock.owner.IsReservation()) {
      info.guid = lock.owner.instance();
      info.state = "reserved";
    }
    list.push_back(std::move(info));
  };
  for (const auto& [key, file] : files_) {
    if (only && *only != key) continue;
    for (const Lock& lock : file.records.List()) add(key, file, lock, LockKind::kRecord, "held");
    for (const Lock& lock : file.flocks.List()) add(key, file, lock, LockKind::kFlock, "held");
    for (RequestId id : file.waiters) {
      const LockWait& wait = lock_waits_.at(id);
      add(key, file, wait.lock, wait.wish.kind, "waiting");
    }
  }
  return list;
}

}  // namespace baton
