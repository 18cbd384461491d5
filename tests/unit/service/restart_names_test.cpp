// Changes by name, exactly once over a SIGKILL of the server (rule D2): killed between the intent and the
// effect, between the effect and the reply, and after it. Whatever others did to the names meanwhile shows a
// second effect.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "unit/service/restart_fixture.h"

namespace baton::server {
namespace {

namespace fs = std::filesystem;

class NamesOverARestart : public testing::TestWithParam<Killed> {
 protected:
  void SetUp() override { ::chmod(disk_.exported.Path().c_str(), 0777); }
  bool Happened() const { return GetParam() != Killed::kBeforeEffect; }
  template <Operation kOperation>
  void Kill(const typename protocol::MessagesOf<kOperation>::Request& request, StoreOperation at) {
    Life life(disk_);
    RunUntilKilled<kOperation>(life, request, GetParam(), at);
  }
  FileRef Root() { return Life(disk_).Root(); }
  FileRef Ref(const std::string& name) { return Life(disk_).Find(name); }
  ino_t InodeOf(const std::string& name) {
    struct stat status {};
    return ::lstat(disk_.At(name).c_str(), &status) == 0 ? status.st_ino : 0;
  }

  Disk disk_;
};
INSTANTIATE_TEST_SUITE_P(Killed, NamesOverARestart, testing::ValuesIn(kEverywhere), [](const auto& info) {
  std::string name = Name(info.param);
  std::ranges::replace(name, ' ', '_');
  return name;
});

// MKDIR, MKNOD, SYMLINK, LINK: the answer names what was made, and it is made once.
template <Operation kOperation>
void ExpectMadeOnce(Disk& disk, const typename protocol::MessagesOf<kOperation>::Request& request,
                    ino_t made) {
  Life life(disk);
  if (made != 0) fs::rename(disk.At("new"), disk.At("elsewhere"));
  ASSERT_EQ(life.Ask<kOperation>(request, 0, 1), 0);
  const auto reply = life.ReplyOf<kOperation>(0, 1);
  EXPECT_EQ(fs::exists(fs::symlink_status(disk.At("new"))), made == 0);
  if (made != 0) EXPECT_EQ(reply.attr.ino, made);
  EXPECT_EQ(life.Find(made != 0 ? "elsewhere" : "new"), reply.file);
  EXPECT_EQ(life.Ask<kOperation>(request, 0, 1), 0);  // and again, in the same life
  EXPECT_EQ(fs::exists(fs::symlink_status(disk.At("new"))), made == 0);
}

TEST_P(NamesOverARestart, MakesADirectoryOnce) {
  const protocol::MakeDirectoryRequest wish{
      .directory = Root(), .name = "new", .mode = 0755, .caller = Anonymous()};
  Kill<Operation::kMakeDirectory>(wish, StoreOperation::kMakeDirectory);
  EXPECT_EQ(InodeOf("new") != 0, Happened());
  ExpectMadeOnce<Operation::kMakeDirectory>(disk_, wish, InodeOf("new"));
}

TEST_P(NamesOverARestart, MakesANodeOnce) {
  const protocol::MakeNodeRequest wish{
      .directory = Root(), .name = "new", .mode = S_IFIFO | 0644, .caller = Anonymous()};
  Kill<Operation::kMakeNode>(wish, StoreOperation::kMakeNode);
  EXPECT_EQ(InodeOf("new") != 0, Happened());
  ExpectMadeOnce<Operation::kMakeNode>(disk_, wish, InodeOf("new"));
}

TEST_P(NamesOverARestart, MakesASymlinkOnce) {
  const protocol::SymlinkRequest wish{
      .directory = Root(), .name = "new", .target = "gone", .caller = Anonymous()};
  Kill<Operation::kSymlink>(wish, StoreOperation::kSymlink);
  EXPECT_EQ(InodeOf("new") != 0, Happened());
  ExpectMadeOnce<Operation::kSymlink>(disk_, wish, InodeOf("new"));
}

TEST_P(NamesOverARestart, LinksOnce) {
  disk_.Write("file", "");
  const protocol::LinkRequest wish{
      .file = Ref("file"), .directory = Root(), .name = "new", .caller = Anonymous()};
  Kill<Operation::kLink>(wish, StoreOperation::kLink);
  EXPECT_EQ(InodeOf("new") != 0, Happened());
  ExpectMadeOnce<Operation::kLink>(disk_, wish, InodeOf("new"));
}

TEST_P(NamesOverARestart, UnlinksOnce) {
  disk_.Write("file", "the first");
  const protocol::RemoveRequest wish{Root(), "file", Anonymous()};
  Kill<Operation::kUnlink>(wish, StoreOperation::kUnlink);
  EXPECT_EQ(fs::exists(disk_.At("file")), !Happened());
  Life life(disk_);
  if (Happened()) disk_.Write("file", "another's");
  EXPECT_EQ(life.Ask<Operation::kUnlink>(wish, 0, 1), 0);
  EXPECT_EQ(fs::exists(disk_.At("file")), Happened());
}

TEST_P(NamesOverARestart, RemovesADirectoryOnce) {
  fs::create_directory(disk_.At("d"));
  const protocol::RemoveRequest wish{Root(), "d", Anonymous()};
  Kill<Operation::kRemoveDirectory>(wish, StoreOperation::kRemoveDirectory);
  EXPECT_EQ(fs::exists(disk_.At("d")), !Happened());
  Life life(disk_);
  if (Happened()) fs::create_directory(disk_.At("d"));
  EXPECT_EQ(life.Ask<Operation::kRemoveDirectory>(wish, 0, 1), 0);
  EXPECT_EQ(fs::exists(disk_.At("d")), Happened());
}

TEST_P(NamesOverARestart, UnlinksOnceWhereTheDirectoryIsGoneByThen) {
  fs::create_directory(disk_.At("d"));
  disk_.Write("d/file", "");
  const protocol::RemoveRequest wish{Ref("d"), "file", Anonymous()};
  Kill<Operation::kUnlink>(wish, StoreOperation::kUnlink);
  if (!Happened()) return;
  fs::remove(disk_.At("d"));
  EXPECT_EQ(Life(disk_).Ask<Operation::kUnlink>(wish, 0, 1), 0);
}

class RenamesOverARestart : public NamesOverARestart {
 protected:
  void SetUp() override {
    NamesOverARestart::SetUp();
    fs::create_directory(disk_.At("d"));
    disk_.Write("old", "moved");
    moved_ = InodeOf("old");
  }
  protocol::RenameRequest Wish(std::uint32_t flags = 0, const std::string& from = "old") {
    return {Root(), from, Ref("d"), "new", flags, Anonymous()};
  }
  // Moved once: in between somebody gives the old name to another file, and takes the new one away.
  void ExpectOnce(const protocol::RenameRequest& wish) {
    Kill<Operation::kRename>(wish, StoreOperation::kRename);
    EXPECT_EQ(InodeOf("d/new") == moved_, Happened());
    Life life(disk_);
    if (Happened()) {
      fs::rename(disk_.At("d/new"), disk_.At("elsewhere"));
      disk_.Write("other", "another's");
      fs::rename(disk_.At("other"), disk_.At("old"));
    }
    EXPECT_EQ(life.Ask<Operation::kRename>(wish, 0, 1), 0);
    EXPECT_EQ(InodeOf(Happened() ? "elsewhere" : "d/new"), moved_);
    EXPECT_EQ(fs::exists(disk_.At("d/new")), !Happened());
  }
  ino_t moved_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Killed, RenamesOverARestart, testing::ValuesIn(kEverywhere), [](const auto& info) {
  std::string name = Name(info.param);
  std::ranges::replace(name, ' ', '_');
  return name;
});

TEST_P(RenamesOverARestart, ToANewName) {
  ExpectOnce(Wish());
}
TEST_P(RenamesOverARestart, ToANewNameOnly) {
  ExpectOnce(Wish(RENAME_NOREPLACE));
}
TEST_P(RenamesOverARestart, OverAFile) {
  disk_.Write("d/new", "replaced");
  ExpectOnce(Wish());
}
TEST_P(RenamesOverARestart, ADirectoryOverADirectory) {
  fs::create_directory(disk_.At("from"));
  fs::create_directory(disk_.At("d/new"));
  const ino_t moved = InodeOf("from");
  const auto wish = Wish(0, "from");
  Kill<Operation::kRename>(wish, StoreOperation::kRename);
  Life life(disk_);
  if (Happened()) fs::create_directory(disk_.At("from"));
  EXPECT_EQ(life.Ask<Operation::kRename>(wish, 0, 1), 0);
  EXPECT_EQ(InodeOf("d/new"), moved);
  EXPECT_EQ(fs::exists(disk_.At("from")), Happened());
}
TEST_P(RenamesOverARestart, Exchanging) {
  disk_.Write("d/new", "the other");
  const ino_t other = InodeOf("d/new");
  const auto wish = Wish(RENAME_EXCHANGE);
  Kill<Operation::kRename>(wish, StoreOperation::kRename);
  EXPECT_EQ(Life(disk_).Ask<Operation::kRename>(wish, 0, 1), 0);
  EXPECT_EQ(InodeOf("d/new"), moved_);
  EXPECT_EQ(InodeOf("old"), other);
}
TEST_P(RenamesOverARestart, OntoAnotherNameOfTheSameFile) {
  fs::create_hard_link(disk_.At("old"), disk_.At("d/new"));
  const auto wish = Wish();
  Kill<Operation::kRename>(wish, StoreOperation::kRename);
  EXPECT_EQ(Life(disk_).Ask<Operation::kRename>(wish, 0, 1), 0);
  EXPECT_EQ(InodeOf("old"), moved_);
  EXPECT_EQ(InodeOf("d/new"), moved_);
}

TEST_P(NamesOverARestart, AddsAnXattrOnce) {
  disk_.Write("f", "");
  const protocol::SetxattrRequest wish{
      .file = Ref("f"), .name = "user.lock", .value = "mine", .flags = XATTR_CREATE, .caller = Anonymous()};
  Kill<Operation::kSetxattr>(wish, StoreOperation::kSetXattr);
  Life life(disk_);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(life.Ask<Operation::kSetxattr>(wish, 0, 1), 0);
  EXPECT_EQ(life.Ask<Operation::kSetxattr>(wish, 0, 2), EEXIST);
}

TEST_P(NamesOverARestart, RemovesAnXattrOnce) {
  disk_.Write("f", "");
  const protocol::RemovexattrRequest wish{.file = Ref("f"), .name = "user.lock", .caller = Anonymous()};
  ASSERT_EQ(::setxattr(disk_.At("f").c_str(), "user.lock", "mine", 4, 0), 0);
  Kill<Operation::kRemovexattr>(wish, StoreOperation::kRemoveXattr);
  Life life(disk_);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(life.Ask<Operation::kRemovexattr>(wish, 0, 1), 0);
  EXPECT_EQ(life.Ask<Operation::kRemovexattr>(wish, 0, 2), ENODATA);
}

using CreatesOverARestart = NamesOverARestart;
INSTANTIATE_TEST_SUITE_P(Killed, CreatesOverARestart,
                         testing::Values(Killed::kBeforeEffect, Killed::kAfterEffect), [](const auto& info) {
                           return info.param == Killed::kBeforeEffect ? "before" : "after";
                         });

protocol::Caller Ordinary() {
  protocol::Caller caller = Anonymous();
  if (caller.uid == 0) caller.uid = caller.gid = 65534;  // root passes any mode
  return caller;
}

// With a mode that lets nobody open it: only who creates it may.
protocol::CreateRequest ExclusiveCreate(const FileRef& root) {
  return {.directory = root, .name = "new", .flags = O_RDWR | O_EXCL, .mode = 0444, .caller = Ordinary()};
}

void ExpectIsItsOwn(Disk& disk, const protocol::CreateRequest& wish, ino_t made) {
  Life life(disk);
  ASSERT_EQ(life.Ask<Operation::kCreate>(wish, 0, 1), 0);
  const auto reply = life.ReplyOf<Operation::kCreate>(0, 1);
  if (made != 0) EXPECT_EQ(reply.attr.ino, made);
  EXPECT_EQ(reply.attr.mode & 07777, 0444u);
  EXPECT_EQ(life.Ask<Operation::kWrite>({.handle = reply.handle}, 1, 1, "text"), 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(disk.exported.Path()), {}), 1);
}

TEST_P(CreatesOverARestart, OpensWhatItMade) {
  const auto wish = ExclusiveCreate(Root());
  Kill<Operation::kCreate>(wish, StoreOperation::kCreate);
  EXPECT_EQ(InodeOf("new") != 0, Happened());
  ExpectIsItsOwn(disk_, wish, InodeOf("new"));
}

TEST_P(CreatesOverARestart, OpensWhatItMadeAfterSeveralKills) {
  const auto wish = ExclusiveCreate(Root());
  Kill<Operation::kCreate>(wish, StoreOperation::kCreate);
  for (int i = 0; i < 3; ++i) Life(disk_).Root();
  ExpectIsItsOwn(disk_, wish, InodeOf("new"));
}

class RestartTest : public testing::Test {
 protected:
  void SetUp() override { ::chmod(disk_.exported.Path().c_str(), 0777); }
  FileRef Root() { return Life(disk_).Root(); }
  Disk disk_;
};

// Killed when the handle was granted, but not answered; by then the file has another name.
TEST_F(RestartTest, OpensWhatACreateMadeUnderWhateverName) {
  const auto wish = ExclusiveCreate(Root());
  {
    Life life(disk_);
    RunUntilKilled<Operation::kCreate>(life, wish, Killed::kAfterEffect, StoreOperation::kFileGetAttr);
  }
  fs::rename(disk_.At("new"), disk_.At("renamed"));
  ExpectIsItsOwn(disk_, wish, 0);
  EXPECT_FALSE(fs::exists(disk_.At("new")));
  EXPECT_EQ(disk_.Content("renamed"), "text");
}

// It waits for who may have opened the new file. A signal does not end that: the program would try again, and meet its own file.
TEST_F(RestartTest, IsNotInterruptedAfterItsCreate) {
  const auto wish = ExclusiveCreate(Root());
  {
    Life life(disk_);
    RunUntilKilled<Operation::kCreate>(life, wish, Killed::kAfterEffect, StoreOperation::kFileGetAttr);
  }
  disk_.absent = Guid{{1}};
  Life life(disk_);
  life.Send<Operation::kCancel>({0, 1}, protocol::kNoSlot, 0);  // overtakes it
  life.Send<Operation::kCreate>(wish, 0, 1);
  life.Send<Operation::kCancel>({0, 1}, protocol::kNoSlot, 0);
  life.executor.RunPosted();
  EXPECT_FALSE(life.connection->ReplyTo(0, 1));
  life.clock.Advance(std::chrono::seconds(11));
  life.executor.RunDueTimers(life.clock.Now());
  EXPECT_TRUE(life.Until([&] { return life.connection->ReplyTo(0, 1).has_value(); }));
  EXPECT_EQ(life.connection->ReplyTo(0, 1)->header.error, 0);
}

TEST_F(RestartTest, TellsWhereWhatACreateMadeIsGone) {
  const auto wish = ExclusiveCreate(Root());
  {
    Life life(disk_);
    RunUntilKilled<Operation::kCreate>(life, wish, Killed::kAfterEffect, StoreOperation::kFileGetAttr);
  }
  fs::remove(disk_.At("new"));
  EXPECT_EQ(Life(disk_).Ask<Operation::kCreate>(wish, 0, 1), ESTALE);
  EXPECT_FALSE(fs::exists(disk_.At("new")));
}

TEST_F(RestartTest, GivesBackTheHandleOfAnOpenThatWasAnswered) {
  const auto wish = ExclusiveCreate(Root());
  HandleId granted{};
  {
    Life life(disk_);
    ASSERT_EQ(life.Ask<Operation::kCreate>(wish, 0, 1), 0);
    granted = life.ReplyOf<Operation::kCreate>(0, 1).handle;
  }
  disk_.Write("new", "another's");
  Life life(disk_);
  for (int i = 0; i < 2; ++i) {
    life.connection->Clear();
    ASSERT_EQ(life.Ask<Operation::kCreate>(wish, 0, 1), 0);
    EXPECT_EQ(life.ReplyOf<Operation::kCreate>(0, 1).handle, granted);
    EXPECT_EQ(life.ReplyOf<Operation::kCreate>(0, 1).attr.size, 9u);  // as it is by now
  }
  EXPECT_EQ(life.Ask<Operation::kWrite>({.handle = granted}, 1, 1, "text"), 0);
  EXPECT_EQ(disk_.Content("new"), "texther's");
}

TEST_F(RestartTest, SettlesAnOpenThatWasAnswered) {
  const auto wish = ExclusiveCreate(Root());
  {
    Life life(disk_);
    ASSERT_EQ(life.Ask<Operation::kCreate>(wish, 0, 1), 0);
  }
  Life life(disk_);
  EXPECT_EQ(life.Ask<Operation::kSettle>({}, 0, 1), 0);
  const HandleId handle = life.ReplyOf<Operation::kCreate>(0, 1).handle;
  EXPECT_EQ(life.Ask<Operation::kClose>({.handle = handle}, 1, 1), 0);
}

TEST_F(RestartTest, RefusesAnOpenWhoseFileIsGoneByNow) {
  const auto wish = ExclusiveCreate(Root());
  {
    Life life(disk_);
    ASSERT_EQ(life.Ask<Operation::kCreate>(wish, 0, 1), 0);
  }
  fs::remove(disk_.At("new"));
  EXPECT_EQ(Life(disk_).Ask<Operation::kCreate>(wish, 0, 1), ESTALE);
  disk_.Write("new", "");
  EXPECT_EQ(Life(disk_).Ask<Operation::kCreate>(wish, 0, 1), ESTALE);  // and for good
}

TEST_F(RestartTest, DoesNotClaimToWatchWhatItDoesNot) {
  disk_.Write("f", "");
  const protocol::SetattrRequest wish{.file = Life(disk_).Find("f"),
                                      .change = {.mask = attr_mask::kMode, .mode = 0600},
                                      .caller = Anonymous()};
  {
    Life life(disk_);
    ASSERT_EQ(life.Ask<Operation::kSetattr>(wish, 0, 1), 0);
    EXPECT_TRUE(life.ReplyOf<Operation::kSetattr>(0, 1).watched);
  }
  Life life(disk_);
  ASSERT_EQ(life.Ask<Operation::kSetattr>(wish, 0, 1), 0);
  EXPECT_FALSE(life.ReplyOf<Operation::kSetattr>(0, 1).watched);
}

TEST_F(RestartTest, RepeatsARefusal) {
  disk_.Write("new", "");
  const protocol::MakeDirectoryRequest wish{
      .directory = Root(), .name = "new", .mode = 0755, .caller = Anonymous()};
  EXPECT_EQ(Life(disk_).Ask<Operation::kMakeDirectory>(wish, 0, 1), EEXIST);
  fs::remove(disk_.At("new"));
  EXPECT_EQ(Life(disk_).Ask<Operation::kMakeDirectory>(wish, 0, 1), EEXIST);
  EXPECT_FALSE(fs::exists(disk_.At("new")));
}

TEST_F(RestartTest, SaysSoWhereTheFilesDoNotTell) {
  disk_.Write("file", "");
  const protocol::RemoveRequest wish{Root(), "file", Anonymous()};
  {
    Life life(disk_);
    RunUntilKilled<Operation::kUnlink>(life, wish, Killed::kAfterEffect, StoreOperation::kUnlink);
  }
  const auto faults = std::make_shared<store::Faults>();
  faults->FailNext(StoreOperation::kFind, EIO);
  EXPECT_EQ(Life(disk_, faults).Ask<Operation::kUnlink>(wish, 0, 1), EIO);
}

}  // namespace
}  // namespace baton::server
