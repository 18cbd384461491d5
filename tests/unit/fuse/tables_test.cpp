// Rules C3, T6, O5, C1: inodes that retire, opens that die, closes on their way, pages that may be kept.
#include <gtest/gtest.h>

#include <array>

#include "fuse/kernel/inode_table.h"
#include "fuse/kernel/open_table.h"

namespace baton {
namespace {

FileRef Ref(unsigned char name) {
  const std::array bytes{std::byte{name}, std::byte{7}};
  return FileRef(bytes);
}

Attr AttrOf(std::uint64_t number) {
  return {.ino = number, .mode = S_IFREG | 0644};
}

class Tables : public testing::Test {
 protected:
  void SetUp() override { inodes_.SetRoot(Ref(0), 2); }

  std::shared_ptr<Inode> Look(unsigned char name) {
    return inodes_.Remember(Ref(name), AttrOf(name), inodes_.Root(), std::string(1, static_cast<char>(name)));
  }
  std::shared_ptr<Open> OpenOf(std::shared_ptr<Inode> inode, std::uint64_t epoch, const Guid& guid,
                               std::uint64_t generation = 1) {
    auto open = std::make_shared<Open>();
    open->handle = HandleId{next_handle_++};
    open->generation = client::Generation{generation};
    open->inode = std::move(inode);
    open->pid = 42;
    if (epoch != 0) open->incarnation = Incarnation{guid, Epoch{epoch}};
    opens_.Add(open);
    return open;
  }

