// Slots over a SIGKILL of the server (rules D2, T10): sequences, what gets its first reply and what runs
// again, appends, and what happens when there is no room to keep replies.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "unit/service/restart_fixture.h"

namespace baton::server {
namespace {

namespace fs = std::filesystem;

class SlotsOverARestart : public testing::Test {
 protected:
  protocol::MakeDirectoryRequest Make(const std::string& name) {
    return {.directory = root_, .name = name, .mode = 0755, .caller = Anonymous()};
  }
  static HandleId OpenFile(Life& life, const std::string& name, std::uint32_t slot = 9,
                           std::uint32_t sequence = 1) {
    const protocol::OpenRequest wish{.file = life.Find(name), .flags = O_RDWR, .caller = Anonymous()};
    EXPECT_EQ(life.Ask<Operation::kOpen>(wish, slot, sequence), 0);
    return life.ReplyOf<Operation::kOpen>(slot, sequence).handle;
  }

  Disk disk_;
  const FileRef root_ = Life(disk_).Root();
};

TEST_F(SlotsOverARestart, GoOnWithAnyLaterSequence) {
  for (const std::uint32_t next : {5u, 6u, 7u, 100000u}) {
    Disk disk;
    {
      Life life(disk);
      EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(
                    {.directory = life.Root(), .name = "d", .mode = 0755, .caller = Anonymous()}, 0, 1),
                0);
      // What runs again is the record's last, too, where there is one.
      for (std::uint32_t sequence = 2; sequence <= 5; ++sequence) {
        EXPECT_EQ(life.Ask<Operation::kGetattr>({life.Root(), Anonymous()}, 0, sequence), 0);
      }
    }
    Life life(disk);
    EXPECT_EQ(life.Ask<Operation::kGetattr>({life.Root(), Anonymous()}, 0, next), 0) << next;
    EXPECT_EQ(life.Ask<Operation::kGetattr>({life.Root(), Anonymous()}, 0, next + 1), 0);
    EXPECT_EQ(life.Ask<Operation::kGetattr>({life.Root(), Anonymous()}, 0, next + 3),
              -1);  // only the first is free
    EXPECT_TRUE(life.connection->IsClosed());
  }
}

TEST_F(SlotsOverARestart, DoNotGoBack) {
  EXPECT_EQ(Life(disk_).Ask<Operation::kMakeDirectory>(Make("d"), 0, 5), 0);
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kGetattr>({root_, Anonymous()}, 0, 4), -1);
  EXPECT_TRUE(life.connection->IsClosed());
}

TEST_F(SlotsOverARestart, BeginAnywhereWhereNothingWasRecorded) {
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kGetattr>({root_, Anonymous()}, 3, 0xfffffff0), 0);
  EXPECT_EQ(life.Ask<Operation::kGetattr>({root_, Anonymous()}, 3, 0xfffffff0), 0);
  EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 3, 0xfffffff1), 0);
}

TEST_F(SlotsOverARestart, WrapAround) {
  {
    Life life(disk_);
    EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 0, 0xffffffff), 0);
  }
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("e"), 0, 2), 0);
}

TEST_F(SlotsOverARestart, CancelWhatComesNext) {
  EXPECT_EQ(Life(disk_).Ask<Operation::kMakeDirectory>(Make("d"), 0, 1), 0);
  Life life(disk_);
  EXPECT_EQ(Raw(life.session->Cancel(0, 7)), 0u);
  protocol::FrameHeader header;
  header.slot = 0;
  header.sequence = 7;
  EXPECT_TRUE(life.session->IsCancelled(header));
}

TEST_F(SlotsOverARestart, AnswerAWriteThatWasAnswered) {
  disk_.Write("f", "");
  protocol::WriteRequest wish;
  {
    Life life(disk_);
    wish.handle = OpenFile(life, "f");
    ASSERT_EQ(life.Ask<Operation::kWrite>(wish, 0, 1, "first"), 0);
  }
  disk_.Write("f", "later");
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kWrite>(wish, 0, 1, "first"), 0);
  EXPECT_EQ(life.ReplyOf<Operation::kWrite>(0, 1).written, 5u);
  EXPECT_EQ(disk_.Content("f"), "later");
}

