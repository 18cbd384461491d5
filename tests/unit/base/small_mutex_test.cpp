#include "base/small_mutex.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>
#include <vector>

namespace baton {
namespace {

TEST(SmallMutex, LetsOneInAtATimeAndWakesTheOthers) {
  constexpr int kThreads = 4;
  constexpr int kEach = 50'000;
  SmallMutex mutex;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        const std::lock_guard lock(mutex);
        const int seen = count;
        if (i % 1000 == 0) std::this_thread::yield();
        count = seen + 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(kThreads * kEach, count);
}

}  // namespace
}  // namespace baton
