#include "server/net/worker_pool.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <system_error>

#include "base/check.h"
#include "base/log.h"

namespace baton::server {
namespace {

constexpr std::uint64_t kPostedTag = 1;
constexpr std::uint64_t kTimerTag = 2;
constexpr std::uint64_t kStopTag = 3;

// How long nobody may wait before the supervisor looks, and how few events must have ended in that time for
// it to conclude that threads are blocked rather than busy.
constexpr auto kPatience = std::chrono::microseconds(500);
constexpr auto kPatienceWhenFull = std::chrono::milliseconds(50);
constexpr std::uint64_t kFew = 4;

void Signal(const UniqueFd& event) {
  const std::uint64_t one = 1;
  // Cannot fail: the counter is never near its end, and a full counter has woken its reader already.
  [[maybe_unused]] const auto written = ::write(event.Get(), &one, sizeof one);
}

}  // namespace

Result<std::unique_ptr<WorkerPool>> WorkerPool::Create(const PoolConfig& config) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool(config));
  if (auto opened = pool->Open(); !opened) return tl::unexpected(opened.error());
  return pool;
}

Result<> WorkerPool::Open() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  posted_event_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  stop_event_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  timer_event_ = UniqueFd(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  // Edge-triggered and never read: each signal wakes one thread, not all.
  if (!epoll_ || !posted_event_ || !stop_event_ || !timer_event_ ||
      !Add(posted_event_.Get(), EPOLLIN | EPOLLET, kPostedTag) ||
      !Add(timer_event_.Get(), EPOLLIN | EPOLLET, kTimerTag) || !Add(stop_event_.Get(), EPOLLIN, kStopTag)) {
    return FailErrno();
  }
  {
    const std::lock_guard lock(threads_mutex_);
    for (std::uint32_t i = 0; i < std::max(config_.threads, 1u); ++i) {
      if (!Spawn()) return Fail(EAGAIN);
    }
  }
  supervisor_ = std::thread([this] { Supervise(); });
  return {};
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(threads_mutex_);
    stopping_ = true;
    supervision_.notify_all();
  }
  if (supervisor_.joinable()) supervisor_.join();
  if (stop_event_) Signal(stop_event_);
  // With the supervisor gone nobody adds a thread, and while stopping nobody retires.
  for (auto& [id, thread] : threads_) thread.join();
  for (std::thread& thread : retired_) thread.join();
}

void WorkerPool::SetSource(EventSource* source) {
  source_.store(source);
  if (source != nullptr) return;
  for (auto inside = dispatching_.load(); inside != 0; inside = dispatching_.load())
    dispatching_.wait(inside);
}

