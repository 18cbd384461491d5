// Open files: reading, writing, appending, what stays when the name goes.
#include <algorithm>
#include <set>
#include <thread>

#include "conformance/store/bench.h"

namespace baton::store {
namespace {

CONFORMANCE(ReadsAndWritesAtOffsets) {
  auto& store = bench.Store();
  const auto created = store.Create(kMe, bench.Root(), "file", O_RDWR, 0644);
  ASSERT_OK(created);
  StoreFile& file = *created->file;
  EXPECT_EQ(5u, file.Write(Bytes("hello"), 3).value());
  EXPECT_EQ(std::string("\0\0\0hello", 8), ReadAll(file));
  ASSERT_OK(file.Truncate(5));
  EXPECT_EQ(5u, file.GetAttr()->size);
  ASSERT_OK(file.Sync(true));
  ASSERT_OK(file.Sync(false));
  ASSERT_OK(store.SyncDirectory(kMe, bench.Root(), false));
  std::array<std::byte, 8> buffer;
  EXPECT_EQ(0u, file.Read(buffer, 100).value());
  EXPECT_EQ(2u, file.Read(buffer, 3).value());
  EXPECT_ERRNO(EINVAL, file.Read(buffer, ~std::uint64_t{0}));
  EXPECT_ERRNO(EINVAL, file.Write(buffer, ~std::uint64_t{0}));
  EXPECT_ERRNO(EINVAL, file.Truncate(~std::uint64_t{0}));
}

CONFORMANCE(AccessModeIsTheKernels) {
  bench.Put("file", "text");
  auto& store = bench.Store();
  const FileRef ref = bench.At("file").ref;
  std::array<std::byte, 4> buffer{};
  const auto reader = store.Open(kMe, ref, O_RDONLY);
  const auto writer = store.Open(kMe, ref, O_WRONLY);
  ASSERT_OK(reader);
  ASSERT_OK(writer);
  EXPECT_ERRNO(EBADF, (*reader)->Write(buffer, 0));
  EXPECT_ERRNO(EBADF, (*reader)->WriteAppend(buffer));
  EXPECT_ERRNO(EBADF, (*writer)->Read(buffer, 0));
  EXPECT_EQ(4u, (*writer)->Write(buffer, 0).value());
  ASSERT_OK(store.Open(kMe, ref, O_WRONLY | O_TRUNC));
  EXPECT_EQ(0u, store.GetAttr(kMe, ref)->size);
}

CONFORMANCE(ReadNoWaitGivesAllOrNothing) {
  auto& store = bench.Store();
  const auto created = store.Create(kMe, bench.Root(), "file", O_RDWR, 0644);
  ASSERT_OK(created);
  const std::string text(20000, 'x');
  ASSERT_EQ(text.size(), created->file->Write(Bytes(text), 0).value());
  std::string got(30000, '\0');
  const auto count = created->file->ReadNoWait(std::as_writable_bytes(std::span(got)), 0);
  ASSERT_OK(count) << "just written, so in memory";
  EXPECT_EQ(text, got.substr(0, *count));
  EXPECT_EQ(0u, created->file->ReadNoWait(std::as_writable_bytes(std::span(got)), 20000).value());
}

CONFORMANCE(AppendsOfManyFilesNeitherOverlapNorLeaveGaps) {
  auto& store = bench.Store();
  const auto created = store.Create(kMe, bench.Root(), "log", O_RDWR, 0644);
  ASSERT_OK(created);
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  constexpr std::size_t kSize = 100;
  std::vector<std::set<std::uint64_t>> offsets(kThreads);
  std::vector<std::thread> threads;
  const auto shared = store.Open(kMe, created->node.ref, O_WRONLY).value();
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // Two threads share one open file, the others have their own.
      const auto file = t < 2 ? shared : store.Open(kMe, created->node.ref, O_WRONLY).value();
      const std::string text(kSize, static_cast<char>('a' + t));
      for (int i = 0; i < kEach; ++i) {
        const auto at = file->WriteAppend(Bytes(text));
        ASSERT_TRUE(at && at->count == kSize);
        offsets[t].insert(at->offset);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::string all(kThreads * kEach * kSize + 1, '\0');
  ASSERT_EQ(all.size() - 1, created->file->Read(std::as_writable_bytes(std::span(all)), 0).value());
  for (int t = 0; t < kThreads; ++t) {
    EXPECT_EQ(static_cast<std::size_t>(kEach), offsets[t].size());
    for (const std::uint64_t offset : offsets[t]) {
      EXPECT_EQ(std::string(kSize, static_cast<char>('a' + t)), all.substr(offset, kSize));
    }
  }
}

CONFORMANCE(AnOpenFileOutlivesItsName) {
  auto& store = bench.Store();
  auto created = store.Create(kMe, bench.Root(), "file", O_RDWR, 0644);
  ASSERT_OK(created);
  ASSERT_OK(store.Unlink(kMe, bench.Root(), "file"));
  EXPECT_EQ(4u, created->file->Write(Bytes("text"), 0).value());
  EXPECT_EQ("text", ReadAll(*created->file));
  EXPECT_EQ(0u, created->file->GetAttr()->nlink);
  const auto attr = store.GetAttr(kMe, created->node.ref);
  ASSERT_OK(attr) << "by its reference too, while it is open";
  EXPECT_EQ(4u, attr->size);
  created->file.reset();
  EXPECT_ERRNO(ESTALE, store.GetAttr(kMe, created->node.ref));
}

CONFORMANCE(AnOpenFileKeepsItsRights) {
  auto& store = bench.Store();
  const auto created = store.Create(kMe, bench.Root(), "file", O_RDWR, 0644);
  ASSERT_OK(created);
  AttrChange none{.mask = attr_mask::kMode, .mode = 0};
  ASSERT_OK(store.SetAttr(kMe, created->node.ref, none));
  EXPECT_EQ(4u, created->file->Write(Bytes("text"), 0).value());
  const auto cut = created->file->SetAttr(kMe, {.mask = attr_mask::kSize, .size = 2});
  ASSERT_OK(cut) << "as ftruncate";
  EXPECT_EQ(2u, cut->size);
  EXPECT_ERRNO(EACCES, store.SetAttr(kMe, created->node.ref, {.mask = attr_mask::kSize, .size = 1}))
      << "as truncate";
}

}  // namespace
}  // namespace baton::store