  const Guid mine_ = *ParseGuid("11111111-1111-1111-1111-111111111111");
  const Guid other_ = *ParseGuid("22222222-2222-2222-2222-222222222222");
  std::uint64_t next_handle_ = 1;
  InodeTable inodes_;
  OpenTable opens_;
};

TEST_F(Tables, OneInodePerFileUntilForgotten) {
  const auto inode = Look('a');
  EXPECT_EQ(Look('a'), inode);
  EXPECT_EQ(inodes_.Get(inodes_.NumberFor(*inode)), inode);
  EXPECT_EQ(inodes_.Size(), 1u);
  inodes_.Forget(*inode, 1);
  EXPECT_EQ(inodes_.Size(), 1u);
  inodes_.Forget(*inode, 1);
  EXPECT_EQ(inodes_.Size(), 0u);
  EXPECT_EQ(inodes_.FindByNumber('a'), nullptr);
  EXPECT_NE(Look('a'), inode);
}

TEST_F(Tables, RetiredInodeIsNeverFoundAgain) {  // C3
  const auto old = Look('a');
  const auto retired = inodes_.Retire(std::array{old});
  ASSERT_EQ(retired.size(), 1u);
  EXPECT_EQ(retired[0].parent, inodes_.Root());
  EXPECT_EQ(retired[0].name, "a");
  EXPECT_TRUE(old->Retired());
  const auto fresh = Look('a');
  EXPECT_NE(fresh, old);
  EXPECT_NE(inodes_.NumberFor(*fresh), inodes_.NumberFor(*old));
  EXPECT_EQ(fresh->Number(), old->Number());
  EXPECT_FALSE(fresh->Retired());
  EXPECT_EQ(fresh->FateKey(), old->FateKey());
}

TEST_F(Tables, RetiringTwiceTellsTheKernelOnce) {  // C3
  const auto inode = Look('a');
  EXPECT_EQ(inodes_.Retire(std::array{inode, inode}).size(), 1u);
  EXPECT_TRUE(inodes_.Retire(std::array{inode}).empty());
}

TEST_F(Tables, ForgettingTheRetiredInodeLeavesTheFreshOne) {  // C3
  const auto old = Look('a');
  inodes_.Retire(std::array{old});
  const auto fresh = Look('a');
  inodes_.Forget(*old, 1);
  EXPECT_EQ(Look('a'), fresh);
  EXPECT_EQ(inodes_.FindByNumber('a'), fresh);
}

TEST_F(Tables, TheRootStays) {
  EXPECT_TRUE(inodes_.Retire(std::array{inodes_.Root()}).empty());
  inodes_.Forget(*inodes_.Root(), 5);
  EXPECT_EQ(inodes_.Get(1), inodes_.Root());
}

TEST_F(Tables, FenceKillsTheIncarnationAndEarlierOnes) {  // T6
  const auto inode = Look('a');
  const auto first = OpenOf(inode, 3, mine_);
  const auto second = OpenOf(inode, 5, mine_);
  const auto next = OpenOf(inode, 9, mine_);
  const auto stranger = OpenOf(inode, 4, other_);
  const auto anonymous = OpenOf(inode, 0, {});
  EXPECT_EQ(opens_.KillIncarnation(mine_, Epoch{5}).size(), 2u);
  EXPECT_TRUE(first->dead && second->dead);
  EXPECT_FALSE(next->dead || stranger->dead || anonymous->dead);
  EXPECT_TRUE(opens_.KillIncarnation(mine_, Epoch{5}).empty());
}

TEST_F(Tables, FenceFindsOpensByTheFilesInstance) {  // I2 (d): the mount knows only the epoch
  const auto inode = Look('a');
  const auto by_file = OpenOf(inode, 6, Guid{});
  const auto unrelated = OpenOf(inode, 5, Guid{});
  opens_.KillIncarnation(mine_, Epoch{6});
  EXPECT_TRUE(by_file->dead);
  EXPECT_FALSE(unrelated->dead);
}

TEST_F(Tables, AnOpenGrantedToTheFencedIsDeadAtOnce) {  // T6: the answer was under way
  opens_.KillIncarnation(mine_, Epoch{5});
  EXPECT_TRUE(OpenOf(Look('a'), 5, mine_)->dead);
  EXPECT_FALSE(OpenOf(Look('a'), 6, mine_)->dead);
}

TEST_F(Tables, LostSessionTakesItsOpens) {  // S2
  const auto inode = Look('a');
  const auto old = OpenOf(inode, 0, {}, 1);
  const auto fresh = OpenOf(inode, 0, {}, 2);
  EXPECT_EQ(opens_.KillSessionsBefore(client::Generation{2}).size(), 1u);
  EXPECT_TRUE(old->dead);
  EXPECT_FALSE(fresh->dead);
  EXPECT_TRUE(OpenOf(inode, 0, {}, 1)->dead);
}

TEST_F(Tables, RevokedHandlesAreOfOneSession) {  // T5
  const auto inode = Look('a');
  const auto named = OpenOf(inode, 0, {}, 2);
  const auto same_number_before = OpenOf(inode, 0, {}, 1);
  same_number_before->handle = named->handle;
  const std::array handles{named->handle};
  EXPECT_EQ(opens_.KillHandles(client::Generation{2}, handles).size(), 1u);
  EXPECT_TRUE(named->dead);
  EXPECT_FALSE(same_number_before->dead);
}

TEST_F(Tables, WhoHasAnInodeOpen) {  // S5
  const auto inode = Look('a');
  OpenOf(inode, 0, {});
  OpenOf(inode, 0, {});
  EXPECT_EQ(opens_.PidsOf(*inode), std::vector<int>{42});
  EXPECT_TRUE(opens_.PidsOf(*Look('b')).empty());
}

TEST_F(Tables, ClosesOnTheirWay) {  // O5
  const auto inode = Look('a');
  int ran = 0;
  UniqueFunction<void()> then([&] { ++ran; });
  EXPECT_FALSE(inode->WhenClosed(then));
  inode->BeginClose();
  inode->BeginClose();
  EXPECT_TRUE(inode->WhenClosed(then));
  inode->EndClose();
  EXPECT_EQ(ran, 0);
  inode->EndClose();
  EXPECT_EQ(ran, 1);
}

TEST_F(Tables, KnownPagesNeverGoBack) {  // C1
  const auto inode = Look('a');
  const KnownPages older{client::Generation{1}, 4, 10, {}};
  const KnownPages newer{client::Generation{1}, 5, 10, {}};
  const KnownPages next_session{client::Generation{2}, 1, 10, {}};
  EXPECT_EQ(inode->Pages(), std::nullopt);
  inode->SetPages(newer);
  inode->SetPages(older);
  EXPECT_EQ(inode->Pages(), newer);
  inode->SetPages(next_session);
  EXPECT_EQ(inode->Pages(), next_session);
}

TEST_F(Tables, AnOpenNotesItsPagesOnce) {  // C1
  const auto inode = Look('a');
  const auto open = OpenOf(inode, 0, {});
  open->pages = {client::Generation{1}, 4, 10, {}};
  open->NotePages();
  EXPECT_EQ(inode->Pages(), open->pages);
  const KnownPages other_size{client::Generation{1}, 4, 11, {}};
  inode->SetPages(other_size);
  open->NotePages();
  EXPECT_EQ(inode->Pages(), other_size);
}

TEST_F(Tables, RevokedBeforeItsOpenIsKnown) {  // C3: the notice overtook the grant
  const auto inode = Look('a');
  const HandleId coming{next_handle_};
  EXPECT_TRUE(opens_.KillHandles(client::Generation{1}, std::array{coming}).empty());
  EXPECT_TRUE(OpenOf(inode, 0, mine_)->dead);
  EXPECT_FALSE(OpenOf(inode, 0, mine_)->dead);
  const HandleId of_another_session{next_handle_};
  EXPECT_TRUE(opens_.KillHandles(client::Generation{1}, std::array{of_another_session}).empty());
  EXPECT_FALSE(OpenOf(inode, 0, mine_, 2)->dead);
}

}  // namespace
}  // namespace baton
