// Rule D2: open files without a name keep a hidden link until their last handle goes, and nobody sees it.
#include <sys/xattr.h>

#include <atomic>
#include <random>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

using Files = std::vector<std::shared_ptr<StoreFile>>;
using Gone = std::vector<std::pair<FileKey, bool>>;

std::filesystem::path HiddenDir(const StoreBench& bench) {
  return bench.Dir() / ".baton";
}

std::vector<std::filesystem::path> Hidden(const StoreBench& bench) {
  BecomeServer();
  std::vector<std::filesystem::path> links;
  if (!std::filesystem::exists(HiddenDir(bench))) return links;
  for (const auto& entry : std::filesystem::directory_iterator(HiddenDir(bench)))
    links.push_back(entry.path());
  return links;
}

std::shared_ptr<StoreFile> MakeOpen(StoreBench& bench, const std::string& name,
                                    const std::string& text = "text") {
  auto made = bench.Store().Create(kMe, bench.Root(), name, O_RDWR, 0644);
  EXPECT_ERRNO(0, made);
  if (!made) return nullptr;
  EXPECT_ERRNO(0, made->file->Write(Bytes(text), 0));
  return made->file;
}

std::vector<std::string> List(StoreBench& bench, bool with_attr) {
  std::vector<std::string> names;
  const auto page = bench.Store().ReadDirectory(kMe, bench.Root(), 0, 1 << 16, with_attr);
  EXPECT_ERRNO(0, page);
  if (!page) return names;
  for (const auto& listed : page->entries) names.push_back(listed.entry.name);
  return names;
}

CONFORMANCE(WhatLostItsNamesWhileItWasOpenIsFoundAgainAfterAKill) {
  auto& store = bench.Store();
  const auto unlinked = MakeOpen(bench, "unlinked", "one");
  const auto replaced = MakeOpen(bench, "replaced", "two");
  const auto stale = MakeOpen(bench, "stale", "three");
  const auto linked = MakeOpen(bench, "linked", "four");
  bench.Put("new", "new");
  ASSERT_OK(store.Link(kMe, linked->Ref(), bench.Root(), "link"));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "unlinked"));
  ASSERT_OK(store.Rename(kMe, bench.Root(), "new", bench.Root(), "replaced", 0));
  ASSERT_OK(store.CreateBy(kMe, bench.Root(), "stale", O_RDWR, 0644, Creator(), true));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "linked"));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "link"));
  EXPECT_EQ(4u, Hidden(bench).size());
  const Files all{unlinked, replaced, stale, linked};
  for (const auto& file : all) EXPECT_EQ(0u, file->GetAttr()->nlink);

  bench.Kill(all);
  auto& next = bench.Store();
  next.AwaitReturns();
  const std::vector<std::string> texts{"one", "two", "three", "four"};
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto again = next.Open(kMe, all[i]->Ref(), O_RDWR);
    ASSERT_OK(again);
    EXPECT_EQ(texts[i], ReadAll(**again));
    EXPECT_EQ(0u, (*again)->GetAttr()->nlink);
    EXPECT_EQ(0u, next.GetAttr(kMe, all[i]->Ref())->nlink);
    ASSERT_OK((*again)->WriteAppend(Bytes("!")));
    EXPECT_EQ(texts[i] + "!", ReadAll(**again));
    again->reset();
    EXPECT_EQ(all.size(), Hidden(bench).size()) << "somebody who is not back yet may have it open, too";
  }
  next.DropUnclaimed();
  EXPECT_THAT(Hidden(bench), IsEmpty());
}

