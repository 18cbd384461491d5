#include "server/arbiter/arbiter.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace baton {

Arbiter::Arbiter(ArbiterOptions options, const Survivors& survivors)
    : options_(options), last_epoch_(Raw(survivors.last_epoch)), first_handle_(Raw(survivors.first_handle)),
      last_handle_(first_handle_) {
  Restore(survivors);
}

Effects Arbiter::Step(const Event& event, Instant now) {
  now_ = std::max(now_, now);
  // Before anybody is refused for it.
  if (absent_until_ != Instant{} && absent_until_ <= now_) EndAbsence();
  if (ReservedUntil() <= now_) CountAbsent();
  std::visit([this](const auto& any) { On(any); }, event);
  Retry();
  return std::exchange(effects_, {});
}

// Serves whoever can be served now, until nothing more changes: parked wishes in order of arrival, lock waiters file by file.
void Arbiter::Retry() {
  while (retry_ || !touched_.empty()) {
    for (const FileKey& key : std::exchange(touched_, {})) ServeWaiters(key);
    if (!std::exchange(retry_, false)) continue;
    std::vector<RequestId> waiting;
    for (const auto& [id, parked] : parked_) {
      if (!parked.draining) waiting.push_back(id);
    }
    for (RequestId id : waiting) {
      const auto at = parked_.find(id);
      if (at != parked_.end() && Decide(id, at->second)) Unpark(id);
    }
  }
}

Instant Arbiter::NextDeadline() const {
  Instant next = Instant::max();
  if (!reservation_ends_.empty()) next = std::min(next, reservation_ends_.begin()->first);
  if (!wish_deadlines_.empty()) next = std::min(next, wish_deadlines_.begin()->first);
  if (!lock_deadlines_.empty()) next = std::min(next, lock_deadlines_.begin()->first);
  if (absent_until_ != Instant{}) next = std::min(next, absent_until_);
  return std::min(next, ReservedUntil());
}

void Arbiter::On(const Tick&) {
  // What ten thousand files had reserved ends at the same time: no more in one step than others can wait for.
  // The rest is due already (NextDeadline), so the next tick comes at once.
  constexpr int kEndsAtOnce = 1000;
  for (int i = 0; i < kEndsAtOnce && !reservation_ends_.empty() && reservation_ends_.begin()->first <= now_;
       ++i) {
    auto& ends = reservation_ends_.begin()->second;
    const auto [key, guid] = ends.front();
    ends.pop_front();
    if (ends.empty()) reservation_ends_.erase(reservation_ends_.begin());
    EndReservation(key, guid);
  }
  while (!wish_deadlines_.empty() && wish_deadlines_.begin()->first <= now_) {
    const RequestId id = wish_deadlines_.begin()->second;
    wish_deadlines_.erase(wish_deadlines_.begin());
    const auto at = parked_.find(id);
    if (at != parked_.end() && !at->second.draining && Decide(id, at->second)) Unpark(id);
  }
  while (!lock_deadlines_.empty() && lock_deadlines_.begin()->first <= now_) {
    const RequestId id = lock_deadlines_.begin()->second;
    lock_deadlines_.erase(lock_deadlines_.begin());
    const auto at = lock_waits_.find(id);
    if (at != lock_waits_.end() && DecideLock(id, at->second)) ForgetWait(id);
  }
}

DrainId Arbiter::NewDrain(Drain drain) {
  const DrainId id{++last_drain_};
  drains_.emplace(id, std::move(drain));
  return id;
}

void Arbiter::On(const Drained& event) {
  const auto at = drains_.find(event.drain);
  if (at == drains_.end()) return;
  const Drain drain = std::move(at->second);
  drains_.erase(at);
  switch (drain.purpose) {
    case DrainPurpose::kTakeover:
      FinishTakeover(drain.guid);
      break;
    case DrainPurpose::kSession:
      sessions_.at(drain.session).drained = true;
      FinishEnding(drain.session);
      break;
    case DrainPurpose::kOpen:
      FinishDrainOf(drain);
      break;
  }
}

}  // namespace baton
