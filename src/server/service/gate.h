// Gate: what every request of an incarnation passes on the data path (rule T4). Entering is one compare-and-swap; no lock.
// Closed once, for good: later entries get the closing's errno; whoever closed it is told when the last one inside has left.
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/small_mutex.h"

namespace baton::server {

class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // 0: entered, Leave must follow. Otherwise the errno with which the gate was closed.
  int Enter() {
    std::uint64_t state = state_.load(std::memory_order_acquire);
    do {
      if ((state & kClosed) != 0) return error_.load(std::memory_order_acquire);
    } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel, std::memory_order_acquire));
    return 0;
  }
  void Leave() {
    if (state_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) TellDrained();
  }
  // 0 while it is open.
  int Closed() const {
    return (state_.load(std::memory_order_acquire) & kClosed) == 0 ? 0 : error_.load(std::memory_order_acquire);
  }

  // The first closing's error counts. `drained` runs once nobody is inside: at once on this thread, or on the thread that
  // leaves last; it must not block.
  void Close(int error, std::function<void()> drained) {
    int open = 0;
    error_.compare_exchange_strong(open, error, std::memory_order_acq_rel);
    state_.fetch_or(kClosed, std::memory_order_acq_rel);
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(drained));
    }
    if (state_.load(std::memory_order_acquire) == kClosed) TellDrained();
  }

 private:
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

  void TellDrained() {
    std::vector<std::function<void()>> waiting;
    {
      const std::lock_guard lock(mutex_);
      waiting.swap(waiting_);
    }
    for (const auto& drained : waiting) drained();
  }

  std::atomic<std::uint64_t> state_ = 0;  // kClosed, and how many are inside
  std::atomic<int> error_ = 0;
  SmallMutex mutex_;
  std::vector<std::function<void()>> waiting_;
};

// Inside a gate until it goes out of scope.
class GateEntry {
 public:
  GateEntry() = default;
  // Requires that the gate was entered.
  explicit GateEntry(std::shared_ptr<Gate> entered) : gate_(std::move(entered)) {}
  GateEntry(GateEntry&&) = default;
  GateEntry& operator=(GateEntry&& other) noexcept {
    if (gate_) gate_->Leave();
    gate_ = std::move(other.gate_);
    return *this;
  }
  ~GateEntry() {
    if (gate_) gate_->Leave();
  }

 private:
  std::shared_ptr<Gate> gate_;
};

}  // namespace baton::server
