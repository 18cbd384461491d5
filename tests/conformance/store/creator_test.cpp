// Files that know who created them (rule X1).
#include <fcntl.h>
#include <sys/xattr.h>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

const Creator kCreator{*ParseGuid("5f0c7a1e-52a4-4d6b-9a63-0d8b6d7f2c11"), Epoch{7}, "a b.lock"};

CONFORMANCE(ACreatorIsKeptWithItsFileOverAReopenedStore) {
  for (const std::uint32_t mode : {0644u, 0444u, 0400u}) {  // read-only too, as some lock files are
    const std::string name = "file" + std::to_string(mode);
    {  // no file outlives its store
      const auto made = bench.Store().CreateBy(kMe, bench.Root(), name, O_RDWR, mode, kCreator, false);
      ASSERT_OK(made);
      EXPECT_EQ(mode, bench.At(name).attr.mode & 07777);
      EXPECT_EQ(kUser, made->node.attr.uid);
      EXPECT_EQ(kCreator, bench.Store().CreatorOf(made->node.ref).value());
    }
    bench.Reopen();
    EXPECT_EQ(kCreator, bench.Store().CreatorOf(bench.At(name).ref).value());
  }
}

CONFORMANCE(WhatNobodyMarkedHasNoCreator) {
  bench.Put("plain", "text");
  EXPECT_EQ(std::nullopt, bench.Store().CreatorOf(bench.At("plain").ref).value());
  EXPECT_EQ(std::nullopt, bench.Store().CreatorOf(bench.Root()).value());
  for (const std::string value :
       {"", "x", "5f0c7a1e-52a4-4d6b-9a63-0d8b6d7f2c11", "5f0c7a1e-52a4-4d6b-9a63-0d8b6d7f2c11 x y"}) {
    ASSERT_EQ(
        0, ::setxattr((bench.Dir() / "plain").c_str(), "user.baton.creator", value.data(), value.size(), 0));
    EXPECT_EQ(std::nullopt, bench.Store().CreatorOf(bench.At("plain").ref).value()) << value;
  }
}

CONFORMANCE(ACreatorCanBeForgotten) {
  auto& store = bench.Store();
  const auto made = store.CreateBy(kMe, bench.Root(), "file", O_RDWR, 0644, kCreator, false);
  ASSERT_OK(store.ForgetCreator(made->node.ref));
  EXPECT_EQ(std::nullopt, store.CreatorOf(made->node.ref).value());
  EXPECT_ERRNO(0, store.ForgetCreator(made->node.ref));
}

CONFORMANCE(AFileIsReplacedAndTheOldOneLivesOn) {
  auto& store = bench.Store();
  const auto old = store.CreateBy(kMe, bench.Root(), "lock", O_RDWR, 0644, kCreator, false);
  ASSERT_OK(old->file->Write(Bytes("old"), 0));
  EXPECT_ERRNO(EEXIST, store.CreateBy(kMe, bench.Root(), "lock", O_RDWR, 0644, kCreator, false));
  const auto fresh = store.CreateBy(kMe, bench.Root(), "lock", O_RDWR, 0600, kCreator, true);
  ASSERT_OK(fresh);
  EXPECT_NE(old->node.key, fresh->node.key);
  EXPECT_EQ(fresh->node.key, bench.At("lock").key);
  EXPECT_EQ(0600u, bench.At("lock").attr.mode & 07777);
  EXPECT_EQ("old", ReadAll(*old->file));
  EXPECT_ERRNO(0, store.GetAttr(kMe, fresh->node.ref));
  EXPECT_EQ(1u, store.ReadDirectory(kMe, bench.Root(), 0, 1 << 16, false)->entries.size() - 2);
  EXPECT_ERRNO(ENOENT, store.CreateBy(kMe, bench.Root(), "absent", O_RDWR, 0600, kCreator, true));
}

CONFORMANCE(WhoMayNotRemoveTheOldFileReplacesNothing) {
  bench.PutDirectory("sticky", 01777, kOther);
  bench.Put("sticky/lock", "theirs", 0666, kOther);
  if (::geteuid() != 0) return;  // everything is the user's own
  const FileRef sticky = bench.At("sticky").ref;
  EXPECT_ERRNO(EPERM, bench.Store().CreateBy(kMe, sticky, "lock", O_RDWR, 0600, kCreator, true));
  EXPECT_EQ(6u, bench.At("sticky/lock").attr.size);
  EXPECT_EQ(1, std::distance(std::filesystem::directory_iterator(bench.Dir() / "sticky"), {}));
}

}  // namespace
}  // namespace baton::store
