#include "server/state/state_store.h"

namespace baton {

Result<Recovered> Recover(StateStore& state, WallTime now, Duration reservation, Instant absent_until) {
  auto instances = state.Load();
  const auto last_epoch = state.LastEpoch();
  auto sessions = state.LoadSessions();
  auto uses = state.LoadUses();
  auto reserved = state.LoadReserved(now, reservation);
  auto fences = state.LoadFences();
  if (!instances || !last_epoch || !sessions || !uses || !reserved || !fences) return Fail(EIO);
  Recovered recovered;
  recovered.survivors = {std::move(*instances), *last_epoch,        {},          std::move(*uses),
                         std::move(*reserved),  std::move(*fences), absent_until};
  recovered.sessions = std::move(*sessions);
  for (const SessionRecord& session : recovered.sessions)
    recovered.survivors.sessions.push_back(session.begins);
  return recovered;
}

}  // namespace baton
