// The pool as executor and clock, its growth, the buffers' bound, the log limiter, and addresses (rule A2).
#include <thread>

#include "server/net/address.h"
#include "base/log_limiter.h"
#include "unit/net/net_fixture.h"

namespace baton::server::test {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<WorkerPool> MakePool(const PoolConfig& config = {}) {
  auto pool = WorkerPool::Create(config);
  EXPECT_TRUE(pool);
  return std::move(*pool);
}

TEST(WorkerPool, RunsEveryPostedTaskOnce) {
  constexpr int kTasks = 5000;
  std::atomic<int> ran = 0;
  {
    const auto pool = MakePool();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kTasks / 4; ++i) pool->Post([&] { ran.fetch_add(1); });
      });
    }
    for (std::thread& thread : threads) thread.join();
  }  // what is posted still runs
  EXPECT_EQ(ran.load(), kTasks);
}

TEST(WorkerPool, GrowsForBlockedTasksUpToItsBoundAndShrinksAgain) {
  const auto pool = MakePool({.threads = 2, .max_threads = 8, .idle = 50ms});
  Watch watch;
  int running = 0;
  bool is_open = false;
  for (int i = 0; i < 12; ++i) {
    pool->Post([&] {
      watch.Changed([&] { ++running; });
      ASSERT_TRUE(watch.Until([&] { return is_open; }));
    });
  }
  EXPECT_TRUE(watch.Until([&] { return running == 8; }));
  EXPECT_EQ(pool->Threads(), 8u);
  watch.Changed([&] { is_open = true; });
  EXPECT_TRUE(watch.Until([&] { return running == 12; }));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (pool->Threads() > 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(pool->Threads(), 2u);
}

TEST(WorkerPool, TimersRunInTheirOrderAndNotBeforeTheirTime) {
  const auto pool = MakePool({.threads = 1, .max_threads = 1});
  Watch watch;
  std::vector<int> order;
  const Instant now = pool->Now();
  Instant ran_at{};
  pool->At(now + 60ms, [&] {
    watch.Changed([&] {
      order.push_back(3);
      ran_at = pool->Now();
    });
  });
  pool->At(now + 20ms, [&] { watch.Changed([&] { order.push_back(1); }); });
  pool->At(now + 40ms, [&] { watch.Changed([&] { order.push_back(2); }); });
  pool->At(Instant(0), [&] { watch.Changed([&] { order.push_back(0); }); });
  EXPECT_TRUE(watch.Until([&] { return order.size() == 4; }));
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
  EXPECT_GE(ran_at, now + 60ms);
}

TEST(WorkerPool, ACancelledTimerNeverRuns) {
  const auto pool = MakePool();
  Watch watch;
  bool is_wrong = false;
  bool is_done = false;
  const TimerId cancelled = pool->At(pool->Now() + 20ms, [&] { watch.Changed([&] { is_wrong = true; }); });
  const TimerId kept = pool->At(pool->Now() + 30ms, [&] { watch.Changed([&] { is_done = true; }); });
  EXPECT_TRUE(pool->Cancel(cancelled));
  EXPECT_FALSE(pool->Cancel(cancelled));
  EXPECT_TRUE(watch.Until([&] { return is_done; }));
  EXPECT_FALSE(is_wrong);
  EXPECT_FALSE(pool->Cancel(kept));
  EXPECT_FALSE(pool->Cancel(TimerId{}));
}

TEST(WorkerPool, TimersDueTogetherRunTogether) {
  const auto pool = MakePool({.threads = 4});
  Watch watch;
  int running = 0;
  const Instant when = pool->Now() + 10ms;
  for (int i = 0; i < 3; ++i) {
    pool->At(when, [&] {
      watch.Changed([&] { ++running; });
      EXPECT_TRUE(watch.Until([&] { return running == 3; }));
    });
  }
  EXPECT_TRUE(watch.Until([&] { return running == 3; }));
}

TEST(BufferPool, RefusesBeyondItsBoundAndSaysWhenMemoryIsBack) {
  int told = 0;
  const auto pool = std::make_shared<BufferPool>(BufferPool::kLarge * 2, [&] { ++told; });
  auto a = pool->Get(BufferPool::kLarge);
  auto b = pool->Get(BufferPool::kMedium + 1);
  EXPECT_EQ(a.size, BufferPool::kLarge);
  EXPECT_EQ(b.size, BufferPool::kLarge);
  EXPECT_EQ(pool->Get(BufferPool::kSmall + 1).size, 0u);
  EXPECT_EQ(pool->Get(1).size, BufferPool::kSmall);  // small ones do not count
  EXPECT_EQ(told, 0);
  a = {};
  EXPECT_EQ(told, 1);
  EXPECT_EQ(pool->Get(BufferPool::kMedium).size, BufferPool::kMedium);
  EXPECT_EQ(pool->Counted(), BufferPool::kLarge);
}

TEST(LogLimiter, LetsOneLineThroughAndCountsTheRest) {
  LogLimiter limiter(10s);
  EXPECT_EQ(limiter.Allow("a", 1s), 0u);
  EXPECT_FALSE(limiter.Allow("a", 2s));
  EXPECT_FALSE(limiter.Allow("a", 10s));
  EXPECT_EQ(limiter.Allow("b", 10s), 0u);
  EXPECT_EQ(limiter.Allow("a", 11s), 2u);
  EXPECT_FALSE(limiter.Allow("a", 12s));
}

TEST(Address, ParsesAndTellsLoopback) {
  struct Case {
    const char* text;
    const char* first;
    bool is_loopback;
  };
  const Case cases[] = {{"127.0.0.1:7741", "127.0.0.1:7741", true},
                        {"127.0.0.1", "127.0.0.1:7740", true},
                        {"127.9.9.9:1", "127.9.9.9:1", true},
                        {"[::1]:80", "[::1]:80", true},
                        {"[::1]", "[::1]:7740", true},
                        {"::1", "[::1]:7740", true},
                        {"0.0.0.0:1", "0.0.0.0:1", false},
                        {"[::]:1", "[::]:1", false},
                        {"10.1.2.3:7740", "10.1.2.3:7740", false},
                        {"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true},
                        {"[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:1", false}};
  for (const Case& each : cases) {
    const auto addresses = ResolveAddress(each.text);
    ASSERT_TRUE(addresses) << each.text;
    EXPECT_EQ(ToString(addresses->front()), each.first);
    EXPECT_EQ(IsLoopback(each.text), each.is_loopback) << each.text;
  }
  EXPECT_TRUE(IsLoopback("localhost:7740"));
  for (const char* text : {"", ":7740", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x", "127.0.0.1:-1",
                           "[::1", "[::1]x", "[]:1", "127.0.0.1: 80"}) {
    EXPECT_FALSE(ResolveAddress(text)) << text;
    EXPECT_FALSE(IsLoopback(text)) << text;
  }
}

TEST(Address, AnAddressInUseIsAnError) {
  const auto pool = MakePool();
  Handler handler;
  Server first({.listen = "127.0.0.1:0"}, *pool, handler);
  ASSERT_TRUE(first.Start());
  const auto other_pool = MakePool();
  Server second({.listen = "127.0.0.1:" + std::to_string(first.Port())}, *other_pool, handler);
  const auto started = second.Start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error(), Errno{EADDRINUSE});
}

}  // namespace
}  // namespace baton::server::test
