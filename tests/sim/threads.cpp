// What the code under test asks of the operating system, while it runs in a simulation: its threads are
// fibers, its mutexes and conditions give the turn away instead of blocking the one real thread, its clocks
// show simulated time. These definitions stand before those of libc for the whole program; outside of fibers
// they pass everything on. So the product has no seam for threads at all, and a thread that it may start one
// day is simulated, too.
#include "sim/threads.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "sim/scheduler.h"

using baton::sim::Process;
using baton::sim::Scheduler;

namespace {

template <class Function>
Function Real(const char* name) {
  void* const found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function>(found);
}

// The time is of the simulation's own: no leap of the real one gets in.
constexpr std::int64_t kWallBase = 1'700'000'000'000'000'000;
std::int64_t g_wall_offset = 0;

std::int64_t SimulatedTime(const Scheduler& scheduler, clockid_t clock) {
  const std::int64_t boot = (scheduler.Now() + scheduler.ThisProcess()->clock_offset).count();
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? kWallBase + boot + g_wall_offset : boot;
}

int WaitOn(pthread_cond_t* condition, pthread_mutex_t* mutex, baton::Instant until) {
  Scheduler& scheduler = *Scheduler::Running();
  ::pthread_mutex_unlock(mutex);
  scheduler.Park(condition, until);
  ::pthread_mutex_lock(mutex);
  return scheduler.Now() >= until ? ETIMEDOUT : 0;
}

int WaitUntil(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* time) {
  Scheduler& scheduler = *Scheduler::Running();
  const std::int64_t left = time->tv_sec * 1'000'000'000 + time->tv_nsec - SimulatedTime(scheduler, clock);
  return WaitOn(condition, mutex, scheduler.Now() + baton::Duration(left > 0 ? left : 0));
}

void FillRandomly(void* to, std::size_t size) {
  auto* bytes = static_cast<unsigned char*>(to);
  Scheduler* const scheduler = Scheduler::Running();
  if (scheduler == nullptr) std::abort();
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>(scheduler->random().Next());
}

}  // namespace

namespace baton::sim {

void SetWallClockOffset(Duration offset) {
  g_wall_offset = offset.count();
}

void SimulateRandomness() {
  static randombytes_implementation implementation{};
  implementation.implementation_name = [] { return "simulated"; };
  implementation.random = [] {
    std::uint32_t value = 0;
    FillRandomly(&value, sizeof value);
    return value;
  };
  implementation.buf = FillRandomly;
  ::randombytes_set_implementation(&implementation);
}

}  // namespace baton::sim

extern "C" {

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static const auto lock = Real<int (*)(pthread_mutex_t*)>("pthread_mutex_lock");
  Scheduler* const scheduler = Scheduler::Running();
  if (scheduler == nullptr) return lock(mutex);
  for (;;) {
    const int error = ::pthread_mutex_trylock(mutex);
    if (error != EBUSY) return error;
    scheduler->Park(mutex);
  }
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  static const auto unlock = Real<int (*)(pthread_mutex_t*)>("pthread_mutex_unlock");
  const int error = unlock(mutex);
  Scheduler* const scheduler = Scheduler::Running();
  if (scheduler != nullptr && scheduler->HasParked()) scheduler->Wake(mutex);
  return error;
}

int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  static const auto wait = Real<int (*)(pthread_cond_t*, pthread_mutex_t*)>("pthread_cond_wait");
  if (Scheduler::Running() == nullptr) return wait(condition, mutex);
  return WaitOn(condition, mutex, baton::Instant::max());
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  static const auto wait =
      Real<int (*)(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
  if (Scheduler::Running() == nullptr) return wait(condition, mutex, until);
  return WaitUntil(condition, mutex, CLOCK_REALTIME, until);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* until) {
  static const auto wait =
      Real<int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
  if (Scheduler::Running() == nullptr) return wait(condition, mutex, clock, until);
  return WaitUntil(condition, mutex, clock, until);
}

int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  static const auto signal = Real<int (*)(pthread_cond_t*)>("pthread_cond_signal");
  if (Scheduler::Running() == nullptr) return signal(condition);
  Scheduler::Running()->Wake(condition);
  return 0;
}

int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  static const auto broadcast = Real<int (*)(pthread_cond_t*)>("pthread_cond_broadcast");
  if (Scheduler::Running() == nullptr) return broadcast(condition);
  Scheduler::Running()->Wake(condition);
  return 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  static const auto create =
      Real<int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  Scheduler* const scheduler = Scheduler::Running();
  if (scheduler == nullptr) return create(thread, attributes, start, argument);
  *thread =
      scheduler->At(scheduler->Now(), *scheduler->ThisProcess(), [start, argument] { start(argument); });
  return 0;
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto get = Real<int (*)(clockid_t, timespec*)>("clock_gettime");
  const Scheduler* const scheduler = Scheduler::Running();
  const bool is_cpu_time = clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
  if (scheduler == nullptr || is_cpu_time) return get(clock, time);
  const std::int64_t now = SimulatedTime(*scheduler, clock);
  time->tv_sec = now / 1'000'000'000;
  time->tv_nsec = now % 1'000'000'000;
  return 0;
}

// std::atomic::wait, as SmallMutex uses it, is a futex(2).
long syscall(long number, ...) noexcept {
  static const auto real = Real<long (*)(long, ...)>("syscall");
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& one : a) one = va_arg(list, long);
  va_end(list);
  Scheduler* const scheduler = Scheduler::Running();
  if (scheduler == nullptr || number != SYS_futex) return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  auto* const word = reinterpret_cast<std::atomic<int>*>(a[0]);
  if ((a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT) {
    if (word->load() == static_cast<int>(a[2])) scheduler->Park(word);
  } else {
    scheduler->Wake(word);
  }
  return 0;
}

}  // extern "C"
