// The state file (issue 4, item 3): what is refused at the start, and how it says so; copies while it is in
// use, and what it means to start from one (rules T4, T7, T9).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "base/version.h"
#include "server/state/sqlite_state_store.h"
#include "support/temp_dir.h"

namespace baton {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using namespace std::chrono_literals;

constexpr std::uint64_t kSkipped = 1ull << 32;

Guid GuidNumber(std::uint8_t number) {
  Guid guid{};
  guid.data[0] = 0xbb, guid.data[15] = number;
  return guid;
}

InstanceRecord RecordNumber(std::uint8_t number, std::uint64_t epoch) {
  return {GuidNumber(number), Epoch{epoch}, 1000, std::nullopt, "node-a"};
}

SessionRecord SessionNumber(std::uint64_t number, const std::string& node) {
  return {{SessionId{number}, node, "boot-" + node, "machine", "/mnt"}, {number, 7}, true};
}

class StateFile : public testing::Test {
 protected:
  std::filesystem::path Dir() const { return dir_.Path() / "state"; }
  std::filesystem::path File() const { return Dir() / "batond.db"; }
  std::filesystem::path Backup() const { return dir_.Path() / "backup"; }

  std::unique_ptr<SqliteStateStore> Opened() const {
    auto opened = SqliteStateStore::Open(Dir());
    EXPECT_TRUE(opened) << opened.error();
    return opened ? std::move(*opened) : nullptr;
  }
  std::string WhyNot() const {
    const auto opened = SqliteStateStore::Open(Dir());
    return opened ? "opened" : opened.error();
  }
  // One that several pages are filled with, and nothing is left in a log.
  void Fill() const {
    const auto store = Opened();
    std::vector<Commit> commits;
    for (int number = 0; number < 200; ++number)
      commits.push_back(
          {RecordNumber(static_cast<std::uint8_t>(number), 1u + static_cast<unsigned>(number)), {}, {}});
    EXPECT_TRUE(store->SaveAll(commits, WallNow(), {}));
  }
  std::string Content() const {
    std::ifstream file(File(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Replace(const std::string& content) const {
    for (const char* of : {"-wal", "-shm"}) std::filesystem::remove(File().string() + of);
    std::ofstream(File(), std::ios::binary | std::ios::trunc) << content;
  }
  void Execute(const char* sql) const {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(File().c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  // Every file of the state directory makes room for the backup.
  void PutBack() const {
    std::filesystem::remove_all(Dir());
    std::filesystem::create_directory(Dir());
    ASSERT_EQ(::chmod(Dir().c_str(), 0700), 0);
    std::filesystem::copy_file(Backup(), File());
  }

  test::TempDir dir_;
};

TEST_F(StateFile, IsRefusedAtEveryLengthThatIsTooShort) {
  Fill();
  const std::string whole = Content();
  ASSERT_GT(whole.size(), 8u * 4096);
  std::vector<std::size_t> sizes{0, 1, 15, 16, 99, 100, 101, 511, 512, 1024, 4095, 4096, 4097};
  for (std::size_t size = 8192; size < whole.size(); size += 4096)
    sizes.insert(sizes.end(), {size - 1, size, size + 1});
  sizes.push_back(whole.size() - 1);
  for (const std::size_t size : sizes) {
    Replace(whole.substr(0, size));
    EXPECT_THAT(WhyNot(),
                AllOf(HasSubstr(File().string()), HasSubstr("damaged"), HasSubstr("put back a backup")))
        << size;
    EXPECT_TRUE(whole.substr(0, size) == Content()) << "and left as it is, at " << size;
  }
  Replace(whole);
  EXPECT_EQ(WhyNot(), "opened");
}

// The next epoch would be smaller than those before (rule T7).
TEST_F(StateFile, WithEpochsOutOfRangeIsRefused) {
  for (const char* change : {"UPDATE instances SET epoch = -1 WHERE epoch = 1",
                             "DELETE FROM instances; UPDATE server SET last_epoch = -1",
                             "DELETE FROM instances; UPDATE server SET last_epoch = 9223372036854775807"}) {
    std::filesystem::remove_all(Dir());
    Fill();
    Execute(change);
    EXPECT_THAT(WhyNot(), AllOf(HasSubstr("damaged"), HasSubstr("epochs are out of range"))) << change;
  }
}

// There is no check sum: a number may be another one and nobody notices. But nothing that is noticed is
// started from, nothing crashes, and what is opened can be read and written.
TEST_F(StateFile, WithFlippedBitsIsRefusedOrUsable) {
  Fill();
  const std::string whole = Content();
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string flipped = whole;
    const std::size_t among = round % 3 == 0 ? 100 : whole.size();  // often in the header
    flipped[random() % among] ^= static_cast<char>(1u << random() % 8);
    Replace(flipped);
    auto opened = SqliteStateStore::Open(Dir());
    if (!opened) {
      ++refused;
      EXPECT_THAT(opened.error(), HasSubstr(File().string()));
      EXPECT_THAT(opened.error(), AnyOf(HasSubstr("damaged"), HasSubstr("not a state file of batond"),
                                        HasSubstr("newer batond"), HasSubstr("is a backup"),
                                        HasSubstr("cannot read the state file")));
      continue;
    }
    EXPECT_TRUE((*opened)->Load());
    EXPECT_TRUE((*opened)->LoadServerKey());
    EXPECT_TRUE((*opened)->LoadSessions());
  }
  EXPECT_GT(refused, 30);
}

TEST_F(StateFile, IsRefusedWhenItIsAnotherPrograms) {
  Fill();
  Execute("PRAGMA application_id=1234");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("is not a state file of batond"), HasSubstr("--state-dir")));
}

TEST_F(StateFile, OfANewerServerNamesThatServer) {
  Fill();
  Execute("UPDATE used_by SET version='9.8.7'; PRAGMA user_version=77");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("newer batond"), HasSubstr("schema 77"), HasSubstr("batond 9.8.7"),
                              HasSubstr(Version())));
  Execute("DROP TABLE used_by");
  EXPECT_THAT(WhyNot(), HasSubstr("of an unknown version"));
}

TEST_F(StateFile, IsRefusedWhenItsSchemaIsNotWhatItSays) {
  Fill();
  Execute("PRAGMA user_version=0");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("damaged"), HasSubstr("schema is 0")));
  Execute("PRAGMA user_version=1");
  EXPECT_THAT(WhyNot(), HasSubstr("damaged"));
  Execute("PRAGMA user_version=2; DROP TABLE fences");
  EXPECT_THAT(WhyNot(), HasSubstr("damaged"));
}

