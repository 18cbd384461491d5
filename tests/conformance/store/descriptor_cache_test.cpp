// Open files whose descriptors are closed for a while, as the store's callers see them; by a server that is
// root, for no other closes them.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

constexpr std::size_t kMost = 3;

PosixStore::Options Few() {
  PosixStore::Options options;
  options.open_descriptors = kMost;
  return options;
}

// Descriptors of this process that have something in the directory open, also what has no name any more.
std::size_t OpenIn(const std::filesystem::path& directory) {
  std::size_t open = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    open += std::filesystem::read_symlink(entry.path(), gone).string().starts_with(directory.string() + "/");
  }
  return open;
}

class ManyFiles : public ::testing::Test {
 protected:
  // One with so many others behind it that its descriptor is closed.
  std::shared_ptr<StoreFile> Make(const std::string& name, int flags = O_RDWR, std::uint32_t mode = 0644) {
    auto made = Store().Create(kMe, bench_.Root(), name, flags, mode);
    EXPECT_ERRNO(0, made);
    return made ? made->file : nullptr;
  }
  void UseOthers() {
    for (std::size_t i = 0; i < 4 * kMost; ++i) {
      if (others_.size() <= i) others_.push_back(Make("other" + std::to_string(i)));
      ASSERT_OK(others_[i]->GetAttr());
    }
  }
  PosixStore& Store() { return bench_.Store(); }

  StoreBench bench_{Few()};
  std::vector<std::shared_ptr<StoreFile>> others_;
};

TEST_F(ManyFiles, AllAreReadAndWrittenWithFewDescriptors) {
  constexpr int kFiles = 50;
  std::vector<std::shared_ptr<StoreFile>> files;
  for (int i = 0; i < kFiles; ++i) {
    files.push_back(Make("f" + std::to_string(i)));
    ASSERT_OK(files.back()->Write(Bytes("first " + std::to_string(i)), 0));
    EXPECT_LE(OpenIn(bench_.Dir()), kMost + 1);
  }
  for (int i = 0; i < kFiles; ++i) {
    EXPECT_EQ("first " + std::to_string(i), ReadAll(*files[i]));
    const auto at = files[i]->WriteAppend(Bytes("++"));
    ASSERT_OK(at);
    EXPECT_EQ(6 + std::to_string(i).size(), at->offset);
    ASSERT_OK(files[i]->Sync(true));
  }
  EXPECT_LE(OpenIn(bench_.Dir()), kMost + 1);
  for (int i = 0; i < kFiles; ++i) {
    std::ifstream stored(bench_.Dir() / ("f" + std::to_string(i)));
    std::string text((std::istreambuf_iterator<char>(stored)), {});
    EXPECT_EQ("first " + std::to_string(i) + "++", text);
  }
}

TEST_F(ManyFiles, AFileOutlivesItsNameThatWentWhileItWasClosed) {
  const auto unlinked = Make("unlinked");
  const auto replaced = Make("replaced");
  const auto stale = Make("stale");
  const auto linked = Make("linked");
  Make("new");
  for (const auto& file : {unlinked, replaced, stale, linked}) ASSERT_OK(file->Write(Bytes("text"), 0));
  ASSERT_OK(Store().Link(kMe, bench_.At("linked").ref, bench_.Root(), "link"));
  UseOthers();
  ASSERT_EQ(kMost, OpenIn(bench_.Dir()));
  ASSERT_OK(Store().Unlink(kMe, bench_.Root(), "unlinked"));
  ASSERT_OK(Store().Rename(kMe, bench_.Root(), "new", bench_.Root(), "replaced", 0));
  ASSERT_OK(Store().CreateBy(kMe, bench_.Root(), "stale", O_RDWR, 0644, Creator(), true));
  ASSERT_OK(Store().Unlink(kMe, bench_.Root(), "link"));
  ASSERT_OK(Store().Unlink(kMe, bench_.Root(), "linked"));
  for (int round = 0; round < 2; ++round) {
    UseOthers();
    for (const auto& file : {unlinked, replaced, stale, linked}) {
      EXPECT_EQ(0u, file->GetAttr()->nlink);
      EXPECT_EQ("text", ReadAll(*file));
      ASSERT_OK(file->Write(Bytes("T"), 0));
      ASSERT_OK(file->Write(Bytes("t"), 0));
    }
  }
  EXPECT_EQ(4u, Store().GetAttr(kMe, unlinked->Ref())->size) << "by its reference too";
}

TEST_F(ManyFiles, WhatWasRemovedPastTheStoreWhileItWasOpenStays) {
  const auto one = Make("file");
  const auto two = Store().Open(kMe, one->Ref(), O_RDONLY).value();
  ASSERT_OK(one->Write(Bytes("text"), 0));
  BecomeServer();
  std::filesystem::remove(bench_.Dir() / "file");
  UseOthers();
  EXPECT_EQ("text", ReadAll(*two));
  EXPECT_EQ("text", ReadAll(*one));
  EXPECT_LE(OpenIn(bench_.Dir()), kMost + 1);
}

TEST_F(ManyFiles, TheInodeOfAFileWithoutANameIsGivenBackWithItsLastHandle) {
  auto one = Make("file");
  const FileRef ref = one->Ref();
  UseOthers();
  ASSERT_OK(Store().Unlink(kMe, bench_.Root(), "file"));
  auto two = Store().Open(kMe, ref, O_RDONLY).value();
  UseOthers();
  one.reset();
  ASSERT_OK(Store().GetAttr(kMe, ref));
  two.reset();
  EXPECT_ERRNO(ESTALE, Store().GetAttr(kMe, ref));
}

