// Rule A1: a server that is root acts as each caller, and as nobody more.
#include <sys/xattr.h>

#include <atomic>
#include <thread>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

TEST(AsRoot, AUserCannotReadWhatIsRootsAlone) {
  StoreBench bench;
  bench.Put("secret", "text", 0600, 0);
  auto& store = bench.Store();
  const FileRef secret = bench.At("secret").ref;
  for (int flags : {O_RDONLY, O_WRONLY, O_RDWR}) EXPECT_ERRNO(EACCES, store.Open(kMe, secret, flags));
  EXPECT_ERRNO(EACCES, store.SetAttr(kMe, secret, {.mask = attr_mask::kSize}));
  EXPECT_ERRNO(EPERM, store.SetAttr(kMe, secret, {.mask = attr_mask::kMode, .mode = 0777}));
  EXPECT_ERRNO(EPERM, store.SetAttr(kMe, secret, {.mask = attr_mask::kUid, .uid = kUser}));
  EXPECT_ERRNO(EACCES, store.GetXattr(kMe, secret, "user.x"));
  EXPECT_ERRNO(EACCES, store.Access(kMe, secret, R_OK));
  EXPECT_ERRNO(0, store.GetAttr(kMe, secret));
  EXPECT_ERRNO(0, store.Open(kRootUser, secret, O_RDWR));
  EXPECT_ERRNO(EACCES, store.Open(kMe, secret, O_RDWR)) << "and root's call left nothing behind";
}

TEST(AsRoot, SupplementaryGroupsCount) {
  StoreBench bench;
  bench.Put("shared", "text", 0060, kOther);
  const FileRef shared = bench.At("shared").ref;
  EXPECT_ERRNO(EACCES, bench.Store().Open(kMe, shared, O_RDWR));
  EXPECT_ERRNO(0, bench.Store().Open({kUser, kUser, {5, kOther, 6}}, shared, O_RDWR));
  EXPECT_ERRNO(EACCES, bench.Store().Open({kUser, kUser, {5, 6}}, shared, O_RDWR));
  EXPECT_ERRNO(0, bench.Store().Open({kUser, kOther, {}}, shared, O_RDWR));
  EXPECT_ERRNO(0, bench.Store().WouldOpen({kUser, kUser, {kOther}}, shared, O_RDWR));
}

TEST(AsRoot, TheStickyBitHolds) {
  StoreBench bench;
  bench.PutDirectory("tmp", 01777, 0);
  bench.Put("tmp/mine", "");
  bench.Put("tmp/theirs", "", 0666, kOther);
  const FileRef tmp = bench.At("tmp").ref;
  EXPECT_ERRNO(EPERM, bench.Store().Unlink(kMe, tmp, "theirs"));
  EXPECT_ERRNO(EPERM, bench.Store().Rename(kMe, tmp, "mine", tmp, "theirs", 0));
  EXPECT_ERRNO(0, bench.Store().Unlink(kMe, tmp, "mine"));
  EXPECT_ERRNO(0, bench.Store().Unlink(kRootUser, tmp, "theirs"));
}

TEST(AsRoot, NewFilesAreTheCallers) {
  StoreBench bench;
  bench.PutDirectory("open", 0777, 0);
  bench.PutDirectory("setgid", 02777, kOther);
  const auto one = bench.Store().Create(kMe, bench.At("open").ref, "one", O_RDWR, 0644);
  const auto two = bench.Store().Create(kMe, bench.At("setgid").ref, "two", O_RDWR, 0644);
  ASSERT_OK(one);
  ASSERT_OK(two);
  EXPECT_EQ(kUser, one->node.attr.uid);
  EXPECT_EQ(kUser, one->node.attr.gid);
  EXPECT_EQ(kUser, two->node.attr.uid);
  EXPECT_EQ(kOther, two->node.attr.gid);
}