TEST_F(StateFile, IsRefusedWhenItKnowsEpochsThatItHasNotGiven) {
  Fill();
  Execute("UPDATE server SET last_epoch=3");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("damaged"), HasSubstr("epochs")));
}

TEST_F(StateFile, IsRefusedWhenOnlyItsLogIsLeft) {
  Fill();
  std::filesystem::rename(File(), dir_.Path() / "elsewhere");
  std::ofstream(File().string() + "-wal") << "frames";
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("it is gone"), HasSubstr("batond.db-wal")));
  EXPECT_FALSE(std::filesystem::exists(File()));
}

TEST_F(StateFile, ThatWasBeingMadeWhenItsServerDiedIsMadeAgain) {
  std::filesystem::create_directories(Dir());
  ASSERT_EQ(::chmod(Dir().c_str(), 0700), 0);
  std::ofstream(File().string() + ".new") << "half";
  EXPECT_EQ(WhyNot(), "opened");
  EXPECT_FALSE(std::filesystem::exists(File().string() + ".new"));
}

// --- Backups ---

TEST_F(StateFile, ABackupIsCompleteAndNobodyElses) {
  const auto store = Opened();
  ASSERT_TRUE(store->Save(RecordNumber(1, 5)));
  ASSERT_TRUE(store->BackUp(Backup(), false));
  struct stat attr {};
  ASSERT_EQ(::stat(Backup().c_str(), &attr), 0);
  EXPECT_EQ(0600u, attr.st_mode & 07777);
  const auto again = store->BackUp(Backup(), false);
  ASSERT_FALSE(again);
  EXPECT_EQ(EEXIST, again.error().first);
  EXPECT_THAT(again.error().second, HasSubstr("--force"));
  ASSERT_TRUE(store->Save(RecordNumber(2, 6)));
  ASSERT_TRUE(store->BackUp(Backup(), true));
  EXPECT_EQ(1 + 1, std::distance(std::filesystem::directory_iterator(dir_.Path()), {}))
      << "nothing is left beside it";
  PutBack();
  EXPECT_EQ(2u, Opened()->Load()->size());
}

