// Names: every call that makes, moves or removes one, with its errors.
#include <linux/fs.h>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

CONFORMANCE(LookupFindsWhatIsThereAndNothingElse) {
  bench.Put("file", "text", 0640);
  auto& store = bench.Store();
  const auto node = store.Lookup(kMe, bench.Root(), "file");
  ASSERT_OK(node);
  struct stat expected;
  ASSERT_EQ(0, ::stat((bench.Dir() / "file").c_str(), &expected));
  EXPECT_EQ(expected.st_ino, node->attr.ino);
  EXPECT_EQ(expected.st_mode, node->attr.mode);
  EXPECT_EQ(4u, node->attr.size);
  EXPECT_EQ(kUser, node->attr.uid);
  EXPECT_EQ(expected.st_mtim.tv_nsec, node->attr.mtime.nsec);
  EXPECT_EQ(node->key, store.KeyOf(node->ref).value());
  EXPECT_ERRNO(ENOENT, store.Lookup(kMe, bench.Root(), "absent"));
  EXPECT_ERRNO(ENOENT, store.Lookup(kMe, bench.Root(), ""));
  EXPECT_ERRNO(EINVAL, store.Lookup(kMe, bench.Root(), "a/b"));
  EXPECT_ERRNO(EINVAL, store.Lookup(kMe, bench.Root(), std::string_view("a\0b", 3)));
  EXPECT_ERRNO(ENAMETOOLONG, store.Lookup(kMe, bench.Root(), std::string(256, 'n')));
  EXPECT_ERRNO(ENOENT, store.Lookup(kMe, bench.Root(), std::string(255, 'n')));
  EXPECT_ERRNO(ENOTDIR, store.Lookup(kMe, node->ref, "x"));
}

CONFORMANCE(DotsStayInside) {
  bench.PutDirectory("a");
  bench.PutDirectory("a/b");
  auto& store = bench.Store();
  const Node root = store.Root();
  const Node a = bench.At("a");
  const Node b = bench.At("a/b");
  EXPECT_EQ(root.key, store.Lookup(kMe, root.ref, "..")->key);
  EXPECT_EQ(root.ref, store.Lookup(kMe, root.ref, "..")->ref);
  EXPECT_EQ(root.key, store.Lookup(kMe, root.ref, ".")->key);
  EXPECT_EQ(b.key, store.Lookup(kMe, b.ref, ".")->key);
  EXPECT_EQ(a.key, store.Lookup(kMe, b.ref, "..")->key);
  EXPECT_EQ(root.key, store.Lookup(kMe, a.ref, "..")->key);
}

CONFORMANCE(AReferenceSurvivesRenameAndAReopenedStore) {
  bench.PutDirectory("a");
  bench.Put("a/file", "text");
  auto& store = bench.Store();
  const Node file = bench.At("a/file");
  const FileRef a = bench.At("a").ref;
  ASSERT_OK(store.Rename(kMe, a, "file", bench.Root(), "moved", 0));
  ASSERT_OK(store.Rename(kMe, bench.Root(), "a", bench.Root(), "b", 0));
  EXPECT_EQ(file.attr.ino, store.GetAttr(kMe, file.ref)->ino);
  EXPECT_EQ(file.key, bench.At("moved").key);
  EXPECT_ERRNO(0, store.GetAttr(kMe, a));
  bench.Reopen();
  EXPECT_EQ(file.ref, bench.At("moved").ref);
  EXPECT_EQ(file.key, bench.At("moved").key);
  EXPECT_ERRNO(0, bench.Store().GetAttr(kMe, file.ref));
}

CONFORMANCE(AHardLinkIsTheSameFile) {
  bench.Put("one", "text");
  auto& store = bench.Store();
  const Node one = bench.At("one");
  const auto two = store.Link(kMe, one.ref, bench.Root(), "two");
  ASSERT_OK(two);
  EXPECT_EQ(one.key, two->key);
  EXPECT_EQ(one.ref, two->ref);
  EXPECT_EQ(2u, two->attr.nlink);
  EXPECT_ERRNO(EEXIST, store.Link(kMe, one.ref, bench.Root(), "two"));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "two"));
  EXPECT_EQ(1u, store.GetAttr(kMe, one.ref)->nlink);
  bench.PutDirectory("dir");
  EXPECT_ERRNO(EPERM, store.Link(kMe, bench.At("dir").ref, bench.Root(), "dir2"));
}

