#include "fuse/ops/housekeeping.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace baton {
namespace {
constexpr Duration kFastTick = std::chrono::milliseconds(100);
constexpr Duration kSlowTick = std::chrono::seconds(1);
}  // namespace

void Housekeeping::Start(Duties duties) {
  duties_ = std::move(duties);
  thread_ = std::thread([this] { Run(); });
}

void Housekeeping::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  // Requests of the kernel may hang on it: none may be left when the session with the kernel goes.
  std::multimap<Instant, UniqueFunction<void()>> left;
  {
    std::lock_guard lock(mutex_);
    left.swap(due_);
  }
  for (auto& [due, then] : left) then();
}

void Housekeeping::After(Duration delay, UniqueFunction<void()> then) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      due_.emplace(clock_.Now() + delay, std::move(then));
      wake_.notify_all();
      return;
    }
  }
  then();
}

void Housekeeping::Hurry() {
  std::lock_guard lock(mutex_);
  hurry_ = true;
  wake_.notify_all();
}

void Housekeeping::Run() {
  pthread_setname_np(pthread_self(), "housekeeping");
  Instant next_slow = clock_.Now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::vector<UniqueFunction<void()>> ready;
    const Instant now = clock_.Now();
    while (!due_.empty() && due_.begin()->first <= now)
      ready.push_back(std::move(due_.extract(due_.begin()).mapped()));
    hurry_ = false;
    lock.unlock();
    for (auto& then : ready) then();
    if (now >= next_slow) {
      duties_.slow();
      next_slow = now + kSlowTick;
    }
    if (duties_.fast_wanted()) duties_.fast();
    const Instant next_tick = duties_.fast_wanted() ? std::min(next_slow, now + kFastTick) : next_slow;
    lock.lock();
    const Instant next = due_.empty() ? next_tick : std::min(next_tick, due_.begin()->first);
    const auto soon = [&] { return stopping_ || hurry_ || (!due_.empty() && due_.begin()->first < next); };
    wake_.wait_for(lock, std::max(next - clock_.Now(), Duration(0)), soon);
  }
}

}  // namespace baton
