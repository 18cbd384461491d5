// Rule C2: who was told what, and hears of the next change of it by somebody else.
#include <fcntl.h>

#include <optional>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using protocol::ChangedNotice;
using protocol::ChangeKind;

class WatchesTest : public testing::Test {
 protected:
  WatchesTest() {
    reader_.features = protocol::kFeatureKeepsNames;
    EXPECT_EQ(reader_.Hello(), 0);
    EXPECT_EQ(writer_.Hello(), 0);
    const auto made = writer_.Call<Operation::kCreate>(
        {.directory = bench_.Root(), .name = "f", .flags = O_RDWR, .mode = 0644, .caller = Anonymous()});
    file_ = made.reply.file;
    ino_ = made.reply.attr.ino;
    writes_ = made.reply.handle;
  }

  std::vector<protocol::FileChange> Told(TestMount& mount) {
    std::vector<protocol::FileChange> changes;
    for (const auto& notice : mount.connection->Notices<ChangedNotice>(Operation::kChanged)) {
      changes.push_back(notice.change);
    }
    mount.connection->Clear();
    return changes;
  }
  void Write() { ASSERT_EQ((writer_.Call<Operation::kWrite>({.handle = writes_}, "x").error), 0); }
  protocol::AttrReply Getattr(TestMount& mount) {
    return mount.Call<Operation::kGetattr>({file_, Anonymous()}).reply;
  }
  auto Lookup(TestMount& mount, const std::string& name) {
    return mount.Call<Operation::kLookup>({bench_.Root(), name, Anonymous()});
  }

  Bench bench_;
  TestMount reader_{bench_, "reader"};
  TestMount writer_{bench_, "writer"};
  FileRef file_;
  std::uint64_t ino_ = 0;
  HandleId writes_{};
};

TEST_F(WatchesTest, WhoWasGivenAttributesHearsOnceThatTheyChanged) {
  EXPECT_TRUE(Getattr(reader_).watched);
  Write();
  Write();
  const auto told = Told(reader_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, ChangeKind::kAttributes);
  EXPECT_EQ(told[0].ino, ino_);
  EXPECT_TRUE(Told(writer_).empty()) << "it knows what it did";
  Getattr(reader_);
  Write();
  EXPECT_EQ(Told(reader_).size(), 1u) << "asked again: watched again";
}

TEST_F(WatchesTest, WhoReadHearsThatTheDataChanged) {
  const auto open = reader_.Call<Operation::kOpen>({.file = file_, .flags = O_RDONLY, .caller = Anonymous()});
  Told(reader_);
  Write();
  auto told = Told(reader_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, ChangeKind::kData);
  Write();
  EXPECT_TRUE(Told(reader_).empty()) << "it has nothing that could be old";
  reader_.Call<Operation::kRead>({.handle = open.reply.handle, .size = 1});
  const auto chmod = AttrChange{.mask = attr_mask::kMode, .mode = 0600};
  Getattr(reader_);
  writer_.Call<Operation::kSetattr>({.file = file_, .change = chmod, .caller = Anonymous()});
  told = Told(reader_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, ChangeKind::kAttributes) << "the pages are still good";
  Write();
  told = Told(reader_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, ChangeKind::kData);
}

TEST_F(WatchesTest, TheNoticeComesBeforeTheChangersAnswer) {
  Getattr(reader_);
  const auto sequence = writer_.Send<Operation::kSetxattr>(
      {.file = file_, .name = "user.a", .value = "b", .caller = Anonymous()}, 0);
  // Nothing runs between the two in this test: when the answer is there, so is the notice.
  ASSERT_EQ(writer_.ErrorOf(0, sequence), 0);
  EXPECT_EQ(Told(reader_).size(), 1u);
}

TEST_F(WatchesTest, NamesAreToldForAsLongAsTheConnectionLasts) {
  EXPECT_EQ(Lookup(reader_, "g").error, 0);
  EXPECT_TRUE(Lookup(reader_, "g").reply.file.Empty()) << "absent, and watched";
  EXPECT_EQ(Lookup(writer_, "g").error, ENOENT) << "keeps no names";
  for (const bool there : {true, false}) {
    if (there) {
      writer_.Call<Operation::kLink>({file_, bench_.Root(), "g", Anonymous()});
    } else {
      writer_.Call<Operation::kUnlink>({bench_.Root(), "g", Anonymous()});
    }
    const auto told = Told(reader_);
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].kind, ChangeKind::kName);
    EXPECT_EQ(told[0].name, "g");
    EXPECT_EQ(told[0].ino, reader_.welcome.root_ino);
  }
  Getattr(reader_);
  writer_.Call<Operation::kRename>({bench_.Root(), "f", bench_.Root(), "h", 0, Anonymous()});
  EXPECT_EQ(Told(reader_).size(), 3u) << "the file's ctime, and two names";
  writer_.Call<Operation::kMakeDirectory>({bench_.Root(), "d", 0755, 0, Anonymous()});
  EXPECT_EQ(Told(reader_).size(), 1u);
}

TEST_F(WatchesTest, ANewConnectionWatchesNothing) {
  Getattr(reader_);
  Lookup(reader_, "g");
  reader_.Disconnect();
  ASSERT_EQ(reader_.Hello(), 0);
  reader_.connection->Clear();
  Write();
  writer_.Call<Operation::kLink>({file_, bench_.Root(), "g", Anonymous()});
  EXPECT_TRUE(Told(reader_).empty());
}

TEST_F(WatchesTest, ListedEntriesAreWatchedToo) {
  const auto page = reader_.Call<Operation::kReaddir>(
      {.directory = bench_.Root(), .size = 4096, .with_attributes = true, .caller = Anonymous()});
  std::optional<protocol::NodeReply> listed;
  for (const auto& entry : page.reply.entries) {
    if (entry.name == "f") listed = entry.node;
  }
  ASSERT_TRUE(listed && listed->watched);
  Write();
  EXPECT_EQ(Told(reader_).size(), 1u);
}

TEST_F(WatchesTest, AreBounded) {
  auto& watches = bench_.service->watches();
  const auto session = bench_.coordinator->FindSession(reader_.welcome.session);
  watches.Watch(session, {1, 1}, Watches::What::kNames);
  reader_.connection->Clear();
  std::uint64_t given = 0;
  const auto enough = [&] { return ++given > 2 * Watches::kMostFiles; };
  while (reader_.connection->Frames().empty() && !enough()) {
    for (int i = 0; i < 10'000; ++i, ++given)
      watches.Watch(session, {given + 2, given}, Watches::What::kAttributes);
  }
  EXPECT_LE(given, Watches::kMostFiles + 20'000) << "who is let go is told";
}

}  // namespace
}  // namespace baton::server
