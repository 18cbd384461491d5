// Scheduler: simulated time, and everything that runs in it. Each simulated thread is a fiber (ucontext) of
// one real thread, so exactly one runs at a time, and which one comes next is decided by times that the seed
// has drawn. What blocks (threads.cpp, Sleep) gives the turn away; nothing else does.
//
// A Process is what is killed and frozen together. What was killed never runs again, not even its
// destructors: its memory is left as it is, as a SIGKILL leaves it. So a simulation leaks; sim_run makes it
// in child processes.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "sim/random.h"

namespace baton::sim {

struct Fiber;
struct ScheduledEvent;

class Process {
 public:
  explicit Process(std::string called) : name(std::move(called)) {}
  const std::string name;
  bool alive = true;
  bool frozen = false;
  Duration clock_offset{};  // of its machine's clock

 private:
  friend class Scheduler;
  std::vector<ScheduledEvent*> held_;  // what came due while it was frozen
};

class Scheduler {
 public:
  using Task = std::function<void()>;

  explicit Scheduler(std::uint64_t seed);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // The one whose fiber runs; null outside of fibers.
  static Scheduler* Running();

  Instant Now() const { return now_; }
  Random& random() { return random_; }
  Process* ThisProcess() const;

  // Runs `task` on a fiber of its own. The id is never 0.
  std::uint64_t At(Instant when, Process& process, Task task);
  std::uint64_t After(Duration delay, Process& process, Task task) {
    return At(now_ + delay, process, std::move(task));
  }
  bool Cancel(std::uint64_t id);

  // Of the running fiber.
  void Sleep(Duration time);
  // Until Wake of the same place, or the time; may return without either.
  void Park(const void* place, Instant until = Instant::max());
  // All that are parked there.
  void Wake(const void* place);
  bool HasParked() const { return !parked_.empty(); }

  void Kill(Process& process);
  void Freeze(Process& process) { process.frozen = true; }
  void Thaw(Process& process);

  void RunUntil(Instant end);
  std::uint64_t events() const { return events_run_; }

 private:
  struct Later {
    bool operator()(const ScheduledEvent* a, const ScheduledEvent* b) const;
  };
  struct ParkedFiber {
    Fiber* fiber = nullptr;
    std::uint64_t turn = 0;
  };

  static void Entry();
  Fiber* TakeFiber();
  void Push(ScheduledEvent* event);
  void Run(ScheduledEvent* event);
  void Resume(Fiber* fiber);
  void SwitchToLoop();

  Random random_;
  Instant now_ = std::chrono::hours(1);
  std::uint64_t last_id_ = 0;
  std::uint64_t events_run_ = 0;
  ucontext_t loop_{};
  Fiber* running_ = nullptr;
  std::priority_queue<ScheduledEvent*, std::vector<ScheduledEvent*>, Later> events_;
  std::unordered_map<std::uint64_t, ScheduledEvent*> by_id_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  std::unordered_map<const void*, std::vector<ParkedFiber>> parked_;
};

// Time as a process sees it.
class ProcessClock final : public Clock {
 public:
  ProcessClock(const Scheduler& scheduler, const Process& process)
      : scheduler_(scheduler), process_(process) {}
  Instant Now() const override { return scheduler_.Now() + process_.clock_offset; }

 private:
  const Scheduler& scheduler_;
  const Process& process_;
};

}  // namespace baton::sim
