#include "server/state/state_store.h"

namespace baton {

Result<Recovered> Recover(StateStore& state, const RecoverTimes& times) {
  auto instances = state.Load();
  const auto last_epoch = state.LastEpoch();
  auto sessions = state.LoadSessions();
  auto uses = state.LoadUses();
  auto reserved = state.LoadReserved(times.boot, times.now, times.reservation);
  auto fences = state.LoadFences();
  const auto starts = state.CountStart();
  if (!instances || !last_epoch || !sessions || !uses || !reserved || !fences || !starts) return Fail(EIO);
  Recovered recovered;
  Survivors& survivors = recovered.survivors;
  survivors.instances = std::move(*instances);
  survivors.last_epoch = *last_epoch;
  survivors.uses = std::move(*uses);
  survivors.fences = std::move(*fences);
  survivors.absent_until = times.absent_until;
  survivors.first_handle = HandleId{*starts << 40};  // more than one life can give
  recovered.starts = *starts;
  survivors.reserved = std::move(*reserved);
  recovered.sessions = std::move(*sessions);
  for (const SessionRecord& session : recovered.sessions) survivors.sessions.push_back(session.begins);
  return recovered;
}

}  // namespace baton