TEST(AsRoot, AUserGetsNoCapabilityOfTheServer) {
  StoreBench bench;
  bench.Put("mine", "text");
  bench.Put("suid", "text", 06777, kOther);
  auto& store = bench.Store();
  const FileRef mine = bench.At("mine").ref;
  EXPECT_ERRNO(EPERM, store.SetXattr(kMe, mine, "trusted.x", "1", 0));
  EXPECT_ERRNO(0, store.SetXattr(kRootUser, mine, "trusted.x", "1", 0));
  EXPECT_ERRNO(ENODATA, store.GetXattr(kMe, mine, "trusted.x"));
  // A valid struct vfs_cap_data, revision 2, with CAP_CHOWN.
  const std::string capability(
      "\x01\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  EXPECT_ERRNO(EPERM, store.SetXattr(kMe, mine, "security.capability", capability, 0));
  EXPECT_ERRNO(0, store.SetXattr(kRootUser, mine, "security.capability", capability, 0));
  EXPECT_ERRNO(EPERM, store.MakeNode(kMe, bench.Root(), "null", S_IFCHR | 0666, 0x103));
  EXPECT_ERRNO(0, store.MakeNode(kRootUser, bench.Root(), "null", S_IFCHR | 0666, 0x103));
  EXPECT_ERRNO(ENXIO, store.Open(kRootUser, bench.At("null").ref, O_RDONLY));

  const FileRef suid = bench.At("suid").ref;
  const auto file = store.Open(kMe, suid, O_WRONLY);
  ASSERT_OK(file);
  ASSERT_OK(store.GetAttr(kRootUser, suid));
  ASSERT_OK(store.Open(kRootUser, suid, O_RDONLY)) << "the thread is root's now";
  EXPECT_EQ(1u, (*file)->Write(Bytes("x"), 0).value());
  EXPECT_EQ(S_IFREG | 0777u, (*file)->GetAttr()->mode) << "a write by a stranger takes the set-id bits";
}

TEST(AsRoot, WhoMayChangeAProgramMayTakeItsCapabilities) {
  StoreBench bench;
  bench.Put("mine", "text", 0400, kUser);
  bench.Put("writable", "text", 0666, kOther);
  bench.Put("theirs", "text", 0644, kOther);
  auto& store = bench.Store();
  const std::string capability(
      "\x01\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  const auto taking = [&](const char* name) {
    const FileRef file = bench.At(name).ref;
    EXPECT_ERRNO(0, store.SetXattr(kRootUser, file, "security.capability", capability, 0));
    const auto would = store.WouldRemoveXattr(kMe, file, "security.capability");
    const auto done = store.RemoveXattr(kMe, file, "security.capability");
    EXPECT_EQ(would.has_value(), done.has_value()) << name;
    EXPECT_ERRNO(done ? ENODATA : 0, store.GetXattr(kRootUser, file, "security.capability")) << name;
    return done;
  };
  EXPECT_ERRNO(0, taking("mine"));
  EXPECT_ERRNO(0, taking("writable"));
  EXPECT_ERRNO(EPERM, taking("theirs"));
  EXPECT_ERRNO(EPERM, store.RemoveXattr(kMe, bench.At("writable").ref, "security.other"));
}

TEST(AsRoot, AnIdOfMinusOneIsNobody) {
  StoreBench bench;
  bench.Put("secret", "text", 0600, 0);
  const FileRef secret = bench.At("secret").ref;
  ASSERT_OK(bench.Store().Open(kRootUser, secret, O_RDONLY));
  EXPECT_ERRNO(EINVAL, bench.Store().Open({0xffffffff, kUser, {}}, secret, O_RDONLY));
  EXPECT_ERRNO(EINVAL, bench.Store().Open({kUser, 0xffffffff, {}}, secret, O_RDONLY));
  EXPECT_ERRNO(EINVAL,
               bench.Store().Open({kUser, kUser, std::vector<std::uint32_t>(70000, 5)}, secret, O_RDONLY));
  EXPECT_ERRNO(EACCES, bench.Store().Open(kMe, secret, O_RDONLY));
}

TEST(AsRoot, SquashedRootIsNobody) {
  StoreBench bench({.squash_root = true});
  bench.Put("secret", "text", 0600, 0);
  bench.Put("group", "text", 0060, 0);
  bench.PutDirectory("open", 0777, 0);
  auto& store = bench.Store();
  EXPECT_ERRNO(EACCES, store.Open(kRootUser, bench.At("secret").ref, O_RDONLY));
  EXPECT_ERRNO(EACCES, store.WouldOpen(kRootUser, bench.At("secret").ref, O_RDONLY));
  EXPECT_ERRNO(EACCES, store.Open({kUser, 0, {0}}, bench.At("group").ref, O_RDONLY))
      << "nor is group 0 of use";
  const auto created = store.Create(kRootUser, bench.At("open").ref, "file", O_RDWR, 0600);
  ASSERT_OK(created);
  EXPECT_EQ(65534u, created->node.attr.uid);
  EXPECT_EQ(65534u, created->node.attr.gid);
  EXPECT_ERRNO(EPERM, store.SetXattr(kRootUser, bench.At("open").ref, "user.baton.claim", "none", 0));
}

TEST(AsRoot, TheServerIsItselfAgainWhenItSaysSo) {
  StoreBench bench;
  bench.Put("file", "text", 0666);
  ASSERT_OK(bench.Store().Open({kUser, kUser, {7}}, bench.At("file").ref, O_RDWR));
  std::thread([&] {
    // A thread inherits what its maker was.
    BecomeServer();
    const auto path = bench.Base() / "own";
    std::ofstream(path) << "state";
    struct stat status;
    ASSERT_EQ(0, ::stat(path.c_str(), &status));
    EXPECT_EQ(0u, status.st_uid);
    EXPECT_EQ(0u, status.st_gid);
    EXPECT_EQ(0, ::setxattr(path.c_str(), "trusted.x", "1", 1, 0)) << "with all its capabilities";
  }).join();
}

TEST(AsRoot, ThreadsDoNotShareCredentials) {
  StoreBench bench;
  bench.Put("mine", "", 0600, kUser);
  bench.Put("theirs", "", 0600, kOther);
  const FileRef mine = bench.At("mine").ref;
  const FileRef theirs = bench.At("theirs").ref;
  std::atomic<int> wrong{0};
  const auto work = [&](const Credentials& who, const FileRef& own, const FileRef& foreign) {
    for (int i = 0; i < 2000; ++i) {
      wrong += ErrorOf(bench.Store().Open(who, own, O_RDWR)) != 0;
      wrong += ErrorOf(bench.Store().Open(who, foreign, O_RDWR)) != EACCES;
    }
  };
  std::thread one(work, kMe, mine, theirs);
  std::thread two(work, kThem, theirs, mine);
  one.join();
  two.join();
  EXPECT_EQ(0, wrong);
}

CONFORMANCE(AReadOnlyStoreChangesNothing) {
  bench.Put("file", "text");
  bench.PutDirectory("dir");
  bench.Reopen({.read_only = true});
  auto& store = bench.Store();
  const FileRef root = bench.Root();
  const FileRef file = bench.At("file").ref;
  EXPECT_ERRNO(0, store.Open(kMe, file, O_RDONLY));
  for (int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC}) {
    EXPECT_ERRNO(EROFS, store.Open(kMe, file, flags));
    EXPECT_ERRNO(EROFS, store.WouldOpen(kMe, file, flags));
  }
  EXPECT_ERRNO(EROFS, store.Create(kMe, root, "x", O_RDWR, 0644));
  EXPECT_ERRNO(EROFS, store.MakeDirectory(kMe, root, "x", 0755));
  EXPECT_ERRNO(EROFS, store.MakeNode(kMe, root, "x", S_IFIFO | 0644, 0));
  EXPECT_ERRNO(EROFS, store.Symlink(kMe, root, "x", "y"));
  EXPECT_ERRNO(EROFS, store.Link(kMe, file, root, "x"));
  EXPECT_ERRNO(EROFS, store.Unlink(kMe, root, "file"));
  EXPECT_ERRNO(EROFS, store.RemoveDirectory(kMe, root, "dir"));
  EXPECT_ERRNO(EROFS, store.Rename(kMe, root, "file", root, "x", 0));
  EXPECT_ERRNO(EROFS, store.SetAttr(kMe, file, {.mask = attr_mask::kMode, .mode = 0}));
  EXPECT_ERRNO(EROFS, store.SetXattr(kMe, file, "user.x", "1", 0));
  EXPECT_ERRNO(EROFS, store.RemoveXattr(kMe, file, "user.x"));
  EXPECT_ERRNO(EROFS, store.Access(kMe, file, W_OK));
}

}  // namespace
}  // namespace baton::store
