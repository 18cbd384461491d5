// Space within a file: allocation, holes, copies; and what is made under an umask or a default ACL.
#include <linux/falloc.h>
#include <sys/xattr.h>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

std::shared_ptr<StoreFile> Make(StoreBench& bench, const char* name) {
  auto made = bench.Store().Create(kMe, bench.Root(), name, O_RDWR, 0644);
  if (!made) throw std::runtime_error(name);
  return made->file;
}

CONFORMANCE(AllocatesPunchesAndZeroes) {
  const auto file = Make(bench, "file");
  ASSERT_OK(file->Allocate(0, 0, 10000));
  EXPECT_EQ(10000u, file->GetAttr()->size);
  EXPECT_GE(file->GetAttr()->blocks * 512, 10000u);
  ASSERT_OK(file->Write(Bytes(std::string(10000, 'x')), 0));
  ASSERT_OK(file->Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
  ASSERT_OK(file->Allocate(FALLOC_FL_ZERO_RANGE, 9000, 2000));
  EXPECT_EQ(
      std::string(4096, 'x') + std::string(4096, '\0') + std::string(808, 'x') + std::string(2000, '\0'),
      ReadAll(*file));
  EXPECT_ERRNO(EOPNOTSUPP, file->Allocate(FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
  EXPECT_ERRNO(EINVAL, file->Allocate(0, 0, 0));
  EXPECT_ERRNO(EINVAL, file->Allocate(0, ~std::uint64_t{0}, 1));
  EXPECT_ERRNO(EINVAL, file->Allocate(0, 0, ~std::uint64_t{0}));
  EXPECT_ERRNO(EFBIG, file->Allocate(0, 1, std::numeric_limits<off_t>::max()));
}

CONFORMANCE(FindsDataAndHolesWhileOthersAppend) {
  const auto file = Make(bench, "file");
  ASSERT_OK(file->Write(Bytes("x"), 1 << 20));
  EXPECT_EQ(1u << 20, file->Seek(0, SeekFor::kData).value());
  EXPECT_EQ(0u, file->Seek(0, SeekFor::kHole).value());
  EXPECT_EQ((1u << 20) + 1, file->Seek(1 << 20, SeekFor::kHole).value());
  EXPECT_ERRNO(ENXIO, file->Seek((1 << 20) + 1, SeekFor::kData));
  EXPECT_ERRNO(ENXIO, file->Seek(~std::uint64_t{0}, SeekFor::kData));
  std::atomic<bool> ends = false;
  std::thread seeks([&] {
    while (!ends) (void)file->Seek(0, SeekFor::kData);
  });
  std::uint64_t end = (1 << 20) + 1;
  for (int i = 0; i < 200; ++i, ++end) EXPECT_EQ(end, file->WriteAppend(Bytes("y"))->offset);
  ends = true;
  seeks.join();
}

CONFORMANCE(CopiesBetweenFilesAndWithinOne) {
  const auto from = Make(bench, "from");
  const auto to = Make(bench, "to");
  ASSERT_OK(from->Write(Bytes("0123456789"), 0));
  EXPECT_EQ(4u, to->CopyFrom(*from, 6, 1, 100).value());
  EXPECT_EQ(std::string("\0006789", 5), ReadAll(*to));
  EXPECT_EQ(0u, to->CopyFrom(*from, 10, 0, 5).value());
  EXPECT_EQ(3u, from->CopyFrom(*from, 0, 5, 3).value());
  EXPECT_EQ("0123401289", ReadAll(*from));
  EXPECT_ERRNO(EINVAL, to->CopyFrom(*from, ~std::uint64_t{0}, 0, 1));
  EXPECT_ERRNO(EINVAL, to->CopyFrom(*from, 0, ~std::uint64_t{0}, 1));
  const auto reader = bench.Store().Open(kMe, to->Ref(), O_RDONLY).value();
  EXPECT_ERRNO(EBADF, reader->CopyFrom(*from, 0, 0, 1));
  EXPECT_ERRNO(EBADF, reader->Allocate(0, 0, 1));
}

CONFORMANCE(TheUmaskCountsUnlessADefaultAclStandsInItsPlace) {
  bench.PutDirectory("plain");
  bench.PutDirectory("acl");
  const Credentials me{kUser, kUser, {}, 0077};
  const auto modes = [&](const char* directory) {
    const FileRef at = bench.At(directory).ref;
    auto& store = bench.Store();
    return std::vector{store.Create(me, at, "file", O_RDWR, 0666)->node.attr.mode & 07777,
                       store.MakeDirectory(me, at, "directory", 0777)->attr.mode & 07777,
                       store.MakeNode(me, at, "fifo", S_IFIFO | 0666, 0)->attr.mode & 07777};
  };
  EXPECT_EQ((std::vector{0600u, 0700u, 0600u}), modes("plain"));
  // u::rwx g::r-x o::r-x
  const std::string acl("\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\40\0\5\0\xff\xff\xff\xff",
                        28);
  const auto set = bench.Store().SetXattr(kMe, bench.At("acl").ref, "system.posix_acl_default", acl, 0);
  if (!set && set.error().value == EOPNOTSUPP) GTEST_SKIP() << "no ACLs here";
  ASSERT_OK(set);
  EXPECT_EQ((std::vector{0644u, 0755u, 0644u}), modes("acl"));
}

TEST(AsRoot, AProgramThatItsUserMayNotReadIsOpenedToExecuteIt) {
  StoreBench bench;
  bench.Put("program", "text", 0711, 0);
  bench.Put("script", "text", 0700, 0);
  bench.Put("readable", "text", 0644, 0);
  auto& store = bench.Store();
  const FileRef program = bench.At("program").ref;
  EXPECT_ERRNO(EACCES, store.Open(kMe, program, O_RDONLY));
  const auto opened = store.Open(kMe, program, O_RDONLY | kToExecute);
  ASSERT_OK(opened);
  EXPECT_EQ("text", ReadAll(**opened));
  EXPECT_ERRNO(EACCES, store.Open(kMe, program, O_RDWR | kToExecute));
  EXPECT_ERRNO(EACCES, store.Open(kMe, program, O_RDONLY | O_TRUNC | kToExecute));
  EXPECT_ERRNO(EACCES, store.Open(kMe, bench.At("script").ref, O_RDONLY | kToExecute));
  EXPECT_ERRNO(0, store.Open(kMe, bench.At("readable").ref, O_RDONLY | kToExecute));
  EXPECT_ERRNO(EACCES, store.Open(kMe, program, O_RDONLY)) << "and it left no right behind";
}

TEST(AsRoot, SetIdBitsGoWithAChangeByAnother) {
  StoreBench bench;
  bench.Put("program", "text", 06777, 0);
  bench.Put("other", "text");
  auto& store = bench.Store();
  const FileRef program = bench.At("program").ref;
  const auto mode_after = [&](const std::function<void(StoreFile&)>& change, const Credentials& who) {
    EXPECT_ERRNO(0, store.SetAttr(kRootUser, program, {.mask = attr_mask::kMode, .mode = 06777}));
    change(*store.Open(who, program, O_RDWR).value());
    return store.GetAttr(kRootUser, program)->mode & 07777;
  };
  const auto other = store.Open(kMe, bench.At("other").ref, O_RDONLY).value();
  const std::vector<std::function<void(StoreFile&)>> changes{
      [](StoreFile& file) { ASSERT_OK(file.Write(Bytes("x"), 0)); },
      [](StoreFile& file) { ASSERT_OK(file.WriteAppend(Bytes("x"))); },
      [](StoreFile& file) { ASSERT_OK(file.Truncate(1)); },
      [](StoreFile& file) { ASSERT_OK(file.Allocate(0, 0, 100)); },
      [&](StoreFile& file) { ASSERT_OK(file.CopyFrom(*other, 0, 0, 3)); },
  };
  for (const auto& change : changes) {
    EXPECT_EQ(0777u, mode_after(change, kMe));
    EXPECT_EQ(06777u, mode_after(change, kRootUser));
  }
}

}  // namespace
}  // namespace baton::store