CONFORMANCE(NobodySeesTheDirectoryOfHiddenLinks) {
  auto& store = bench.Store();
  const std::uint32_t links = store.Root().attr.nlink;
  const auto file = MakeOpen(bench, "file");
  bench.Put("other", "text");
  bench.PutDirectory("directory");
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "file"));
  ASSERT_EQ(1u, Hidden(bench).size());
  const FileRef root = bench.Root(), other = bench.At("other").ref;
  EXPECT_EQ(links + 1, store.Root().attr.nlink) << "the one it made itself";
  EXPECT_EQ(links + 1, store.GetAttr(kMe, root)->nlink);
  EXPECT_EQ(links + 1, store.Lookup(kMe, root, ".")->attr.nlink);
  for (const bool with_attr : {false, true})
    EXPECT_THAT(List(bench, with_attr), testing::UnorderedElementsAre(".", "..", "other", "directory"));

  EXPECT_ERRNO(ENOENT, store.Lookup(kMe, root, ".baton"));
  EXPECT_ERRNO(ENOENT, store.Unlink(kMe, root, ".baton"));
  EXPECT_ERRNO(ENOENT, store.RemoveDirectory(kMe, root, ".baton"));
  EXPECT_ERRNO(ENOENT, store.Rename(kMe, root, ".baton", root, "mine", 0));
  EXPECT_ERRNO(ENOENT, store.Rename(kMe, root, "other", root, ".baton", RENAME_EXCHANGE));
  EXPECT_ERRNO(EPERM, store.Rename(kMe, root, "directory", root, ".baton", 0));
  EXPECT_ERRNO(EPERM, store.Rename(kMe, root, "directory", root, ".baton", RENAME_NOREPLACE));
  EXPECT_ERRNO(EPERM, store.MakeDirectory(kMe, root, ".baton", 0755));
  EXPECT_ERRNO(EPERM, store.MakeNode(kMe, root, ".baton", S_IFREG | 0644, 0));
  EXPECT_ERRNO(EPERM, store.Symlink(kMe, root, ".baton", "/"));
  EXPECT_ERRNO(EPERM, store.Link(kMe, other, root, ".baton"));
  EXPECT_ERRNO(EPERM, store.Create(kMe, root, ".baton", O_RDWR, 0644));
  EXPECT_ERRNO(ENOENT, store.WouldUnlink(kMe, root, ".baton"));
  EXPECT_ERRNO(ENOENT, store.WouldRemoveDirectory(kMe, root, ".baton"));
  EXPECT_ERRNO(ENOENT, store.WouldRename(kMe, root, ".baton", root, "mine", 0));
  EXPECT_ERRNO(EPERM, store.WouldRename(kMe, root, "directory", root, ".baton", 0));
  EXPECT_ERRNO(EPERM, store.WouldMakeDirectory(kMe, root, ".baton"));
  EXPECT_ERRNO(EPERM, store.WouldCreate(kMe, root, ".baton"));
  ASSERT_OK(store.MakeDirectory(kMe, bench.At("directory").ref, ".baton",
                                0755));  // elsewhere it is a name like any other
  ASSERT_OK(store.Lookup(kMe, bench.At("directory").ref, ".baton"));
}

CONFORMANCE(TheDirectoryCannotBeReachedByReference) {
  const auto file = MakeOpen(bench, "file");
  auto& store = bench.Store();
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "file"));
  BecomeServer();
  std::filesystem::create_directory(HiddenDir(bench) / "below");
  if (::geteuid() == 0) std::filesystem::permissions(HiddenDir(bench), std::filesystem::perms::all);
  for (const std::filesystem::path& path : {HiddenDir(bench), HiddenDir(bench) / "below"}) {
    const UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    ASSERT_EQ(0, ::fstat(fd.Get(), &status));
    const FileRef ref = RefCodec(kKey).Make(GetHandle(fd.Get())->handle, status.st_ino, true);
    EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, ref)) << path;
    EXPECT_ERRNO(ESTALE, store.Lookup(kMe, ref, ".")) << path;
    EXPECT_ERRNO(ESTALE, store.Lookup(kMe, ref, "..")) << path;
    EXPECT_ERRNO(ESTALE, store.ReadDirectory(kMe, ref, 0, 1000, true)) << path;
    EXPECT_ERRNO(ESTALE, store.Create(kMe, ref, "x", O_RDWR, 0644)) << path;
  }
  std::filesystem::remove(HiddenDir(bench) / "below");
}

CONFORMANCE(TheLastCloseRemovesTheLinkAtOnce) {
  auto one = MakeOpen(bench, "file");
  const FileRef ref = one->Ref();
  const FileKey key = one->Key();
  Gone gone;
  bench.Store().WhenGone([&](const FileKey& file, bool was_open) { gone.emplace_back(file, was_open); });
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  auto two = bench.Store().Open(kMe, ref, O_RDONLY).value();
  one.reset();
  EXPECT_EQ(1u, Hidden(bench).size());
  EXPECT_EQ("text", ReadAll(*two));
  EXPECT_THAT(gone, IsEmpty());
  two.reset();
  EXPECT_THAT(Hidden(bench), IsEmpty());
  EXPECT_EQ((Gone{{key, true}}), gone);
  EXPECT_ERRNO(ESTALE, bench.Store().Open(kMe, ref, O_RDONLY));
  bench.Store().WhenGone(nullptr);
}