TEST_F(SlotsOverARestart, RunAgainWhatHasAnAnswerOfOneLife) {
  disk_.Write("f", "");
  HandleId old{};
  {
    Life life(disk_);
    old = OpenFile(life, "f");
    ASSERT_EQ(life.Ask<Operation::kLock>(
                  {.handle = old, .mode = protocol::LockMode::kWrite, .owner = 1, .last = 9}, 0, 1),
              0);
    ASSERT_EQ(life.Ask<Operation::kFlush>({.handle = old, .lock_owner = 2}, 1, 1), 0);
    ASSERT_EQ(life.Ask<Operation::kClose>({.handle = old}, 2, 1), 0);
  }
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kClose>({.handle = old}, 2, 1), ESTALE);  // this life does not know it
  const HandleId handle = OpenFile(life, "f", 9, 2);
  EXPECT_EQ(life.Ask<Operation::kLock>(
                {.handle = handle, .mode = protocol::LockMode::kWrite, .owner = 1, .last = 9}, 0, 1),
            0);
  protocol::GetlkRequest look{.handle = handle, .mode = protocol::LockMode::kWrite, .owner = 3, .last = 9};
  ASSERT_EQ(life.Ask<Operation::kGetlk>(look, 3, 1), 0);
  EXPECT_EQ(life.ReplyOf<Operation::kGetlk>(3, 1).mode, protocol::LockMode::kWrite);  // it was taken again
  EXPECT_EQ(life.Ask<Operation::kFlush>({.handle = handle, .lock_owner = 1}, 1, 1), 0);
}

TEST_F(SlotsOverARestart, SettleWhatDidNotHappenAndWhatDid) {
  {
    Life life(disk_);
    ASSERT_EQ(life.Ask<Operation::kMakeDirectory>(Make("answered"), 1, 1), 0);
    RunUntilKilled<Operation::kMakeDirectory>(life, Make("did not"), Killed::kBeforeEffect,
                                              StoreOperation::kMakeDirectory);
  }
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kSettle>({}, 0, 1), 0);
  (void)life.ReplyOf<Operation::kSettle>(0, 1);
  EXPECT_EQ(life.Ask<Operation::kSettle>({}, 1, 1), 0);
  (void)life.ReplyOf<Operation::kMakeDirectory>(1, 1);
  EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("next"), 0, 2), 0);
  EXPECT_FALSE(fs::exists(disk_.At("did not")));
}

TEST_F(SlotsOverARestart, ForgetASessionThatEnded) {
  {
    Life life(disk_);
    ASSERT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 0, 1), 0);
    ASSERT_EQ(life.Ask<Operation::kBye>({}, 1, 1), 0);
    ASSERT_TRUE(life.Until([&] { return life.session->ended(); }));
  }
  Life life(disk_);
  EXPECT_TRUE(life.replies->Records().empty());
  EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 0, 1), EEXIST);
}

// --- Appends
// ------------------------------------------------------------------------------------------------------------------

class AppendsOverARestart : public SlotsOverARestart {
 protected:
  AppendsOverARestart() { disk_.Write("log", before_); }
  static protocol::WriteRequest Append(HandleId handle) { return {.handle = handle, .append = true}; }
  void Kill(Killed killed) {
    Life life(disk_);
    RunUntilKilled<Operation::kWrite>(life, Append(OpenFile(life, "log")), killed,
                                      StoreOperation::kWriteAppend, text_);
  }
  // The append comes again.
  int Again() {
    Life life(disk_);
    const int error = life.Ask<Operation::kWrite>(Append(OpenFile(life, "log", 9, 2)), 0, 1, text_);
    if (error == 0) {
      const auto reply = life.ReplyOf<Operation::kWrite>(0, 1);
      EXPECT_EQ(reply.written, text_.size());
      EXPECT_EQ(disk_.Content("log").substr(reply.offset, reply.written), text_);
    }
    return error;
  }
  static std::string Text(std::size_t size) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * i % 23);
    return text;
  }

  const std::string before_ = Text(100);
  std::string text_ = Text(10000);
};

TEST_F(AppendsOverARestart, HappenOnceWhereverTheServerIsKilled) {
  for (const Killed killed : kEverywhere) {
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{3996}, std::size_t{3997}, std::size_t{1} << 20}) {
      disk_.Write("log", before_);
      fs::remove(disk_.ReplyPath());
      text_ = Text(size);
      Kill(killed);
      EXPECT_EQ(Again(), 0);
      EXPECT_EQ(disk_.Content("log"), before_ + text_) << Name(killed) << ", " << size;
    }
  }
}

TEST_F(AppendsOverARestart, HappenOnceWithAnotherBehind) {
  Kill(Killed::kAfterEffect);
  disk_.Write("log", before_ + text_ + "more");
  EXPECT_EQ(Again(), 0);
  EXPECT_EQ(disk_.Content("log"), before_ + text_ + "more");
}