TEST_F(StateFile, ABackupThatCannotBeWrittenLeavesNothing) {
  const auto store = Opened();
  const auto nowhere = store->BackUp(dir_.Path() / "absent" / "backup", false);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(ENOENT, nowhere.error().first);
  EXPECT_EQ(EINVAL, store->BackUp("relative", false).error().first);
  std::filesystem::create_directory(Backup());
  EXPECT_FALSE(store->BackUp(Backup(), true));
  EXPECT_EQ(2, std::distance(std::filesystem::directory_iterator(dir_.Path()), {}));
}

TEST_F(StateFile, AServerThatStartsFromABackupBelongsToNoneOfTheLivesSince) {
  ServerKey key;
  {
    const auto store = Opened();
    key = *store->LoadServerKey();
    ASSERT_TRUE(store->SaveSession(SessionNumber(1, "a"), {}));
    ASSERT_TRUE(store->SaveSession(SessionNumber(2, "b"), {}));
    ASSERT_TRUE(store->Save(RecordNumber(1, 3)));
    ASSERT_TRUE(store->Save(RecordNumber(2, 4)));
    ASSERT_TRUE(store->SaveUse({SessionId{1}, GuidNumber(1), Epoch{3}}));
    ASSERT_TRUE(store->SaveUse({SessionId{2}, GuidNumber(2), Epoch{4}}));
    ASSERT_TRUE(store->BackUp(Backup(), false));
    ASSERT_TRUE(store->Save(RecordNumber(1, 900)));  // since, instance 1 was taken over
  }
  PutBack();
  for (int start = 0; start < 2; ++start) {  // what the first makes of it stays
    const auto store = Opened();
    EXPECT_EQ(key, *store->LoadServerKey()) << "references stay good";
    EXPECT_THAT(*store->LoadSessions(), IsEmpty());
    const auto records = *store->Load();
    ASSERT_EQ(2u, records.size());
    EXPECT_EQ(kSkipped + 4 + 1, Raw(records[0].epoch));
    EXPECT_EQ(kSkipped + 4 + 2, Raw(records[1].epoch));
    EXPECT_EQ(records[1].epoch, *store->LastEpoch());
    const auto fences = *store->LoadFences();
    ASSERT_EQ(2u, fences.size());
    for (const FenceRecord& fence : fences) {
      EXPECT_EQ(kSkipped + 4, Raw(fence.epoch)) << "all that anybody can have been given";
      EXPECT_EQ("boot-" + fence.node, fence.boot);
      EXPECT_FALSE(fence.acknowledged);
    }
    RecoverTimes times{"boot", Instant(1s), 5s, 10s};
    const auto recovered = Recover(*store, times);
    ASSERT_TRUE(recovered);
    EXPECT_EQ(2u, recovered->survivors.reserved.size());
    for (const auto& [guid, until] : recovered->survivors.reserved) EXPECT_EQ(Instant(6s), until);
  }
}

TEST_F(StateFile, ABackupBesideTheLogOfAnotherFileIsRefused) {
  const auto store = Opened();
  ASSERT_TRUE(store->Save(RecordNumber(1, 3)));
  ASSERT_TRUE(store->BackUp(Backup(), false));
  PutBack();
  std::ofstream(File().string() + "-wal") << "frames";
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("log of another file"), HasSubstr("move")));
}

TEST_F(StateFile, IsBackedUpWhileItChanges) {
  const auto store = Opened();
  std::atomic<bool> ends{false};
  std::atomic<std::uint64_t> saved{0};
  std::thread writer([&] {
    for (std::uint64_t epoch = 1; !ends; ++epoch) {  // both in one commit
      const std::vector<Commit> both{{RecordNumber(1, epoch), {}, {}}, {RecordNumber(2, epoch), {}, {}}};
      if (store->SaveAll(both, WallNow(), {})) saved = epoch;
    }
  });
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t before = saved;
    ASSERT_TRUE(store->BackUp(Backup(), true));
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(Backup().c_str(), &db), SQLITE_OK);
    std::vector<std::uint64_t> epochs;
    sqlite3_exec(
        db, "SELECT epoch FROM instances",
        [](void* to, int, char** values, char**) {
          static_cast<std::vector<std::uint64_t>*>(to)->push_back(std::stoull(values[0]));
          return 0;
        },
        &epochs, nullptr);
    sqlite3_close(db);
    if (before == 0) continue;
    ASSERT_EQ(2u, epochs.size());
    EXPECT_EQ(epochs[0], epochs[1]);
    EXPECT_GE(epochs[0], before);
  }
  ends = true;
  writer.join();
  EXPECT_GT(saved, 0u);
}

}  // namespace
}  // namespace baton