CONFORMANCE(WhatIsNotOpenOrKeepsANameGetsNoLink) {
  auto& store = bench.Store();
  bench.Put("closed", "text");
  bench.Put("new", "text");
  const auto open = MakeOpen(bench, "open");
  const FileRef root = bench.Root();
  ASSERT_OK(store.Link(kMe, open->Ref(), root, "link"));
  ASSERT_OK(store.Unlink(kMe, root, "closed"));
  ASSERT_OK(store.Unlink(kMe, root, "link"));
  ASSERT_OK(store.Link(kMe, open->Ref(), root, "link"));
  ASSERT_OK(store.Rename(kMe, root, "open", root, "link", 0)) << "two names of one file: neither goes";
  EXPECT_EQ(2u, open->GetAttr()->nlink);
  ASSERT_OK(store.Rename(kMe, root, "new", root, "link", 0));
  ASSERT_OK(store.Rename(kMe, root, "open", root, "moved", 0));
  ASSERT_OK(store.Rename(kMe, root, "moved", root, "link", RENAME_EXCHANGE));
  EXPECT_FALSE(std::filesystem::exists(HiddenDir(bench)));
  ASSERT_OK(store.Rename(kMe, root, "link", root, "link", 0)) << "over itself";
  EXPECT_THAT(Hidden(bench), IsEmpty());
  EXPECT_EQ(1u, open->GetAttr()->nlink);
}

CONFORMANCE(UnclaimedLinksStayUntilTheyAreDropped) {
  const auto claimed = MakeOpen(bench, "claimed", "mine"), unclaimed = MakeOpen(bench, "unclaimed");
  const FileKey unclaimed_key = unclaimed->Key();
  for (const char* name : {"claimed", "unclaimed"}) ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), name));
  const FileRef claimed_ref = claimed->Ref();
  bench.Kill({claimed, unclaimed});
  auto& store = bench.Store();
  Gone gone;
  store.WhenGone([&](const FileKey& file, bool was_open) { gone.emplace_back(file, was_open); });
  store.AwaitReturns();
  EXPECT_EQ(2u, Hidden(bench).size());
  bench.Put("noise", "text");
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "noise"));
  EXPECT_EQ(3u, Hidden(bench).size()) << "somebody who has not come back yet may have it open";
  const auto again = store.Open(kMe, claimed_ref, O_RDWR).value();
  store.DropUnclaimed();
  EXPECT_EQ(1u, Hidden(bench).size());
  EXPECT_EQ(2u, gone.size());
  EXPECT_THAT(gone, testing::Contains(std::pair(unclaimed_key, false)));
  EXPECT_EQ("mine", ReadAll(*again));
  bench.Put("noise", "text");
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "noise"));
  EXPECT_EQ(1u, Hidden(bench).size()) << "nobody is awaited any more";
  store.WhenGone(nullptr);
}

CONFORMANCE(WhatIsOpenedAgainAsItWasIsKeptUntilItsClose) {
  const auto file = MakeOpen(bench, "file");
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  bench.Kill({file});
  auto& store = bench.Store();
  store.AwaitReturns();
  auto again = store.OpenAgain(kMe, file->Ref(), O_RDWR).value();
  store.DropUnclaimed();
  EXPECT_EQ("text", ReadAll(*again));
  EXPECT_EQ(0u, again->GetAttr()->nlink);
  again.reset();
  EXPECT_THAT(Hidden(bench), IsEmpty());
}

CONFORMANCE(AServerThatEndsInOrderKeepsTheLinks) {
  auto file = MakeOpen(bench, "file");
  const FileRef ref = file->Ref();
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  bench.Store().KeepForRestart();
  file.reset();
  bench.Reopen();
  EXPECT_EQ("text", ReadAll(*bench.Store().Open(kMe, ref, O_RDONLY).value()));
}

