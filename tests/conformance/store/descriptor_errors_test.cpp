// DescriptorCache by itself, where opening again and syncing fail: the sync of an eventfd (EINVAL) stands for
// that of a disk that does not take what was written.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "conformance/store/bench.h"
#include "server/store/descriptor_cache.h"
#include "support/temp_dir.h"

namespace baton::store {
namespace {

UniqueFd Bad() {
  return UniqueFd(::eventfd(0, EFD_CLOEXEC));
}
UniqueFd Nameless() {
  return UniqueFd(::memfd_create("nameless", MFD_CLOEXEC));
}

class DescriptorErrors : public ::testing::Test {
 protected:
  UniqueFd Good() {
    return UniqueFd(::open((dir_.Path() / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  }
  // Of the inode with this number.
  std::unique_ptr<Descriptor> Open(std::uint64_t inode, UniqueFd fd) {
    FileHandle handle;
    handle.Raw()->handle_bytes = 1;
    handle.bytes[sizeof(file_handle)] = static_cast<std::byte>(inode);
    return std::make_unique<Descriptor>(cache_, FileKey{inode, 0}, handle, std::move(fd));
  }
  void UseOthers() {
    for (int i = 0; i < 4; ++i) {
      if (others_.size() < 4) others_.push_back(Open(100 + i, Good()));
      ASSERT_OK(others_[i]->Enter());
    }
  }
  static void Write(Descriptor& file) { ASSERT_OK(file.EnterToWrite()); }

  test::TempDir dir_;
  int reopen_error_ = 0;
  bool behind_fails_ = false;  // the sync before a written file is closed
  std::vector<int> flags_;
  DescriptorCache cache_{1, [this](const FileHandle& handle, int anchor, int flags) {
                           EXPECT_EQ(1u, handle.Raw()->handle_bytes);
                           errno = reopen_error_;
                           if (reopen_error_ != 0) return UniqueFd();
                           if (anchor >= 0 && behind_fails_) return Bad();
                           flags_.push_back(flags);
                           return Good();
                         }};
  std::vector<std::unique_ptr<Descriptor>> others_;
};

TEST_F(DescriptorErrors, OpensAgainWithTheSameAccess) {
  UniqueFd fd = Good();
  ASSERT_EQ(0, ::fcntl(fd.Get(), F_SETFL, O_APPEND | O_NOATIME));
  const auto file = Open(1, std::move(fd));
  UseOthers();
  ASSERT_FALSE(file->IsOpen());
  flags_.clear();
  ASSERT_OK(file->Enter());
  EXPECT_EQ(std::vector{O_RDWR | O_APPEND | O_NOATIME}, flags_);
}

TEST_F(DescriptorErrors, WhatIsInUseStaysOpen) {
  const auto file = Open(1, Good());
  const auto use = file->Enter();
  const int fd = use->Fd();
  UseOthers();
  UseOthers();
  EXPECT_TRUE(file->IsOpen());
  EXPECT_EQ(fd, file->Enter()->Fd());
}

TEST_F(DescriptorErrors, AFailureToOpenAgainIsToldAndPasses) {
  const auto file = Open(1, Good());
  UseOthers();
  for (const int error : {EMFILE, ENFILE, ESTALE, EACCES}) {
    reopen_error_ = error;
    EXPECT_ERRNO(error, file->Enter());
    EXPECT_ERRNO(error, file->Sync(true));
    EXPECT_FALSE(file->IsOpen());
  }
  reopen_error_ = 0;
  EXPECT_ERRNO(0, file->Enter());
}

TEST_F(DescriptorErrors, WhatWasWrittenIsSyncedBeforeItIsClosedAndAnErrorIsToldOnce) {
  const auto file = Open(1, Good());
  const auto sibling = Open(1, Good());
  UseOthers();
  ASSERT_FALSE(file->IsOpen());
  ASSERT_FALSE(sibling->IsOpen());
  Write(*file);
  behind_fails_ = true;
  UseOthers();
  ASSERT_FALSE(file->IsOpen());
  behind_fails_ = false;
  EXPECT_ERRNO(EINVAL, file->Sync(true));
  EXPECT_ERRNO(0, file->Sync(true));
  UseOthers();
  EXPECT_ERRNO(0, file->Sync(false));
  EXPECT_ERRNO(EINVAL, sibling->Sync(false)) << "it was there when the data was lost";
  EXPECT_ERRNO(0, sibling->Sync(false));
  EXPECT_ERRNO(0, Open(1, Good())->Sync(true)) << "it was not";
}

TEST_F(DescriptorErrors, AClosedOneHearsOfWhatAnOpenOneWasTold) {
  const auto closed = Open(1, Good());
  const auto open = Open(1, Bad());
  const auto use = open->Enter();
  UseOthers();
  ASSERT_FALSE(closed->IsOpen());
  EXPECT_ERRNO(EINVAL, open->Sync(true));
  EXPECT_ERRNO(EINVAL, closed->Sync(true));
  EXPECT_ERRNO(0, closed->Sync(true));
}

TEST_F(DescriptorErrors, OpenOnesAreTheKernels) {
  const auto failing = Open(1, Bad());
  const auto other = Open(1, Good());
  EXPECT_ERRNO(EINVAL, failing->Sync(true));
  EXPECT_ERRNO(EINVAL, failing->Sync(true));
  const auto one = failing->Enter(), two = other->Enter();
  EXPECT_ERRNO(EINVAL, other->Sync(true)) << "passed on in any case: it might have been closed meanwhile";
  EXPECT_ERRNO(0, other->Sync(true));
}

TEST_F(DescriptorErrors, WhoIsClosedBeforeHeAskedHearsOfALaterErrorToo) {
  const auto one = Open(1, Bad());
  const auto other = Open(1, Bad());
  EXPECT_ERRNO(EINVAL, one->Sync(true));
  EXPECT_ERRNO(EINVAL, other->Sync(true)) << "may be a second one";
  {
    const auto use = other->Enter();
    UseOthers();
    UseOthers();
  }
  ASSERT_FALSE(one->IsOpen());
  EXPECT_ERRNO(EINVAL, one->Sync(true));
  EXPECT_ERRNO(0, one->Sync(true));
}

TEST_F(DescriptorErrors, AFailedWriteThatHadToBeSyncedIsTheOthersErrorToo) {
  const auto writer = Open(1, Good());
  const auto closed = Open(1, Good());
  const auto use = writer->Enter();
  UseOthers();
  ASSERT_FALSE(closed->IsOpen());
  writer->NoteSyncError(EIO);
  EXPECT_ERRNO(EIO, closed->Sync(true));
  EXPECT_ERRNO(0, closed->Sync(true));
  EXPECT_ERRNO(0, writer->Sync(true));
}

// The kernel keeps an error of the write-back for who opens the file next, as long as somebody has it open.
TEST_F(DescriptorErrors, TheLastOpenOneOfAWrittenFileStaysForThoseThatAreClosed) {
  const auto sibling = Open(1, Good());
  UseOthers();
  ASSERT_FALSE(sibling->IsOpen());
  auto writer = Open(1, Bad());
  Write(*writer);
  writer.reset();
  ASSERT_TRUE(cache_.Find(FileKey{1, 0}));
  behind_fails_ = true;  // what is opened by way of the writer's
  EXPECT_ERRNO(EINVAL, sibling->Sync(true));
}

TEST_F(DescriptorErrors, SyncedFilesAreClosedWithoutAnother) {
  const auto file = Open(1, Good());
  Write(*file);
  ASSERT_OK(file->Sync(true));
  behind_fails_ = true;
  UseOthers();
  EXPECT_FALSE(file->IsOpen());
  EXPECT_ERRNO(0, file->Sync(true));
}

// A file without a name: the descriptor that keeps its inode is the one from which all are opened.
TEST_F(DescriptorErrors, AnAnchorStaysAsLongAsAFileOfItsInode) {
  auto file = Open(1, Nameless());
  ASSERT_EQ(1u, cache_.Held());
  UseOthers();
  ASSERT_FALSE(file->IsOpen());
  const auto found = cache_.Find(FileKey{1, 0});
  ASSERT_OK(found);
  const std::size_t held = cache_.Held();
  ASSERT_OK(file->Enter());
  UseOthers();
  file.reset();
  EXPECT_LT(cache_.Held(), held);
  EXPECT_ERRNO(ESTALE, cache_.Find(FileKey{1, 0}));
}

}  // namespace
}  // namespace baton::store
