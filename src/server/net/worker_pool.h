// WorkerPool: the threads of batond around one epoll, leader and followers: whoever waits takes the next
// event and runs it to its end, without handing it over. Also the Executor and the Timers. Not the sockets: a
// Source says what its event means.
//
// Threads: a handler may block (a stalled store, an fsync); then it occupies its thread, and the pool grows
// when no thread is left waiting and little gets finished, up to a bound; idle threads end. The kernel wakes
// the thread that began to wait last, so a lightly loaded server stays on few warm threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "server/service/executor.h"

namespace baton::server {

struct PoolConfig {
  std::uint32_t threads = 16;  // kept even when idle
  std::uint32_t max_threads = 512;
  Duration idle = std::chrono::seconds(10);  // after which a thread beyond `threads` ends
};

// Gets the events of the descriptors that carry its tag.
class EventSource {
 public:
  virtual ~EventSource() = default;
  virtual void OnEvent(std::uint64_t tag, std::uint32_t events) = 0;
};

class WorkerPool final : public Executor, public Timers {
 public:
  static Result<std::unique_ptr<WorkerPool>> Create(const PoolConfig& config);
  // Runs what was posted, drops timers that are not due, and joins; waits for tasks that block.
  ~WorkerPool() override;

  void Post(std::function<void()> task) override;
  TimerId At(Instant when, std::function<void()> task) override;
  bool Cancel(TimerId id) override;

  // Tags from kFirstTag on are the source's.
  static constexpr std::uint64_t kFirstTag = 16;
  // Requires: set before the first descriptor is added. nullptr: no source any more; returns when the old
  // one's last OnEvent has returned.
  void SetSource(EventSource* source);
  // `events` as in epoll_ctl(2). False with errno if the kernel refuses.
  bool Add(int fd, std::uint32_t events, std::uint64_t tag);
  void Modify(int fd, std::uint32_t events, std::uint64_t tag);

  Instant Now() const { return clock_.Now(); }
  std::uint32_t Threads() const { return thread_count_.load(std::memory_order_relaxed); }

 private:
  explicit WorkerPool(const PoolConfig& config) : config_(config) {}
  Result<> Open();
  void Work();
  bool WaitForOne();
  void Dispatch(std::uint64_t tag, std::uint32_t events);
  void RunOnePosted();
  void RunDueTimers();
  void ArmTimer();
  bool NothingPosted();
  void Supervise();
  bool Spawn();
  bool Retire();
  void SayNobodyWaits();

  const PoolConfig config_;
  BootClock clock_;
  UniqueFd epoll_;
  UniqueFd posted_event_;
  UniqueFd timer_event_;
  UniqueFd stop_event_;
  std::atomic<EventSource*> source_ = nullptr;

  std::mutex posted_mutex_;
  std::deque<std::function<void()>> posted_;

  std::mutex timers_mutex_;
  std::map<std::pair<Instant, TimerId>, std::function<void()>> timers_;
  std::map<TimerId, Instant> timer_times_;
  std::uint64_t last_timer_ = 0;

  std::atomic<std::uint32_t> waiting_ = 0;      // threads in epoll_wait
  std::atomic<std::uint64_t> finished_ = 0;     // events handled to their end
  std::atomic<std::uint32_t> dispatching_ = 0;  // threads that may be inside the source
  std::atomic<std::uint32_t> thread_count_ = 0;
  std::atomic<bool> saturated_ = false;  // nobody waited when a thread began its event
  bool stopping_ = false;                // under threads_mutex_

  std::mutex threads_mutex_;
  std::condition_variable supervision_;
  std::map<std::thread::id, std::thread> threads_;
  std::vector<std::thread> retired_;  // ended or about to: to be joined
  std::thread supervisor_;
};

}  // namespace baton::server