CONFORMANCE(LinksThatOthersMakeAndRemoveAreCounted) {
  auto file = MakeOpen(bench, "file");
  const FileRef ref = file->Ref();
  auto& store = bench.Store();
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "file"));
  EXPECT_ERRNO(ENOENT, store.Link(kMe, ref, bench.Root(), "again"));
  EXPECT_ERRNO(ENOENT, store.WouldLink(kMe, ref, bench.Root(), "again"));
  BecomeServer();
  std::filesystem::create_hard_link(Hidden(bench).at(0), bench.Dir() / "linked");
  EXPECT_EQ(1u, file->GetAttr()->nlink);
  EXPECT_EQ(1u, bench.At("linked").attr.nlink);
  ASSERT_OK(store.Link(kMe, ref, bench.Root(), "again"));
  EXPECT_EQ(2u, store.GetAttr(kMe, ref)->nlink);
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "linked"));
  EXPECT_EQ(1u, file->SetAttr(kMe, {.mask = attr_mask::kMode, .mode = 0600})->nlink);
  EXPECT_EQ(1u, store.SetAttr(kMe, ref, {.mask = attr_mask::kMode, .mode = 0644})->nlink);
  file.reset();
  EXPECT_THAT(Hidden(bench), IsEmpty());
  EXPECT_EQ(1u, store.GetAttr(kMe, bench.At("again").ref)->nlink);
  EXPECT_EQ("text", ReadAll(*store.Open(kMe, bench.At("again").ref, O_RDONLY).value()));
}

// Killed between the link and the unlink.
CONFORMANCE(ALinkOfAFileThatHasItsNameYetDoesNoHarm) {
  const auto file = MakeOpen(bench, "file");
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  std::filesystem::create_hard_link(Hidden(bench).at(0), bench.Dir() / "file");
  bench.Kill({file});
  EXPECT_EQ(1u, bench.At("file").attr.nlink);
  auto again = bench.Store().Open(kMe, file->Ref(), O_RDWR).value();
  EXPECT_EQ(1u, again->GetAttr()->nlink);
  again.reset();
  EXPECT_THAT(Hidden(bench), IsEmpty());
  EXPECT_EQ(1u, bench.At("file").attr.nlink);
}

CONFORMANCE(ARefusedRemovalLeavesNoTrace) {
  bench.PutDirectory("sticky", 01777, kOther);
  bench.Put("sticky/file", "theirs", 0666, kOther);
  bench.Put("sticky/mine", "mine");
  if (::geteuid() != 0) return;  // everything is the user's own
  auto& store = bench.Store();
  const Node before = bench.At("sticky/file");
  const FileRef sticky = bench.At("sticky").ref;
  const auto file = store.Open(kMe, before.ref, O_RDWR).value();
  EXPECT_ERRNO(EPERM, store.Unlink(kMe, sticky, "file"));
  EXPECT_ERRNO(EPERM, store.Rename(kMe, sticky, "mine", sticky, "file", 0));
  EXPECT_ERRNO(EPERM, store.CreateBy(kMe, sticky, "file", O_RDWR, 0600, Creator(), true));
  EXPECT_ERRNO(EISDIR, store.Unlink(kMe, bench.Root(), "sticky"));
  EXPECT_EQ(before.attr.ctime, file->GetAttr()->ctime);
  EXPECT_EQ(1u, file->GetAttr()->nlink);
  EXPECT_FALSE(std::filesystem::exists(HiddenDir(bench)));
}

CONFORMANCE(WhereItCannotBeLinkedTheRemovalGoesOn) {
  auto file = MakeOpen(bench, "file");
  const FileRef ref = file->Ref();
  bench.Put(".baton", "somebody was quicker");
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  EXPECT_EQ(0u, file->GetAttr()->nlink);
  EXPECT_EQ("text", ReadAll(*file));
  EXPECT_ERRNO(0, bench.Store().GetAttr(kMe, ref));
  file.reset();
  EXPECT_ERRNO(ESTALE, bench.Store().GetAttr(kMe, ref));
}

CONFORMANCE(ADirectoryThatWasRemovedIsMadeAgain) {
  const auto one = MakeOpen(bench, "one"), two = MakeOpen(bench, "two");
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "one"));
  BecomeServer();
  std::filesystem::remove_all(HiddenDir(bench));
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "two"));
  EXPECT_EQ(1u, Hidden(bench).size());
  EXPECT_EQ("text", ReadAll(*one));
}