CONFORMANCE(AGoneFileIsStale) {
  bench.Put("file", "text");
  bench.PutDirectory("dir");
  auto& store = bench.Store();
  const FileRef file = bench.At("file").ref;
  const FileRef dir = bench.At("dir").ref;
  ASSERT_OK(store.GetAttr(kMe, dir));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "file"));
  ASSERT_OK(store.RemoveDirectory(kMe, bench.Root(), "dir"));
  EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, file));
  EXPECT_ERRNO(ESTALE, store.Open(kMe, file, O_RDONLY));
  EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, dir));
  EXPECT_ERRNO(ESTALE, store.Lookup(kMe, dir, "x"));
  bench.Put("file", "new");
  EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, file));
}

CONFORMANCE(ADirectoryRemovedPastTheStoreIsStale) {
  bench.PutDirectory("dir");
  auto& store = bench.Store();
  const FileRef dir = bench.At("dir").ref;
  ASSERT_OK(store.ReadDirectory(kMe, dir, 0, 4096, false));
  ASSERT_EQ(0, ::rmdir((bench.Dir() / "dir").c_str()));
  EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, dir));
  EXPECT_NE(0, ErrorOf(store.MakeDirectory(kMe, dir, "x", 0755)));
}

CONFORMANCE(MakesEveryKindOfNode) {
  auto& store = bench.Store();
  ::umask(077);
  const auto dir = store.MakeDirectory(kMe, bench.Root(), "dir", 0777);
  const auto file = store.MakeNode(kMe, bench.Root(), "file", S_IFREG | 0666, 0);
  const auto fifo = store.MakeNode(kMe, bench.Root(), "fifo", S_IFIFO | 0622, 0);
  const auto sock = store.MakeNode(kMe, bench.Root(), "sock", S_IFSOCK | 0600, 0);
  const auto link = store.Symlink(kMe, bench.Root(), "link", "/etc/passwd");
  EXPECT_EQ(077u, ::umask(022)) << "the process's own umask is as it was";
  ASSERT_OK(dir);
  ASSERT_OK(file);
  ASSERT_OK(fifo);
  ASSERT_OK(sock);
  ASSERT_OK(link);
  EXPECT_EQ(S_IFDIR | 0777u, dir->attr.mode);
  EXPECT_EQ(S_IFREG | 0666u, file->attr.mode);
  EXPECT_EQ(S_IFIFO | 0622u, fifo->attr.mode);
  EXPECT_EQ(S_IFSOCK | 0600u, sock->attr.mode);
  EXPECT_TRUE(S_ISLNK(link->attr.mode));
  for (const auto* node : {&dir, &file, &fifo, &sock, &link}) EXPECT_EQ(kUser, (*node)->attr.uid);
  EXPECT_EQ("/etc/passwd", store.ReadLink(kMe, link->ref).value());
  EXPECT_ERRNO(EINVAL, store.ReadLink(kMe, file->ref));
  EXPECT_ERRNO(EINVAL, store.ReadLink(kMe, dir->ref));
  EXPECT_ERRNO(EPERM, store.MakeNode(kMe, bench.Root(), "dev", S_IFCHR | 0600, 0x103));
  EXPECT_ERRNO(EPERM, store.MakeNode(kMe, bench.Root(), "d2", S_IFDIR | 0600, 0));
  EXPECT_ERRNO(ENOENT, store.Symlink(kMe, bench.Root(), "l2", ""));
  EXPECT_ERRNO(ENAMETOOLONG, store.Symlink(kMe, bench.Root(), "l2", std::string(4096, 'x')));
  EXPECT_ERRNO(ENOTDIR, store.Lookup(kMe, link->ref, "x"));
  EXPECT_ERRNO(ENXIO, store.Open(kMe, fifo->ref, O_RDONLY));
  EXPECT_ERRNO(ENXIO, store.Open(kMe, sock->ref, O_RDWR));
  EXPECT_ERRNO(ELOOP, store.Open(kMe, link->ref, O_RDONLY));
  EXPECT_ERRNO(EISDIR, store.Open(kMe, dir->ref, O_RDONLY));
}

