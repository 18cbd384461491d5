#include "sim/scheduler.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/check.h"

namespace baton::sim {
namespace {

constexpr std::size_t kStackSize = 256 * 1024;

Scheduler* g_running = nullptr;

}  // namespace

struct Fiber {
  Fiber() {
    stack = ::mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    BATON_CHECK(stack != MAP_FAILED);
  }
  ~Fiber() { ::munmap(stack, kStackSize); }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void* stack = nullptr;
  ucontext_t context{};
  Process* process = nullptr;
  Scheduler::Task* task = nullptr;
  std::uint64_t turn = 0;  // changes with each resumption: who wants to resume it names the turn he means
  bool is_idle = true;
};

struct ScheduledEvent {
  Instant when{};
  std::uint64_t id = 0;
  Process* process = nullptr;
  Scheduler::Task* task = nullptr;  // or a fiber to be resumed:
  Fiber* fiber = nullptr;
  std::uint64_t turn = 0;
  bool is_cancelled = false;
};

bool Scheduler::Later::operator()(const ScheduledEvent* a, const ScheduledEvent* b) const {
  return a->when != b->when ? a->when > b->when : a->id > b->id;
}

Scheduler::Scheduler(std::uint64_t seed) : random_(seed) {}
Scheduler::~Scheduler() = default;

Scheduler* Scheduler::Running() {
  return g_running;
}

Process* Scheduler::ThisProcess() const {
  return running_->process;
}

std::uint64_t Scheduler::At(Instant when, Process& process, Task task) {
  if (!process.alive) return ++last_id_;
  auto* event = new ScheduledEvent{
      .when = std::max(when, now_), .process = &process, .task = new Task(std::move(task))};
  Push(event);
  by_id_.emplace(event->id, event);
  return event->id;
}

void Scheduler::Push(ScheduledEvent* event) {
  event->id = ++last_id_;
  events_.push(event);
}

bool Scheduler::Cancel(std::uint64_t id) {
  const auto at = by_id_.find(id);
  if (at == by_id_.end()) return false;
  at->second->is_cancelled = true;
  by_id_.erase(at);
  return true;
}

void Scheduler::Sleep(Duration time) {
  Fiber* const fiber = running_;
  Push(new ScheduledEvent{
      .when = now_ + time, .process = fiber->process, .fiber = fiber, .turn = fiber->turn});
  SwitchToLoop();
}

void Scheduler::Park(const void* place, Instant until) {
  Fiber* const fiber = running_;
  parked_[place].push_back({fiber, fiber->turn});
  if (until != Instant::max()) {
    Push(new ScheduledEvent{
        .when = std::max(until, now_), .process = fiber->process, .fiber = fiber, .turn = fiber->turn});
  }
  SwitchToLoop();
}

void Scheduler::Wake(const void* place) {
  const auto at = parked_.find(place);
  if (at == parked_.end()) return;
  const std::vector<ParkedFiber> woken = std::move(at->second);
  parked_.erase(at);
  for (const ParkedFiber& one : woken) {
    if (one.fiber->turn != one.turn) continue;
    const Duration delay{static_cast<std::int64_t>(random_.Below(5'000))};
    Push(new ScheduledEvent{
        .when = now_ + delay, .process = one.fiber->process, .fiber = one.fiber, .turn = one.turn});
  }
}

// The stacks are used again; what was on them is not destroyed, nor what its events would have run.
void Scheduler::Kill(Process& process) {
  process.alive = false;
  process.held_.clear();
  for (const auto& fiber : fibers_) {
    if (fiber->is_idle || fiber->process != &process) continue;
    BATON_CHECK(fiber.get() != running_);
    ++fiber->turn;
    fiber->is_idle = true;
    idle_.push_back(fiber.get());
  }
}

void Scheduler::Thaw(Process& process) {
  process.frozen = false;
  Instant when = now_;
  for (ScheduledEvent* event : std::exchange(process.held_, {})) {  // in the order in which they came due
    event->when = when += Duration(1);
    events_.push(event);
  }
}

void Scheduler::RunUntil(Instant end) {
  while (!events_.empty() && events_.top()->when <= end) {
    ScheduledEvent* const event = events_.top();
    events_.pop();
    now_ = std::max(now_, event->when);
    if (!event->is_cancelled && event->process->alive && event->process->frozen) {
      event->process->held_.push_back(event);
      continue;
    }
    Run(event);
  }
  now_ = std::max(now_, end);
}

void Scheduler::Run(ScheduledEvent* event) {
  Fiber* fiber = event->fiber;
  const bool is_dead = event->is_cancelled || !event->process->alive;
  if (event->task != nullptr) by_id_.erase(event->id);
  if (!is_dead && event->task != nullptr) {
    fiber = TakeFiber();
    fiber->process = event->process;
    fiber->task = event->task;
    event->turn = fiber->turn;
  }
  // The task of an event that nobody runs is left alone: it may own what a dead process had.
  if (!is_dead && fiber->turn == event->turn) Resume(fiber);
  delete event;
}

Fiber* Scheduler::TakeFiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>());
    idle_.push_back(fibers_.back().get());
  }
  Fiber* const fiber = idle_.back();
  idle_.pop_back();
  fiber->is_idle = false;
  ++fiber->turn;
  ::getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = kStackSize;
  fiber->context.uc_link = nullptr;
  ::makecontext(&fiber->context, &Scheduler::Entry, 0);
  return fiber;
}

void Scheduler::Entry() {
  Scheduler& scheduler = *g_running;
  Fiber& fiber = *scheduler.running_;
  (*fiber.task)();
  delete fiber.task;
  fiber.task = nullptr;
  ++fiber.turn;
  fiber.is_idle = true;
  scheduler.idle_.push_back(&fiber);
  scheduler.SwitchToLoop();
}

void Scheduler::Resume(Fiber* fiber) {
  ++events_run_;
  ++fiber->turn;
  running_ = fiber;
  g_running = this;
  ::swapcontext(&loop_, &fiber->context);
  g_running = nullptr;
  running_ = nullptr;
}

void Scheduler::SwitchToLoop() {
  ::swapcontext(&running_->context, &loop_);
}

}  // namespace baton::sim