CONFORMANCE(WhatIsNotItsOwnIsRefusedAtTheStart) {
  const auto refused = [&] {
    const auto store = PosixStore::Open(bench.Dir(), kKey, {});
    return store ? "" : store.error();
  };
  bench.Put(".baton", "a file");
  EXPECT_THAT(refused(), HasSubstr("the name '.baton' is kept"));
  std::filesystem::remove(bench.Dir() / ".baton");
  bench.PutDirectory(".baton", 0755, ::geteuid());
  EXPECT_THAT(refused(), HasSubstr("mode 0700"));
  std::filesystem::permissions(bench.Dir() / ".baton", std::filesystem::perms::owner_all);
  bench.Put(".baton/notes", "not a link");
  EXPECT_EQ("", refused());
  bench.Reopen();
  bench.Store().DropUnclaimed();
  EXPECT_TRUE(std::filesystem::exists(bench.Dir() / ".baton/notes"));
}

TEST(AsRoot, PathsOfHiddenFilesAreTheirLast) {
  StoreBench bench;
  bench.PutDirectory("directory");
  auto file = bench.Store().Create(kMe, bench.At("directory").ref, "file", O_RDWR, 0644)->file;
  const FileRef ref = file->Ref();
  ASSERT_OK(bench.Store().Unlink(kMe, bench.At("directory").ref, "file"));
  EXPECT_EQ("/directory/file (deleted)", file->Path());
  EXPECT_EQ("/directory/file (deleted)", bench.Store().PathOf(ref));
  bench.Kill({file});
  file = bench.Store().Open(kMe, ref, O_RDWR).value();
  EXPECT_EQ("?", file->Path());
}

TEST(AsRoot, AHiddenFileHasThePolicyOfNoDirectory) {
  StoreBench bench;
  constexpr std::string_view kExclusive = "exclusive";
  ASSERT_EQ(0, ::setxattr(bench.Dir().c_str(), "user.baton.claim", kExclusive.data(), kExclusive.size(), 0));
  const auto file = MakeOpen(bench, "file");
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  EXPECT_EQ(DirectoryClaim::kExclusive, bench.Store().PolicyOf(file->Ref())->claim) << "where it was last";
  bench.Kill({file});
  EXPECT_EQ(std::nullopt, bench.Store().PolicyOf(file->Ref())->claim);
}

TEST(AsRoot, NobodyElseMayUseTheLinks) {
  StoreBench bench;
  const auto file = MakeOpen(bench, "file");
  ASSERT_OK(bench.Store().Unlink(kMe, bench.Root(), "file"));
  struct stat status {};
  ASSERT_EQ(0, ::stat(HiddenDir(bench).c_str(), &status));
  EXPECT_EQ(0700u, status.st_mode & 07777);
  EXPECT_EQ(0u, status.st_uid);
}

// Opens, closes, removals and links of a few files, all at once: nothing is left behind, and no count is
// wrong.
CONFORMANCE(WhateverCrossesNoLinkIsLeft) {
  auto& store = bench.Store();
  const FileRef root = bench.Root();
  std::atomic<int> strange{0};
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    std::shared_ptr<StoreFile> mine;
    for (int i = 0; i < 2000; ++i) {
      const std::string name = "f" + std::to_string(random() % 3), other = "f" + std::to_string(random() % 3);
      const auto there = store.Lookup(kMe, root, name);
      switch (random() % 6) {
        case 0:
          if (auto made = store.Create(kMe, root, name, O_RDWR, 0644)) mine = made->file;
          break;
        case 1:
          if (there) mine = store.Open(kMe, there->ref, O_RDWR).value_or(mine);
          break;
        case 2:
          (void)store.Unlink(kMe, root, name);
          break;
        case 3:
          (void)store.Rename(kMe, root, name, root, other, 0);
          break;
        case 4:
          if (there) (void)store.Link(kMe, there->ref, root, other);
          break;
        default:
          mine.reset();
      }
      if (mine && mine->GetAttr()->nlink > 3) ++strange;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(0, strange);
  EXPECT_THAT(Hidden(bench), IsEmpty());
  for (const char* name : {"f0", "f1", "f2"}) {
    const auto there = store.Lookup(kMe, root, name);
    if (!there) continue;
    struct stat status {};
    ASSERT_EQ(0, ::lstat((bench.Dir() / name).c_str(), &status));
    EXPECT_EQ(status.st_nlink, there->attr.nlink);
  }
}

}  // namespace
}  // namespace baton::store