CONFORMANCE(RemovingHasTheKernelsErrors) {
  bench.PutDirectory("dir");
  bench.Put("dir/file", "");
  auto& store = bench.Store();
  const FileRef root = bench.Root();
  EXPECT_ERRNO(EISDIR, store.Unlink(kMe, root, "dir"));
  EXPECT_ERRNO(ENOTDIR, store.RemoveDirectory(kMe, bench.At("dir").ref, "file"));
  EXPECT_ERRNO(ENOTEMPTY, store.RemoveDirectory(kMe, root, "dir"));
  EXPECT_ERRNO(ENOENT, store.Unlink(kMe, root, "absent"));
  EXPECT_ERRNO(ENOENT, store.RemoveDirectory(kMe, root, "absent"));
  EXPECT_ERRNO(EINVAL, store.RemoveDirectory(kMe, root, "."));
  EXPECT_ERRNO(ENOTEMPTY, store.RemoveDirectory(kMe, bench.At("dir").ref, ".."));
  EXPECT_ERRNO(EISDIR, store.Unlink(kMe, root, ".."));
  EXPECT_ERRNO(EEXIST, store.MakeDirectory(kMe, root, "..", 0755));
  EXPECT_ERRNO(EBUSY, store.Rename(kMe, root, "..", root, "x", 0));
  ASSERT_OK(store.Unlink(kMe, bench.At("dir").ref, "file"));
  ASSERT_OK(store.RemoveDirectory(kMe, root, "dir"));
}

CONFORMANCE(TellsOfADirectoryThatHasLostItsName) {
  for (const char* name : {"removed", "replaced", "new"}) bench.PutDirectory(name);
  bench.Put("file", "");
  auto& store = bench.Store();
  const FileRef root = bench.Root();
  const Node old = bench.At("replaced"), gone = bench.At("removed");
  const auto removed = store.RemoveDirectory(kMe, root, "removed");
  ASSERT_OK(removed);
  EXPECT_EQ(gone.ref, removed->ref);
  EXPECT_EQ(0u, removed->attr.nlink);
  const auto replaced = store.Rename(kMe, root, "new", root, "replaced", 0);
  ASSERT_OK(replaced);
  EXPECT_EQ(old.ref, replaced->ref);
  EXPECT_EQ(0u, replaced->attr.nlink);
  const auto moved = store.Rename(kMe, root, "replaced", root, "other", 0);
  ASSERT_OK(moved);
  EXPECT_TRUE(moved->ref.Empty());
  bench.PutDirectory("third");
  const auto exchanged = store.Rename(kMe, root, "other", root, "third", RENAME_EXCHANGE);
  ASSERT_OK(exchanged);
  EXPECT_TRUE(exchanged->ref.Empty());
}

CONFORMANCE(AnOpenFileWhoseDirectoryGaveWayToALinkHasNoPolicy) {
  bench.PutDirectory("dir");
  bench.Put("dir/file", "");
  auto& store = bench.Store();
  const Node file = bench.At("dir/file");
  const auto open = store.Open(kMe, file.ref, O_RDONLY);
  ASSERT_OK(open);
  ASSERT_OK(store.Unlink(kMe, bench.At("dir").ref, "file"));
  ASSERT_OK(store.RemoveDirectory(kMe, bench.Root(), "dir"));
  ASSERT_OK(store.Symlink(kMe, bench.Root(), "dir", "dir"));
  const auto policy = store.PolicyOf(file.ref);
  ASSERT_OK(policy);
  EXPECT_FALSE(policy->instance);
}

CONFORMANCE(RenameObeysItsFlags) {
  bench.Put("a", "A");
  bench.Put("b", "B");
  bench.PutDirectory("dir");
  bench.PutDirectory("dir/sub");
  auto& store = bench.Store();
  const FileRef root = bench.Root();
  const Node a = bench.At("a");
  const Node b = bench.At("b");
  EXPECT_ERRNO(EEXIST, store.Rename(kMe, root, "a", root, "b", RENAME_NOREPLACE));
  EXPECT_ERRNO(ENOENT, store.Rename(kMe, root, "a", root, "absent", RENAME_EXCHANGE));
  EXPECT_ERRNO(EINVAL, store.Rename(kMe, root, "a", root, "b", RENAME_WHITEOUT));
  EXPECT_ERRNO(EINVAL, store.Rename(kMe, root, "a", root, "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
  ASSERT_OK(store.Rename(kMe, root, "a", root, "b", RENAME_EXCHANGE));
  EXPECT_EQ(a.key, bench.At("b").key);
  EXPECT_EQ(b.key, bench.At("a").key);
  ASSERT_OK(store.Rename(kMe, root, "a", root, "b", 0));
  EXPECT_EQ(b.key, bench.At("b").key);
  EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, a.ref));
  EXPECT_ERRNO(EINVAL, store.Rename(kMe, root, "dir", bench.At("dir/sub").ref, "x", 0));
  EXPECT_ERRNO(ENOTEMPTY, store.Rename(kMe, bench.At("dir").ref, "sub", root, "dir", 0));
  EXPECT_ERRNO(EISDIR, store.Rename(kMe, root, "b", root, "dir", 0));
  EXPECT_ERRNO(ENOTDIR, store.Rename(kMe, root, "dir", root, "b", 0));
}

