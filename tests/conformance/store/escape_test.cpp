// Rule A3: nothing outside the export, by no reference, name, link or race; and what makes a store refuse to
// start.
#include <sched.h>
#include <sys/mount.h>

#include <atomic>
#include <random>
#include <thread>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

CONFORMANCE(AForgedReferenceIsStale) {
  bench.Put("file", "text");
  auto& store = bench.Store();
  const FileRef good = bench.At("file").ref;
  const std::vector<std::byte> bytes(good.Bytes().begin(), good.Bytes().end());
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    std::vector<std::byte> bad = bytes;
    bad[i / 8] ^= std::byte{1} << (i % 8);
    EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, FileRef(bad))) << "bit " << i;
    EXPECT_ERRNO(ESTALE, store.KeyOf(FileRef(bad)));
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, FileRef(std::span(bytes).first(size))));
  }
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    std::vector<std::byte> bad(random() % (FileRef::kCapacity + 1));
    for (auto& byte : bad) byte = static_cast<std::byte>(random());
    EXPECT_ERRNO(ESTALE, store.Lookup(kMe, FileRef(bad), "x"));
  }
}

CONFORMANCE(AReferenceOfAnotherServerIsStale) {
  bench.Put("file", "text");
  StoreKey other = kKey;
  other[15] ^= std::byte{1};
  const auto second = PosixStore::Open(bench.Dir(), other, {});
  ASSERT_TRUE(second.has_value());
  EXPECT_ERRNO(ESTALE, (*second)->GetAttr(kMe, bench.At("file").ref));
}

CONFORMANCE(SymbolicLinksLeadNowhere) {
  auto& store = bench.Store();
  std::filesystem::create_directory_symlink("/etc", bench.Dir() / "etc");
  std::filesystem::create_symlink("/etc/passwd", bench.Dir() / "passwd");
  const Node etc = bench.At("etc");
  const Node passwd = bench.At("passwd");
  EXPECT_TRUE(S_ISLNK(etc.attr.mode));
  EXPECT_ERRNO(ENOTDIR, store.Lookup(kMe, etc.ref, "passwd"));
  EXPECT_ERRNO(ENOTDIR, store.ReadDirectory(kMe, etc.ref, 0, 1000, true));
  EXPECT_ERRNO(ELOOP, store.Open(kMe, passwd.ref, O_RDONLY));
  EXPECT_ERRNO(EINVAL, store.SetAttr(kMe, passwd.ref, {.mask = attr_mask::kSize}));
  EXPECT_ERRNO(EEXIST, store.Create(kMe, bench.Root(), "passwd", O_RDWR, 0644));
}

CONFORMANCE(ADirectoryMovedOutOfTheExportIsOut) {
  bench.PutDirectory("a");
  bench.PutDirectory("a/b");
  const Node a = bench.At("a");
  const Node b = bench.At("a/b");
  std::filesystem::rename(bench.Dir() / "a", bench.Base() / "a");
  auto& store = bench.Store();
  EXPECT_ERRNO(ESTALE, store.Lookup(kMe, a.ref, ".."));
  // Within the second for which a directory in use is trusted:
  for (const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
       store.ReadDirectory(kMe, b.ref, 0, 1000, false);) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
  EXPECT_ERRNO(ESTALE, store.Lookup(kMe, b.ref, ".."));
}

// Somebody on the server moves a directory in and out; ".." of what is in it must never be a directory
// outside.
CONFORMANCE(DotDotInARaceStaysInside) {
  bench.PutDirectory("in");
  bench.PutDirectory("in/a");
  bench.PutDirectory("in/a/b");
  auto& store = bench.Store();
  const Node a = bench.At("in/a");
  const Node b = bench.At("in/a/b");
  const Node in = bench.At("in");
  std::filesystem::create_directory(bench.Base() / "out");
  std::atomic<bool> stop{false};
  std::thread mover([&] {
    const auto inside = bench.Dir() / "in/a";
    const auto outside = bench.Base() / "out/a";
    while (!stop) {
      ASSERT_EQ(0, ::rename(inside.c_str(), outside.c_str()));
      ASSERT_EQ(0, ::rename(outside.c_str(), inside.c_str()));
    }
  });
  int found = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto parent = store.Lookup(kMe, a.ref, "..");
    if (!parent) {
      EXPECT_EQ(ESTALE, parent.error().value);
      continue;
    }
    ++found;
    EXPECT_EQ(in.key, parent->key);
  }
  stop = true;
  mover.join();
  EXPECT_GT(found, 0);
  EXPECT_EQ(a.key, store.Lookup(kMe, b.ref, "..")->key);
}

// Two callers race renames through the store; a name always leads to one of the two files it may be.
CONFORMANCE(RacingRenamesNeverConfuseFiles) {
  bench.PutDirectory("a");
  bench.PutDirectory("b");
  bench.Put("a/file", "A");
  bench.Put("b/file", "B");
  auto& store = bench.Store();
  const FileRef root = bench.Root();
  const FileKey one = bench.At("a/file").key;
  const FileKey two = bench.At("b/file").key;
  constexpr unsigned kExchange = 2;
  std::atomic<bool> stop{false};
  std::thread mover([&] {
    while (!stop) EXPECT_ERRNO(0, store.Rename(kMe, root, "a", root, "b", kExchange));
  });
  for (int i = 0; i < 5000; ++i) {
    const auto a = store.Lookup(kMe, root, "a");
    if (!a) continue;
    const auto file = store.Lookup(kMe, a->ref, "file");
    if (!file) continue;
    EXPECT_TRUE(file->key == one || file->key == two);
  }
  stop = true;
  mover.join();
}

TEST(AsRoot, AnotherFileSystemIsNotEntered) {
  InChild([] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      std::abort();
    StoreBench bench;
    bench.PutDirectory("mnt");
    bench.PutDirectory("dir");
    const auto mount_point = bench.Dir() / "mnt";
    ASSERT_EQ(0, ::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, nullptr));
    EXPECT_ERRNO(EXDEV, bench.Store().Lookup(kMe, bench.Root(), "mnt"));
    EXPECT_ERRNO(EBUSY, bench.Store().RemoveDirectory(kMe, bench.Root(), "mnt"));
    EXPECT_ERRNO(EBUSY, bench.Store().WouldRemoveDirectory(kMe, bench.Root(), "mnt"));
    EXPECT_ERRNO(EBUSY, bench.Store().Rename(kMe, bench.Root(), "dir", bench.Root(), "mnt", 0));
    EXPECT_ERRNO(EBUSY, bench.Store().WouldRename(kMe, bench.Root(), "dir", bench.Root(), "mnt", 0));
    const auto page = bench.Store().ReadDirectory(kMe, bench.Root(), 0, 65536, true);
    ASSERT_OK(page);
    EXPECT_EQ(4u, page->entries.size());
    for (const auto& listed : page->entries) EXPECT_EQ(listed.entry.name == "dir", listed.node.has_value());
    BecomeServer();
    ASSERT_EQ(0, ::umount(mount_point.c_str()));
  });
}

TEST(AsRoot, RefusesWhatItCannotServe) {
  StoreBench bench;
  bench.Put("file", "");
  const auto refused = [](const std::string& directory) {
    const auto store = PosixStore::Open(directory, kKey, {});
    return store ? std::string("accepted") : store.error();
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(refused(bench.Dir() / "absent"), HasSubstr("No such file or directory"));
  EXPECT_THAT(refused(bench.Dir() / "file"), HasSubstr("Not a directory"));
  EXPECT_THAT(refused("/proc"), HasSubstr("handles"));
}

}  // namespace
}  // namespace baton::store
