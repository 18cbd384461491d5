// What must hold after every step.
#include <algorithm>

#include "base/check.h"
#include "server/arbiter/arbiter.h"

namespace baton {

// Who is in it belongs there, in order of id.
template <class List, class Belongs>
void Arbiter::CheckList(const Handles<List>& handles, const Belongs& belongs) {
  HandleId before{};
  for (const Handle& handle : handles) {
    BATON_CHECK(before < handle.id && belongs(handle));
    before = handle.id;
  }
}

void Arbiter::CheckInvariants() const {
  std::size_t of_instances = 0;
  for (const auto& [id, handle] : handles_) {
    BATON_CHECK(sessions_.contains(handle.session));
    BATON_CHECK(id == handle.id && files_.contains(handle.file->key));
    if (!handle.guid) continue;
    ++of_instances;
    // A handle of an instance is always of an incarnation that lives or is being fenced.
    const Life* life = LifeOf(instances_.at(*handle.guid), handle.epoch);
    BATON_CHECK(life != nullptr);
    BATON_CHECK(life->node == sessions_.at(handle.session).node);
  }
  // So many as there are, each in its place: then each is in its three lists.
  std::size_t in_sessions = 0, in_lives = 0, in_files = 0;
  for (const auto& [id, session] : sessions_) {
    CheckList(session.handles, [&](const Handle& handle) { return handle.session == id; });
    in_sessions += session.handles.size();
  }
  for (const auto& [guid, instance] : instances_) {
    BATON_CHECK(options_.scope == ReclaimScope::kFile || instance.lives.size() <= 1);
    std::size_t reservations = 0;
    for (const auto& [key, file] : files_) reservations += file.reservations.contains(guid);
    BATON_CHECK(reservations == instance.reservations);
    for (const Life& life : instance.lives) {
      BATON_CHECK(Raw(life.epoch) <= last_epoch_);
      CheckList(life.handles,
                [&](const Handle& handle) { return handle.guid == guid && handle.epoch == life.epoch; });
      in_lives += life.handles.size();
      for (const auto& [session, gate] : life.gates) {
        BATON_CHECK(sessions_.at(session).node == life.node && sessions_.at(session).instances.contains(guid));
      }
      // No successor acts while its predecessor can: the takeover's own life comes only after the drain.
      if (instance.takeover) BATON_CHECK(life.epoch < instance.takeover->successor.epoch);
    }
  }
  for (const auto& [key, file] : files_) {
    file.records.CheckInvariants();
    file.flocks.CheckInvariants();
    BATON_CHECK(file.key == key);
    CheckList(file.handles, [&](const Handle& handle) { return handle.file == &file; });
    in_files += file.handles.size();
    std::size_t claims = 0;
    for (const Handle& handle : file.handles) {
      claims += handle.claims;
      if (handle.claims) BATON_CHECK(file.claim && file.claim->guid == *handle.guid);
      // Beside a claim nobody else writes: neither another instance nor, unless demoted, a handle without one.
      if (file.claim && handle.guid && *handle.guid != file.claim->guid) BATON_CHECK(!handle.writes);
    }
    BATON_CHECK(claims == (file.claim ? file.claim->handles : 0));
    for (RequestId id : file.waiters) BATON_CHECK(lock_waits_.at(id).file == key);
  }
  BATON_CHECK(in_sessions == handles_.size() && in_files == handles_.size() && in_lives == of_instances);
  for (const auto& [id, wait] : lock_waits_) {
    const auto& waiters = files_.at(wait.file).waiters;
    BATON_CHECK(std::count(waiters.begin(), waiters.end(), id) == 1);
    BATON_CHECK(handles_.contains(wait.wish.handle));
  }
  CheckCounts();
  // Whoever waits has something to wait for.
  for (const auto& [id, parked] : parked_) {
    if (parked.draining) continue;
    const Verdict verdict = std::visit([this](const auto& wish) { return Judge(wish); }, parked.wish);
    BATON_CHECK(verdict.kind == Verdict::kWait || verdict.kind == Verdict::kCommitUse);
  }
}

}  // namespace baton