// A write that is killed ends between two pages.
TEST_F(AppendsOverARestart, TakeBackAPart) {
  for (const std::size_t part : {4096 - 100, 2 * 4096 - 100}) {
    disk_.Write("log", before_);
    fs::remove(disk_.ReplyPath());
    Kill(Killed::kBeforeEffect);
    disk_.Write("log", before_ + text_.substr(0, part));
    { Life life(disk_); }
    EXPECT_EQ(disk_.Content("log"), before_);
    EXPECT_EQ(Again(), 0);
    EXPECT_EQ(disk_.Content("log"), before_ + text_);
  }
}

TEST_F(AppendsOverARestart, NeverTakeBackWhatIsAnothers) {
  for (const std::size_t size : {1, 3996, 5000, 10000, 20000}) {
    disk_.Write("log", before_);
    fs::remove(disk_.ReplyPath());
    Kill(Killed::kBeforeEffect);
    const std::string theirs(size, 'Z');
    disk_.Write("log", before_ + theirs);
    EXPECT_EQ(Again(), EIO);
    EXPECT_EQ(disk_.Content("log"), before_ + theirs);
  }
}

TEST_F(AppendsOverARestart, HappenOnceThroughAFileThatNobodyMayOpenByNow) {
  Kill(Killed::kAfterEffect);
  fs::permissions(disk_.At("log"), fs::perms::none);
  { Life life(disk_); }
  fs::permissions(disk_.At("log"), fs::perms::owner_all);
  EXPECT_EQ(Again(), 0);
  EXPECT_EQ(disk_.Content("log"), before_ + text_);
}

// --- No room, many at a time
// --------------------------------------------------------------------------------------------------

// As on a full disk: no file grows any more beyond what it is.
class NoGrowth {
 public:
  explicit NoGrowth(rlim_t size) {
    was_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    const rlimit small{size, limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~NoGrowth() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    ::signal(SIGXFSZ, was_);
  }

 private:
  rlimit limit_{};
  sighandler_t was_ = nullptr;
};

TEST_F(SlotsOverARestart, RefuseChangesBeforeAnyEffectWhenTheirRepliesCannotBeKept) {
  disk_.Write("f", "");
  Life life(disk_);
  const HandleId handle = OpenFile(life, "f", 0);
  while (fs::file_size(disk_.ReplyPath()) <= 4096 + ReplyFile::kRecordsInPiece * sizeof(ReplyRecord)) {
    ASSERT_NE(life.replies->Take(SessionId{1}, 0), nullptr);
  }
  for (std::size_t i = 1; i < ReplyFile::kRecordsInPiece; ++i)
    ASSERT_NE(life.replies->Take(SessionId{1}, 0), nullptr);
  {
    const NoGrowth full(fs::file_size(disk_.ReplyPath()));
    EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 1, 1), ENOSPC);
    EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 1, 1), ENOSPC);
    EXPECT_FALSE(fs::exists(disk_.At("d")));
    EXPECT_EQ(life.Ask<Operation::kGetattr>({root_, Anonymous()}, 2, 1), 0);
    EXPECT_EQ(life.Ask<Operation::kFlush>({.handle = handle}, 2, 2), 0);
    EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("e"), 0, 2), 0);  // its slot has had a record before
    EXPECT_EQ(life.Ask<Operation::kClose>({.handle = handle}, 2, 3), 0);
  }
  EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(Make("d"), 1, 2), 0);
}

TEST_F(SlotsOverARestart, AreEachOnesOwnWithManyAtATime) {
  constexpr std::uint32_t kSlots = 8, kRounds = 50;
  const auto name = [](std::uint32_t slot, std::uint32_t round) {
    return std::to_string(slot) + "." + std::to_string(round);
  };
  {
    Life life(disk_);
    std::vector<std::thread> threads;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
      threads.emplace_back([&, slot] {
        for (std::uint32_t round = 1; round <= kRounds; ++round) {
          life.Send<Operation::kMakeDirectory>(Make(name(slot, round)), slot, round);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  Life life(disk_);
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
    const auto wish = Make(name(slot, kRounds));
    EXPECT_EQ(life.Ask<Operation::kMakeDirectory>(wish, slot, kRounds), 0);
    EXPECT_EQ(life.ReplyOf<Operation::kMakeDirectory>(slot, kRounds).file, life.Find(wish.name));
  }
}

}  // namespace
}  // namespace baton::server
