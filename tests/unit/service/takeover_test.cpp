// A takeover as the service carries it out: what is done before its answer, and what behind it (rules T4,
// T13).
#include <fcntl.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using namespace std::chrono_literals;

// Descriptors of this process in the directory.
std::size_t OpenIn(const std::filesystem::path& directory) {
  std::size_t open = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto file = std::filesystem::read_symlink(entry.path(), gone);
    open += !gone && file.parent_path() == directory && file.filename().string().starts_with("f");
  }
  return open;
}

class TakeoverTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(old_.Hello(), 0);
    ASSERT_EQ(fresh_.Hello(), 0);
  }
  // The old mount's program makes and holds so many files.
  void Hold(int files) {
    for (int i = 0; i < files; ++i) {
      old_.connection->Clear();  // it looks for a reply among all that it was sent
      const auto made = old_.Call<Operation::kCreate>({.directory = bench_.Root(),
                                                       .name = "f" + std::to_string(i),
                                                       .flags = O_RDWR,
                                                       .mode = 0644,
                                                       .caller = MemberOf(GuidOf(1))});
      ASSERT_EQ(made.error, 0);
      handles_.push_back(made.reply.handle);
      first_ = i == 0 ? made.reply.file : first_;
    }
  }
  protocol::OpenRequest OpenOfFirst() {
    return {.file = first_, .flags = O_RDWR, .caller = MemberOf(GuidOf(1))};
  }

  Bench bench_{{}, {}, Bench::Checks::kNone};
  TestMount old_{bench_, "a"};
  TestMount fresh_{bench_, "b"};
  std::vector<HandleId> handles_;
  // A create by the new program, which is being checked for the takeover when somebody else makes the file;
  // its error.
  int CreateBehindAnother(int flags) {
    constexpr auto kCheck = store::StoreOperation::kProbe;
    bench_.faults->Stall(kCheck);
    std::uint32_t sequence = 0;
    std::thread creating([&] {
      sequence =
          fresh_.Send<Operation::kCreate>({.directory = bench_.Root(),
                                           .name = "made",
                                           .flags = static_cast<std::uint32_t>(O_RDWR | O_CREAT | flags),
                                           .mode = 0644,
                                           .caller = MemberOf(GuidOf(1))},
                                          0);
    });
    EXPECT_TRUE(bench_.faults->AwaitStalled(kCheck, 1, 10s));
    std::ofstream(std::filesystem::path(bench_.dir.Path()) / "made") << "another's";
    bench_.faults->Release(kCheck);
    creating.join();
    return fresh_.ErrorOf(0, sequence);
  }
  FileRef first_;
};

TEST_F(TakeoverTest, IsAnsweredBeforeTheFilesAreClosed) {
  constexpr int kFiles = 300;
  Hold(kFiles);
  ASSERT_EQ(OpenIn(bench_.dir.Path()), kFiles + 0u);
  const std::uint32_t sequence = fresh_.Send<Operation::kOpen>(OpenOfFirst(), 0);
  ASSERT_TRUE(fresh_.connection->ReplyTo(0, sequence)) << "on the asking thread, nothing of it was posted";
  EXPECT_EQ(OpenIn(bench_.dir.Path()), kFiles + 1u);
  ASSERT_EQ(fresh_.ErrorOf(0, sequence), 0);
  EXPECT_TRUE(bench_.Until([&] { return OpenIn(bench_.dir.Path()) == 1; }));
}

TEST_F(TakeoverTest, ACreateThatAnotherWasFasterThanOpensTheFile) {
  Hold(1);
  EXPECT_EQ(CreateBehindAnother(0), 0);
  EXPECT_EQ(old_.Call<Operation::kFsync>({.handle = handles_[0]}).error, ESTALE);
}

// Rule T2.
TEST_F(TakeoverTest, AnExclusiveOneFailsAndFencesNobody) {
  Hold(1);
  EXPECT_EQ(CreateBehindAnother(O_EXCL), EEXIST);
  EXPECT_EQ(old_.Call<Operation::kFsync>({.handle = handles_[0]}).error, 0);
}

// The old mount's program goes on using what it had: one event for each handle, though bounded.
TEST_F(TakeoverTest, RemembersWhoseTheLatestHandlesWere) {
  constexpr std::uint64_t kFiles = LateHandles::kMost + 4;
  struct rlimit limit {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_cur < kFiles + 100) GTEST_SKIP() << "too few descriptors for this process";
  Hold(kFiles);
  ASSERT_EQ(fresh_.Call<Operation::kOpen>(OpenOfFirst()).error, 0);
  for (const HandleId handle : handles_) {
    old_.connection->Clear();
    ASSERT_EQ(old_.Call<Operation::kFsync>({.handle = handle}).error, ESTALE);
  }
  EXPECT_EQ(bench_.events.Counts().late, LateHandles::kMost);
}

}  // namespace
}  // namespace baton::server
