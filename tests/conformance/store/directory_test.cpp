// Reading directories.
#include <fcntl.h>

#include <map>
#include <set>

#include "base/unique_fd.h"
#include "conformance/store/bench.h"

namespace baton::store {
namespace {

CONFORMANCE(AHundredThousandEntriesComeOnceEach) {
  constexpr int kEntries = 100'000;
  bench.PutDirectory("big");
  {
    const UniqueFd big(::open((bench.Dir() / "big").c_str(), O_RDONLY | O_DIRECTORY));
    for (int i = 0; i < kEntries; ++i) {
      ASSERT_EQ(0, ::mknodat(big.Get(), ("entry" + std::to_string(i)).c_str(), S_IFREG | 0644, 0));
    }
  }
  const FileRef big = bench.At("big").ref;
  std::set<std::string> names;
  std::uint64_t cookie = 0;
  std::size_t count = 0;
  for (;;) {
    const auto page = bench.Store().ReadDirectory(kMe, big, cookie, 128 * 1024, false);
    ASSERT_OK(page);
    if (page->entries.empty()) break;
    for (const auto& listed : page->entries) {
      names.insert(listed.entry.name);
      cookie = listed.entry.cookie;
      EXPECT_FALSE(listed.node);
    }
    count += page->entries.size();
  }
  EXPECT_EQ(kEntries + 2u, count) << "and the two dots";
  EXPECT_EQ(count, names.size());
}

CONFORMANCE(EntriesCarryTheirNodes) {
  bench.PutDirectory("dir");
  for (int i = 0; i < 50; ++i)
    bench.Put("dir/f" + std::to_string(i), std::string(static_cast<std::size_t>(i), 'x'));
  bench.PutDirectory("dir/sub");
  auto& store = bench.Store();
  std::map<std::string, ListedEntry> all;
  std::uint64_t cookie = 0;
  for (;;) {
    const auto page = store.ReadDirectory(kMe, bench.At("dir").ref, cookie, 1000, true);
    ASSERT_OK(page);
    if (page->entries.empty()) break;
    EXPECT_LE(page->entries.size(), 4u);
    cookie = page->entries.back().entry.cookie;
    for (const auto& listed : page->entries) all.emplace(listed.entry.name, listed);
  }
  ASSERT_EQ(53u, all.size());
  EXPECT_FALSE(all.at(".").node);
  EXPECT_FALSE(all.at("..").node);
  EXPECT_EQ(std::uint32_t{S_IFDIR}, all.at("sub").entry.type);
  const Node f7 = bench.At("dir/f7");
  EXPECT_EQ(f7.ref, all.at("f7").node->ref);
  EXPECT_EQ(7u, all.at("f7").node->attr.size);
  EXPECT_EQ(f7.attr.ino, all.at("f7").entry.ino);
}

CONFORMANCE(TheRootHidesWhatIsAbove) {
  const auto page = bench.Store().ReadDirectory(kMe, bench.Root(), 0, 65536, false);
  ASSERT_OK(page);
  ASSERT_EQ(2u, page->entries.size());
  for (const auto& listed : page->entries) EXPECT_EQ(bench.Store().Root().attr.ino, listed.entry.ino);
}

CONFORMANCE(AnEntryAlwaysFits) {
  bench.Put("file", "");
  std::uint64_t cookie = 0;
  std::set<std::string> names;
  for (;;) {
    const auto page = bench.Store().ReadDirectory(kMe, bench.Root(), cookie, 0, true);
    ASSERT_OK(page);
    if (page->entries.empty()) break;
    ASSERT_EQ(1u, page->entries.size());
    names.insert(page->entries[0].entry.name);
    cookie = page->entries[0].entry.cookie;
  }
  EXPECT_EQ((std::set<std::string>{".", "..", "file"}), names);
  EXPECT_ERRNO(EINVAL, bench.Store().ReadDirectory(kMe, bench.Root(), ~std::uint64_t{0}, 100, false));
  EXPECT_ERRNO(ENOTDIR, bench.Store().ReadDirectory(kMe, bench.At("file").ref, 0, 100, false));
}

CONFORMANCE(ListingNeedsReadAndNodesNeedSearch) {
  bench.PutDirectory("dir");
  bench.Put("dir/file", "");
  const FileRef dir = bench.At("dir").ref;
  ASSERT_EQ(0, ::chmod((bench.Dir() / "dir").c_str(), 0300));
  EXPECT_ERRNO(EACCES, bench.Store().ReadDirectory(kMe, dir, 0, 65536, true));
  ASSERT_EQ(0, ::chmod((bench.Dir() / "dir").c_str(), 0400));
  const auto page = bench.Store().ReadDirectory(kMe, dir, 0, 65536, true);
  ASSERT_EQ(0, ::chmod((bench.Dir() / "dir").c_str(), 0700));
  ASSERT_OK(page);
  ASSERT_EQ(3u, page->entries.size());
  for (const auto& listed : page->entries) EXPECT_FALSE(listed.node) << listed.entry.name;
}

}  // namespace
}  // namespace baton::store