bool WorkerPool::Add(int fd, std::uint32_t events, std::uint64_t tag) {
  epoll_event event{events, {}};
  event.data.u64 = tag;
  return ::epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void WorkerPool::Modify(int fd, std::uint32_t events, std::uint64_t tag) {
  epoll_event event{events, {}};
  event.data.u64 = tag;
  BATON_CHECK(::epoll_ctl(epoll_.Get(), EPOLL_CTL_MOD, fd, &event) == 0);
}

void WorkerPool::Work() {
  ::pthread_setname_np(::pthread_self(), "batond-worker");
  while (WaitForOne()) {
  }
}

// False: this thread ends.
bool WorkerPool::WaitForOne() {
  const auto idle = std::chrono::ceil<std::chrono::milliseconds>(config_.idle);
  epoll_event event;
  waiting_.fetch_add(1);
  const int count = ::epoll_wait(epoll_.Get(), &event, 1, static_cast<int>(idle.count()));
  const bool nobody_waits = waiting_.fetch_sub(1) == 1;
  if (count == 0) return !Retire();
  if (count < 0) {
    BATON_CHECK(errno == EINTR);
    return true;
  }
  if (event.data.u64 == kStopTag) {
    if (NothingPosted()) return false;
    RunOnePosted();
    return true;
  }
  if (nobody_waits) SayNobodyWaits();
  Dispatch(event.data.u64, event.events);
  finished_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void WorkerPool::Dispatch(std::uint64_t tag, std::uint32_t events) {
  if (tag == kPostedTag) return RunOnePosted();
  if (tag == kTimerTag) return RunDueTimers();
  dispatching_.fetch_add(1);
  if (EventSource* source = source_.load()) source->OnEvent(tag, events);
  dispatching_.fetch_sub(1);
  if (source_.load() == nullptr) dispatching_.notify_all();
}

void WorkerPool::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  Signal(posted_event_);
}

bool WorkerPool::NothingPosted() {
  const std::lock_guard lock(posted_mutex_);
  return posted_.empty();
}

void WorkerPool::RunOnePosted() {
  std::function<void()> task;
  {
    const std::lock_guard lock(posted_mutex_);
    if (posted_.empty()) return;
    task = std::move(posted_.front());
    posted_.pop_front();
    // Signals may have fallen together: the next thread is woken before this one is busy.
    if (!posted_.empty()) Signal(posted_event_);
  }
  task();
}

TimerId WorkerPool::At(Instant when, std::function<void()> task) {
  const std::lock_guard lock(timers_mutex_);
  const TimerId id{++last_timer_};
  const auto place = timers_.emplace(std::pair(when, id), std::move(task)).first;
  timer_times_.emplace(id, when);
  if (place == timers_.begin()) ArmTimer();
  return id;
}

bool WorkerPool::Cancel(TimerId id) {
  const std::lock_guard lock(timers_mutex_);
  const auto time = timer_times_.find(id);
  if (time == timer_times_.end()) return false;
  timers_.erase({time->second, id});
  timer_times_.erase(time);
  return true;
}

// Requires timers_mutex_. A cancelled first timer may wake a thread for nothing.
void WorkerPool::ArmTimer() {
  if (timers_.empty()) return;
  const Instant when = std::max(timers_.begin()->first.first, Instant(1));  // 0 would disarm
  const auto seconds = std::chrono::floor<std::chrono::seconds>(when);
  itimerspec spec{};
  spec.it_value.tv_sec = seconds.count();
  spec.it_value.tv_nsec = (when - seconds).count();
  BATON_CHECK(::timerfd_settime(timer_event_.Get(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
}

void WorkerPool::RunDueTimers() {
  std::vector<std::function<void()>> due;
  {
    const std::lock_guard lock(timers_mutex_);
    const Instant now = clock_.Now();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
      const auto first = timers_.begin();
      timer_times_.erase(first->first.second);
      due.push_back(std::move(first->second));
      timers_.erase(first);
    }
    ArmTimer();
  }
  for (std::size_t i = 1; i < due.size(); ++i) Post(std::move(due[i]));
  if (!due.empty()) due.front()();
}

void WorkerPool::SayNobodyWaits() {
  if (saturated_.exchange(true)) return;
  const std::lock_guard lock(threads_mutex_);
  supervision_.notify_all();
}

// Adds threads when all are blocked, and joins those that ended: neither belongs on a thread with a request
// in its hands.
void WorkerPool::Supervise() {
  ::pthread_setname_np(::pthread_self(), "batond-pool");
  std::unique_lock lock(threads_mutex_);
  while (!stopping_) {
    supervision_.wait(lock, [this] { return stopping_ || saturated_.load() || !retired_.empty(); });
    for (std::thread& thread : std::exchange(retired_, {})) thread.join();
    if (stopping_ || !saturated_.load()) continue;
    saturated_.store(false);
    const std::uint64_t before = finished_.load();
    const bool is_full = thread_count_.load() >= config_.max_threads;
    supervision_.wait_for(lock, is_full ? std::chrono::microseconds(kPatienceWhenFull) : kPatience,
                          [this] { return stopping_; });
    if (stopping_ || waiting_.load() > 0) continue;
    if (!is_full && finished_.load() - before < kFew && !Spawn()) {
      log::Warn("no further thread can be started; {} are running", thread_count_.load());
      supervision_.wait_for(lock, std::chrono::seconds(1), [this] { return stopping_; });
    }
    saturated_.store(true);  // look again
  }
}

// Requires threads_mutex_.
bool WorkerPool::Spawn() try {
  thread_count_.fetch_add(1);
  std::thread thread([this] { Work(); });
  const auto id = thread.get_id();
  threads_.emplace(id, std::move(thread));
  return true;
} catch (const std::system_error&) {
  thread_count_.fetch_sub(1);
  return false;
}

// True if the calling thread, which found nothing to do, is to end.
bool WorkerPool::Retire() {
  const std::lock_guard lock(threads_mutex_);
  if (stopping_ || thread_count_.load() <= std::max(config_.threads, 1u)) return false;
  thread_count_.fetch_sub(1);
  const auto self = threads_.find(std::this_thread::get_id());
  retired_.push_back(std::move(self->second));
  threads_.erase(self);
  supervision_.notify_all();
  return true;
}

}  // namespace baton::server