CONFORMANCE(CreateIsAlwaysExclusive) {
  auto& store = bench.Store();
  const auto created = store.Create(kMe, bench.Root(), "file", O_RDWR | O_TRUNC, 0400);
  ASSERT_OK(created);
  EXPECT_EQ(S_IFREG | 0400u, created->node.attr.mode);
  EXPECT_EQ(created->node.key, created->file->Key());
  EXPECT_EQ(created->node.key, bench.At("file").key);
  EXPECT_EQ(4u, created->file->Write(Bytes("text"), 0).value())
      << "the creator may write whatever the mode says";
  EXPECT_ERRNO(EEXIST, store.Create(kMe, bench.Root(), "file", O_RDWR, 0600));
  ASSERT_OK(store.Symlink(kMe, bench.Root(), "link", "absent"));
  EXPECT_ERRNO(EEXIST, store.Create(kMe, bench.Root(), "link", O_RDWR, 0600));
}

TEST(AsUser, AFileRenamedBehindTheServerIsFoundByLookingAgain) {
  InChild([] {
    BecomeUser();
    StoreBench bench;
    bench.Put("file", "text");
    const Node file = bench.At("file");
    ASSERT_EQ(0, ::rename((bench.Dir() / "file").c_str(), (bench.Dir() / "moved").c_str()));
    EXPECT_ERRNO(ESTALE, bench.Store().GetAttr(kMe, file.ref));
    EXPECT_EQ(file.ref, bench.At("moved").ref);
    EXPECT_ERRNO(0, bench.Store().GetAttr(kMe, file.ref));
  });
}

TEST(AsUser, RemembersNoMoreNamesThanItMay) {
  InChild([] {
    BecomeUser();
    StoreBench bench({.remembered_names = 2});
    for (const char* name : {"a", "b", "c"}) bench.Put(name, "");
    const Node a = bench.At("a");
    bench.At("b");
    bench.At("c");
    EXPECT_ERRNO(ESTALE, bench.Store().GetAttr(kMe, a.ref));
    bench.At("a");
    EXPECT_ERRNO(0, bench.Store().GetAttr(kMe, a.ref));
  });
}

TEST(AsUser, ServesItsOwnUserOnly) {
  InChild([] {
    BecomeUser();
    StoreBench bench;
    bench.Put("file", "text", 0666);
    const FileRef file = bench.At("file").ref;
    for (const Credentials& who : {kRootUser, kThem}) {
      EXPECT_ERRNO(EACCES, bench.Store().Lookup(who, bench.Root(), "file"));
      EXPECT_ERRNO(EACCES, bench.Store().GetAttr(who, file));
      EXPECT_ERRNO(EACCES, bench.Store().Open(who, file, O_RDONLY));
      EXPECT_ERRNO(EACCES, bench.Store().WouldOpen(who, file, O_RDONLY));
    }
  });
}

TEST(AsRoot, ItIsToldWhichFilesAreGone) {
  StoreBench bench;
  auto& store = bench.Store();
  std::vector<std::pair<FileKey, bool>> gone;
  store.WhenGone([&](const FileKey& key, bool was_open) { gone.emplace_back(key, was_open); });
  const auto make = [&](const char* name) {
    bench.Put(name, "text");
    return bench.At(name).key;
  };
  const FileKey closed = make("closed"), linked = make("linked"), open = make("open"),
                replaced = make("replaced");
  bench.PutDirectory("directory");
  const FileKey directory = bench.At("directory").key;
  ASSERT_OK(store.Link(kMe, bench.At("linked").ref, bench.Root(), "link"));
  auto file = store.Open(kMe, bench.At("open").ref, O_RDWR);
  ASSERT_OK(file);

  ASSERT_OK(store.Unlink(kMe, bench.Root(), "closed"));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "linked"));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "open"));
  ASSERT_OK(store.RemoveDirectory(kMe, bench.Root(), "directory"));
  using Gone = std::vector<std::pair<FileKey, bool>>;
  EXPECT_EQ((Gone{{closed, false}, {directory, false}}), gone);
  file->reset();
  ASSERT_OK(store.Rename(kMe, bench.Root(), "link", bench.Root(), "replaced", 0));
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "replaced"));
  EXPECT_EQ((Gone{{closed, false}, {directory, false}, {open, true}, {replaced, false}, {linked, false}}),
            gone);
  store.WhenGone(nullptr);
}

}  // namespace
}  // namespace baton::store
