// At a limit (rule A4): the errno reaches the program, nothing was made for it, and the event names node and option.
#include <fcntl.h>

#include <filesystem>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

struct LimitsTest : testing::Test {
  protocol::CreateRequest Create(const std::string& name) {
    return {.directory = bench.Root(), .name = name, .flags = O_RDWR, .mode = 0644, .caller = Anonymous()};
  }
  HandleId Made(TestMount& mount, const std::string& name) {
    const auto made = mount.Call<Operation::kCreate>(Create(name));
    EXPECT_EQ(made.error, 0);
    file = made.reply.file;
    return made.reply.handle;
  }
  static protocol::LockRequest Lock(HandleId handle, std::uint64_t start, std::uint64_t last,
                                    protocol::LockMode mode = protocol::LockMode::kWrite) {
    return {.handle = handle, .mode = mode, .owner = 1, .start = start, .last = last};
  }
  // Of the events of limits.
  std::vector<std::string> Told() {
    std::vector<std::string> told;
    for (const auto& logged : bench.events.Read(0, 1000).events) {
      if (logged->event.kind == EventKind::kLimit) told.push_back(logged->event.to_node + " " + logged->event.detail);
    }
    return told;
  }
  bool IsThere(const std::string& name) { return std::filesystem::exists(bench.dir.Path() / name); }

  Bench bench{{.limits = {.handles = 3, .handles_per_session = 2, .locks_per_session = 2}}};
  TestMount one{bench, "one"};
  TestMount two{bench, "two"};
  FileRef file;
};

TEST_F(LimitsTest, ACreateTooManyMakesNothing) {
  ASSERT_EQ(one.Hello(), 0);
  const HandleId first = Made(one, "a");
  Made(one, "b");
  EXPECT_EQ(one.Call<Operation::kCreate>(Create("c")).error, ENFILE);
  EXPECT_EQ(one.Call<Operation::kCreate>(Create("c")).error, ENFILE);
  EXPECT_FALSE(IsThere("c"));
  EXPECT_THAT(Told(), testing::ElementsAre("one --max-handles-per-session is 2: open files of one mount"));
  ASSERT_EQ(one.Call<Operation::kClose>({.handle = first}).error, 0);
  Made(one, "c");
}

TEST_F(LimitsTest, AnOpenTooManyTruncatesNothingAndOthersGoOn) {
  ASSERT_EQ(one.Hello(), 0);
  ASSERT_EQ(two.Hello(), 0);
  const HandleId handle = Made(one, "a");
  ASSERT_EQ(one.Call<Operation::kWrite>({.handle = handle}, "text").error, 0);
  Made(one, "b");
  Made(two, "c");
  EXPECT_EQ(two.Call<Operation::kOpen>({.file = file, .flags = O_RDWR | O_TRUNC, .caller = Anonymous()}).error, ENFILE);
  EXPECT_EQ(std::filesystem::file_size(bench.dir.Path() / "a"), 4u);
  EXPECT_EQ(one.Call<Operation::kWrite>({.handle = handle, .offset = 4}, "text").error, 0);
  EXPECT_THAT(Told(), testing::ElementsAre("two --max-handles is 3: open files in all"));
}

TEST_F(LimitsTest, ALockTooManyAndAnUnlockThatMakesOneMore) {
  ASSERT_EQ(one.Hello(), 0);
  const HandleId handle = Made(one, "a");
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 0, 9)).error, 0);
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 20, 29)).error, 0);
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 40, 49)).error, ENOLCK);
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 2, 3, protocol::LockMode::kUnlock)).error, ENOLCK);
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 0, 3, protocol::LockMode::kUnlock)).error, 0);
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 0, 100, protocol::LockMode::kUnlock)).error, 0);
  EXPECT_EQ(one.Call<Operation::kLock>(Lock(handle, 40, 49)).error, 0);
}

TEST_F(LimitsTest, ASessionTooManyIsAnEvent) {
  Bench small({.limits = {.sessions = 1}});
  TestMount first(small, "first"), second(small, "second");
  ASSERT_EQ(first.Hello(), 0);
  EXPECT_EQ(second.Hello(), EUSERS);
  EXPECT_EQ(second.Hello(), EUSERS);
  const auto events = small.events.Read(0, 1000).events;
  EXPECT_EQ(std::count_if(events.begin(), events.end(), [](const auto& logged) {
              return logged->event.kind == EventKind::kLimit && logged->event.to_node == "second";
            }),
            1);
}

}  // namespace
}  // namespace baton::server
