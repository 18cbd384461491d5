#include "fuse/kernel/worker_pool.h"

#include <pthread.h>

#include <chrono>
#include <system_error>
#include <thread>

#include "base/log.h"

namespace baton {
namespace {
constexpr std::chrono::seconds kIdleFor{10};
}

WorkerPool::WorkerPool(std::string name, std::size_t most) : name_(std::move(name)), most_(most) {}

void WorkerPool::Stop() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  wake_.notify_all();
  all_ended_.wait(lock, [this] { return threads_ == 0; });
}

void WorkerPool::Post(Job job) {
  std::unique_lock lock(mutex_);
  if (stopping_ && threads_ == 0) {
    lock.unlock();
    job();
    return;
  }
  jobs_.push_back(std::move(job));
  if (jobs_.size() <= idle_) {
    wake_.notify_one();
  } else if (threads_ < most_) {
    StartThread();
  }
}

void WorkerPool::StartThread() {
  try {
    std::thread([this] { Run(); }).detach();
    ++threads_;
  } catch (const std::system_error& error) {
    // With no thread at all the job would wait for ever.
    if (threads_ == 0) throw;
    log::Warn("cannot start another {} thread ({}); {} go on", name_, error.what(), threads_);
  }
}

void WorkerPool::Run() {
  pthread_setname_np(pthread_self(), name_.c_str());
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    const bool woken = wake_.wait_for(lock, kIdleFor, [this] { return stopping_ || !jobs_.empty(); });
    --idle_;
    if (!jobs_.empty()) {
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
    } else if (stopping_ || !woken) {
      break;
    }
  }
  --threads_;
  // Under the mutex: the destructor cannot end before this thread let go of it.
  if (threads_ == 0) all_ended_.notify_all();
}

}  // namespace baton
