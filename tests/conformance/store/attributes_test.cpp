// Attributes, extended attributes, and what they say for claims and instances.
#include <sys/xattr.h>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

constexpr const char* kGuidText = "0f8fad5b-d9cb-469f-a165-70867728950e";
constexpr const char* kOtherGuidText = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

CONFORMANCE(SetAttrChangesWhatTheMaskNames) {
  bench.Put("file", "text");
  auto& store = bench.Store();
  const FileRef ref = bench.At("file").ref;
  AttrChange change{.mask = attr_mask::kMode | attr_mask::kSize | attr_mask::kAtime | attr_mask::kMtime};
  change.mode = 0600;
  change.size = 2;
  change.atime = {1000, 5};
  change.mtime = {-2000, 999'999'999};
  const auto attr = store.SetAttr(kMe, ref, change);
  ASSERT_OK(attr);
  EXPECT_EQ(S_IFREG | 0600u, attr->mode);
  EXPECT_EQ(2u, attr->size);
  EXPECT_EQ((Timestamp{1000, 5}), attr->atime);
  EXPECT_EQ((Timestamp{-2000, 999'999'999}), attr->mtime);
  const auto now = store.SetAttr(kMe, ref, {.mask = attr_mask::kMtimeNow});
  ASSERT_OK(now);
  EXPECT_LT(attr->ctime.sec - 2, now->mtime.sec);
  EXPECT_EQ((Timestamp{1000, 5}), now->atime);
  EXPECT_ERRNO(EPERM, store.SetAttr(kMe, ref, {.mask = attr_mask::kUid, .uid = kOther}));
  EXPECT_ERRNO(EPERM, store.SetAttr(kMe, ref, {.mask = attr_mask::kGid, .gid = kOther}));
  EXPECT_ERRNO(
      0, store.SetAttr(kMe, ref, {.mask = attr_mask::kUid | attr_mask::kGid, .uid = kUser, .gid = kUser}));
  EXPECT_ERRNO(EISDIR, store.SetAttr(kMe, bench.Root(), {.mask = attr_mask::kSize}));
  EXPECT_ERRNO(EINVAL, store.SetAttr(kMe, ref, {.mask = attr_mask::kSize, .size = ~std::uint64_t{0}}));
  EXPECT_ERRNO(EINVAL, store.SetAttr(kMe, ref, {.mask = attr_mask::kMtime, .mtime = {1, 1'000'000'000}}));
}

CONFORMANCE(ASymlinkIsChangedItself) {
  bench.Put("file", "text", 0644);
  auto& store = bench.Store();
  const auto link = store.Symlink(kMe, bench.Root(), "link", "file");
  ASSERT_OK(link);
  ASSERT_OK(store.SetAttr(kMe, link->ref, {.mask = attr_mask::kMtime, .mtime = {77, 0}}));
  EXPECT_EQ(77, store.GetAttr(kMe, link->ref)->mtime.sec);
  EXPECT_NE(77, bench.At("file").attr.mtime.sec);
  EXPECT_ERRNO(EOPNOTSUPP, store.SetAttr(kMe, link->ref, {.mask = attr_mask::kMode, .mode = 0}));
  EXPECT_ERRNO(EINVAL, store.SetAttr(kMe, link->ref, {.mask = attr_mask::kSize, .size = 0}));
  EXPECT_EQ(4u, bench.At("file").attr.size);
  EXPECT_ERRNO(EPERM, store.SetXattr(kMe, link->ref, "user.x", "1", 0));
}

CONFORMANCE(AccessAndStatFs) {
  bench.Put("file", "text", 0500);
  auto& store = bench.Store();
  const FileRef ref = bench.At("file").ref;
  EXPECT_ERRNO(0, store.Access(kMe, ref, R_OK | X_OK));
  EXPECT_ERRNO(EACCES, store.Access(kMe, ref, W_OK));
  const auto fs = store.GetStatFs(kMe, ref);
  ASSERT_OK(fs);
  EXPECT_GT(fs->blocks, fs->bfree);
  EXPECT_EQ(255u, fs->namelen);
}

CONFORMANCE(XattrsAreKeptAsGiven) {
  bench.Put("file", "text");
  auto& store = bench.Store();
  const FileRef ref = bench.At("file").ref;
  const std::string value("a\0b", 3);
  EXPECT_ERRNO(ENODATA, store.GetXattr(kMe, ref, "user.x"));
  ASSERT_OK(store.SetXattr(kMe, ref, "user.x", value, XATTR_CREATE));
  EXPECT_EQ(value, store.GetXattr(kMe, ref, "user.x").value());
  EXPECT_EQ(std::string("user.x\0", 7), store.ListXattr(kMe, ref).value());
  EXPECT_ERRNO(EEXIST, store.SetXattr(kMe, ref, "user.x", value, XATTR_CREATE));
  EXPECT_ERRNO(ENODATA, store.SetXattr(kMe, ref, "user.y", value, XATTR_REPLACE));
  const std::string longer(1000, 'l');
  ASSERT_OK(store.SetXattr(kMe, ref, "user.x", longer, XATTR_REPLACE));
  EXPECT_EQ(longer, store.GetXattr(kMe, ref, "user.x").value());
  ASSERT_OK(store.RemoveXattr(kMe, ref, "user.x"));
  EXPECT_ERRNO(ENODATA, store.RemoveXattr(kMe, ref, "user.x"));
  EXPECT_ERRNO(EPERM, store.SetXattr(kMe, ref, "trusted.x", "1", 0));
  EXPECT_ERRNO(EPERM, store.SetXattr(kMe, ref, "security.other", "1", 0));
  EXPECT_ERRNO(EOPNOTSUPP, store.SetXattr(kMe, ref, "nonsense.x", "1", 0));
  EXPECT_ERRNO(ERANGE, store.SetXattr(kMe, ref, "", "1", 0));
  EXPECT_ERRNO(ERANGE, store.SetXattr(kMe, ref, "user." + std::string(251, 'x'), "1", 0));
  EXPECT_ERRNO(E2BIG, store.SetXattr(kMe, ref, "user.x", std::string(65537, 'x'), 0));
  EXPECT_ERRNO(EINVAL, store.SetXattr(kMe, ref, "user.x", "1", 64));
}

CONFORMANCE(TheNearestDirectoryWithAWordDecides) {
  bench.PutDirectory("a");
  bench.PutDirectory("a/b");
  bench.Put("a/b/file", "");
  auto& store = bench.Store();
  const FileRef a = bench.At("a").ref;
  const FileRef b = bench.At("a/b").ref;
  const FileRef file = bench.At("a/b/file").ref;
  EXPECT_EQ(DirectoryPolicy{}, store.PolicyOf(file).value());
  ASSERT_OK(store.SetXattr(kMe, bench.Root(), "user.baton.claim", "exclusive", 0));
  ASSERT_OK(store.SetXattr(kMe, a, "user.app_instance_id", kGuidText, 0));
  ASSERT_OK(store.SetXattr(kMe, a, "user.baton.takeover", "any", 0));
  DirectoryPolicy expected{
      .instance = ParseGuid(kGuidText), .claim = DirectoryClaim::kExclusive, .takeover_any = true};
  EXPECT_EQ(expected, store.PolicyOf(file).value());
  EXPECT_EQ(expected, store.PolicyOf(b).value());
  ASSERT_OK(store.SetXattr(kMe, b, "user.baton.claim", "none", 0));
  expected.claim = DirectoryClaim::kNone;
  EXPECT_EQ(expected, store.PolicyOf(file).value()) << "seen at once";
  ASSERT_OK(store.SetXattr(kMe, file, "user.app_instance_id", kOtherGuidText, 0));
  expected.instance = ParseGuid(kOtherGuidText);
  EXPECT_EQ(expected, store.PolicyOf(file).value());
  ASSERT_OK(store.RemoveXattr(kMe, file, "user.app_instance_id"));
  ASSERT_OK(store.Rename(kMe, a, "b", bench.Root(), "b", 0));
  EXPECT_EQ((DirectoryPolicy{.claim = DirectoryClaim::kNone}), store.PolicyOf(file).value())
      << "moved away from a";
}

CONFORMANCE(ADirectoryThatItsOwnerMayNotSearchHasAPolicyToo) {
  bench.PutDirectory("a");
  auto& store = bench.Store();
  ASSERT_OK(store.SetXattr(kMe, bench.At("a").ref, "user.app_instance_id", kGuidText, 0));
  ASSERT_OK(store.MakeDirectory(kMe, bench.At("a").ref, "b", 0644));
  const auto policy = store.PolicyOf(bench.At("a/b").ref);
  ASSERT_OK(policy);
  EXPECT_EQ(ParseGuid(kGuidText), policy->instance);
}

CONFORMANCE(AFileNobodyLookedUpHasItsDirectorysPolicyToo) {
  bench.PutDirectory("a");
  bench.Put("a/file", "");
  auto& store = bench.Store();
  ASSERT_OK(store.SetXattr(kMe, bench.At("a").ref, "user.baton.claim", "none", 0));
  const FileRef file = bench.At("a/file").ref;
  bench.Reopen();
  const auto policy = bench.Store().PolicyOf(file);
  if (::geteuid() != 0) {
    EXPECT_ERRNO(ESTALE, policy);
    return;
  }
  ASSERT_OK(policy);
  EXPECT_EQ(DirectoryClaim::kNone, policy->claim);
}

CONFORMANCE(AMalformedPolicyIsRefusedOrReported) {
  bench.PutDirectory("a");
  bench.Put("a/file", "");
  auto& store = bench.Store();
  const FileRef a = bench.At("a").ref;
  for (const char* bad : {"", "x", "00000000-0000-0000-0000-000000000000"}) {
    EXPECT_ERRNO(EINVAL, store.SetXattr(kMe, a, "user.app_instance_id", bad, 0));
    EXPECT_ERRNO(EINVAL, store.WouldSetXattr(kMe, a, "user.app_instance_id", bad, 0));
  }
  EXPECT_ERRNO(EINVAL, store.SetXattr(kMe, a, "user.baton.claim", "all", 0));
  EXPECT_ERRNO(EINVAL, store.SetXattr(kMe, a, "user.baton.takeover", "none", 0));
  ASSERT_EQ(0, ::setxattr((bench.Dir() / "a").c_str(), "user.app_instance_id", "junk", 4, 0))
      << "past the store";
  EXPECT_TRUE(store.PolicyOf(bench.At("a/file").ref)->malformed_instance);
}

TEST(AsRoot, OnlyTheOwnerAndRootSetAPolicy) {
  StoreBench bench;
  bench.PutDirectory("open", 0777, kOther);
  const FileRef ref = bench.At("open").ref;
  auto& store = bench.Store();
  for (const char* name : {"user.app_instance_id", "user.baton.claim", "user.baton.anything"}) {
    const std::string value = std::string_view(name) == "user.baton.claim" ? "none" : kGuidText;
    EXPECT_ERRNO(EPERM, store.SetXattr(kMe, ref, name, value, 0));
    EXPECT_ERRNO(0, store.SetXattr(kThem, ref, name, value, 0));
    EXPECT_ERRNO(EPERM, store.RemoveXattr(kMe, ref, name));
    EXPECT_ERRNO(0, store.RemoveXattr(kRootUser, ref, name));
  }
  EXPECT_ERRNO(0, store.SetXattr(kMe, ref, "user.other", "1", 0))
      << "write permission is enough for all others";
}

}  // namespace
}  // namespace baton::store