TEST_F(ManyFiles, WhatWasRemovedPastTheStoreIsStale) {
  const auto file = Make("file");
  UseOthers();
  BecomeServer();
  std::filesystem::remove(bench_.Dir() / "file");
  std::array<std::byte, 4> buffer;
  EXPECT_ERRNO(ESTALE, file->Read(buffer, 0));
  EXPECT_ERRNO(ESTALE, file->Write(buffer, 0));
  EXPECT_ERRNO(ESTALE, file->Sync(false));
  EXPECT_EQ("?", file->Path());
}

TEST_F(ManyFiles, RightsAreThoseOfTheOpen) {
  const auto writer = Make("file", O_WRONLY, 0);
  const auto reader = Store().Open(kRootUser, writer->Ref(), O_RDONLY).value();
  const auto both = Make("theirs");
  ASSERT_OK(
      Store().SetAttr(kRootUser, both->Ref(), {.mask = attr_mask::kUid | attr_mask::kMode, .uid = kOther}));
  std::array<std::byte, 4> buffer{};
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(4u, writer->Write(buffer, 0).value());
    EXPECT_EQ(4u, reader->Read(buffer, 0).value());
    EXPECT_ERRNO(EBADF, writer->Read(buffer, 0));
    EXPECT_ERRNO(EBADF, reader->Write(buffer, 0));
    EXPECT_EQ(4u, both->Write(buffer, 0).value());
    EXPECT_EQ(4u, both->Read(buffer, 0).value());
    UseOthers();
  }
  EXPECT_ERRNO(EACCES, Store().Open(kMe, both->Ref(), O_RDONLY));
}

TEST_F(ManyFiles, AProgramThatOnlyExecutesReadsOn) {
  bench_.Put("program", "text", 0711, kOther);
  const auto program = Store().Open(kMe, bench_.At("program").ref, O_RDONLY | kToExecute).value();
  UseOthers();
  EXPECT_EQ("text", ReadAll(*program));
}

// The set-id bits go as for any writer that is not root, although root opened it again.
TEST_F(ManyFiles, WritesAreTheOpenersAfterwardsToo) {
  const auto file = Make("file", O_RDWR, 04777);
  ASSERT_OK(Store().SetAttr(kRootUser, file->Ref(), {.mask = attr_mask::kMode, .mode = 04777}));
  UseOthers();
  ASSERT_OK(file->Write(Bytes("x"), 0));
  EXPECT_EQ(0777u, file->GetAttr()->mode & 07777);
}

TEST_F(ManyFiles, ManyThreadsOpenUseRemoveAndClose) {
  constexpr int kThreads = 6;
  constexpr int kEach = 300;
  const auto shared = Make("shared");
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      std::vector<std::pair<std::string, std::shared_ptr<StoreFile>>> mine(8);
      for (int i = 0; i < kEach; ++i) {
        auto& [text, file] = mine[random() % mine.size()];
        if (!file) {
          const std::string name = std::to_string(t) + "-" + std::to_string(i);
          file = Make(name);
          text = name;
          ASSERT_OK(file->Write(Bytes(text), 0));
          if (random() % 2 == 0) {
            ASSERT_OK(Store().Unlink(kMe, bench_.Root(), name));
          }
        } else if (random() % 4 == 0) {
          ASSERT_OK(file->Sync(true));
          file.reset();
        } else {
          ASSERT_EQ(text, ReadAll(*file));
        }
        const auto at = shared->WriteAppend(Bytes("0123456789"));
        ASSERT_TRUE(at && at->count == 10);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(kThreads * kEach * 10u, shared->GetAttr()->size);
}

// The limit is lower than anybody told the store.
TEST_F(ManyFiles, IdleFilesMakeRoomWhenTheProcessHasNoDescriptorLeft) {
  std::vector<std::shared_ptr<StoreFile>> files;
  for (int i = 0; i < 20; ++i) {
    files.push_back(Make("f" + std::to_string(i)));
    ASSERT_OK(files.back()->Write(Bytes("text"), 0));
    ASSERT_OK(files.back()->Sync(true));
  }
  BecomeServer();
  struct rlimit before {};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_NOFILE, &before));
  const rlimit low{200, before.rlim_max};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_NOFILE, &low));
  std::vector<UniqueFd> filling;
  while (UniqueFd fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}) filling.push_back(std::move(fd));
  for (const auto& file : files) EXPECT_EQ("text", ReadAll(*file));
  filling.clear();
  ASSERT_EQ(0, ::setrlimit(RLIMIT_NOFILE, &before));
}

// Not root: a file might not be found again, so all of them stay open.
TEST(AsUser, ManyFilesKeepTheirDescriptors) {
  InChild([] {
    BecomeUser();
    StoreBench bench(Few());
    std::vector<std::shared_ptr<StoreFile>> files;
    for (int i = 0; i < 10; ++i) {
      auto made = bench.Store().Create(kMe, bench.Root(), "f" + std::to_string(i), O_RDWR, 0);
      ASSERT_OK(made);
      files.push_back(std::move(made->file));
    }
    EXPECT_EQ(files.size(), OpenIn(bench.Dir()));
    std::filesystem::rename(bench.Dir() / "f0", bench.Dir() / "moved");
    std::filesystem::remove(bench.Dir() / "f1");
    for (const auto& file : files) ASSERT_OK(file->Write(Bytes("text"), 0));
  });
}

}  // namespace
}  // namespace baton::store
