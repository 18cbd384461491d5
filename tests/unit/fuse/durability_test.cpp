// Rule D3: which opens hear that something was lost with the server's machine, and how often.
#include "fuse/ops/durability.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <array>

namespace baton {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class DurabilityTest : public testing::Test {
 protected:
  void SetUp() override { inodes_.SetRoot(FileRef(std::array{std::byte{1}}), 2); }

  std::shared_ptr<Inode> File(unsigned char number) {
    return inodes_.Remember(FileRef(std::array{std::byte{number}}), {.ino = number, .mode = S_IFREG | 0644},
                            inodes_.Root(), "file" + std::to_string(number));
  }
  std::shared_ptr<Open> OpenOf(const std::shared_ptr<Inode>& inode, int flags = O_RDWR) {
    auto open = std::make_shared<Open>();
    open->handle = HandleId{++handles_};
    open->generation = client::Generation{1};
    open->inode = inode;
    open->flags = flags;
    opens_.Add(open);
    return open;
  }
  // An fsync from its begin to its answer, with what happens meanwhile in between.
  void Fsync(
      const Open& open, const std::function<void()>& meanwhile = [] {}) {
    const std::uint64_t written = open.inode->Written();
    meanwhile();
    open.inode->SetSettled(written);
  }

  InodeTable inodes_;
  OpenTable opens_;
  std::uint64_t handles_ = 0;
};

TEST_F(DurabilityTest, WhoWroteHearsOfItOnce) {
  const auto inode = File(7);
  const auto writer = OpenOf(inode);
  const auto reader = OpenOf(inode);
  ops::NoteWritten(*writer);
  EXPECT_FALSE(writer->TakeLoss()) << "nothing was lost yet";
  EXPECT_THAT(opens_.LoseUnsynced(), ElementsAre(writer));
  EXPECT_TRUE(writer->TakeLoss());
  EXPECT_FALSE(writer->TakeLoss());
  EXPECT_FALSE(reader->TakeLoss());
  EXPECT_THAT(opens_.LoseUnsynced(), IsEmpty()) << "the next reboot takes nothing more";
  EXPECT_FALSE(writer->TakeLoss());
}

TEST_F(DurabilityTest, EachOpenThatWroteHearsOfIt) {
  const auto inode = File(7);
  const auto one = OpenOf(inode);
  const auto two = OpenOf(inode);
  const auto elsewhere = OpenOf(File(8));
  for (const auto& open : {one, two, elsewhere}) ops::NoteWritten(*open);
  EXPECT_THAT(opens_.LoseUnsynced(), UnorderedElementsAre(one, two, elsewhere));
  EXPECT_TRUE(one->TakeLoss());
  Fsync(*one);
  EXPECT_TRUE(two->TakeLoss()) << "another's fsync brings back nothing";
}

TEST_F(DurabilityTest, FsyncThroughAnyOpenOfTheInodeSettlesItForAll) {
  const auto inode = File(7);
  const auto one = OpenOf(inode);
  const auto two = OpenOf(inode, O_RDONLY);
  const auto elsewhere = OpenOf(File(8));
  ops::NoteWritten(*one);
  ops::NoteWritten(*elsewhere);
  Fsync(*two);
  EXPECT_THAT(opens_.LoseUnsynced(), ElementsAre(elsewhere));
}

TEST_F(DurabilityTest, FsyncSettlesOnlyWhatWasAcknowledgedBeforeIt) {
  const auto open = OpenOf(File(7));
  ops::NoteWritten(*open);
  Fsync(*open, [&] { ops::NoteWritten(*open); });
  EXPECT_THAT(opens_.LoseUnsynced(), ElementsAre(open));
}

TEST_F(DurabilityTest, FsyncOverAReboot) {
  const auto inode = File(7);
  const auto one = OpenOf(inode);
  const auto two = OpenOf(inode);
  ops::NoteWritten(*one);
  ops::NoteWritten(*two);
  Fsync(*one, [&] { EXPECT_EQ(opens_.LoseUnsynced().size(), 2u); });
  EXPECT_TRUE(one->TakeLoss());
  EXPECT_TRUE(two->TakeLoss());
}

TEST_F(DurabilityTest, WhatIsWrittenAfterAReboot) {
  const auto open = OpenOf(File(7));
  ops::NoteWritten(*open);
  opens_.LoseUnsynced();
  ops::NoteWritten(*open);
  EXPECT_TRUE(open->TakeLoss());
  EXPECT_THAT(opens_.LoseUnsynced(), ElementsAre(open)) << "lost anew";
  EXPECT_TRUE(open->TakeLoss());
}

TEST_F(DurabilityTest, LossThatNobodyHeardOfIsToldAgain) {
  const auto open = OpenOf(File(7));
  ops::NoteWritten(*open);
  opens_.LoseUnsynced();
  EXPECT_TRUE(open->TakeLoss());
  open->GiveBackLoss();
  EXPECT_TRUE(open->TakeLoss());
}

TEST_F(DurabilityTest, SynchronousWritesAreOnTheDiskATruncationIsNot) {  // D1
  for (const int flag : {O_SYNC, O_DSYNC}) {
    const auto open = OpenOf(File(7), O_RDWR | flag);
    ops::NoteWritten(*open);
    EXPECT_THAT(opens_.LoseUnsynced(), IsEmpty());
    ops::NoteResized(*open);
    EXPECT_THAT(opens_.LoseUnsynced(), ElementsAre(open));
  }
}

TEST_F(DurabilityTest, DeadAndClosedOpensAreLeftAlone) {  // T6
  const auto inode = File(7);
  const auto dead = OpenOf(inode);
  const auto closed = OpenOf(inode);
  for (const auto& open : {dead, closed}) ops::NoteWritten(*open);
  opens_.KillHandles(client::Generation{1}, std::array{dead->handle});
  opens_.Remove(reinterpret_cast<std::uint64_t>(closed.get()));
  EXPECT_THAT(opens_.LoseUnsynced(), IsEmpty());
}

TEST_F(DurabilityTest, PathForPeople) {
  const auto folder =
      inodes_.Remember(FileRef(std::array{std::byte{9}}), {.ino = 9, .mode = S_IFDIR}, inodes_.Root(), "dir");
  const auto inode = inodes_.Remember(FileRef(std::array{std::byte{10}}), {.ino = 10}, folder, "file");
  EXPECT_EQ(inodes_.PathOf(*inode), "dir/file");
  EXPECT_EQ(inodes_.PathOf(*inodes_.Root()), "");
  inodes_.Forget(*inode, 1);
  EXPECT_EQ(inodes_.PathOf(*inode), "");
}

}  // namespace
}  // namespace baton
