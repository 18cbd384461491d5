// Rules T4, T7, T12: what every StateStore promises, and what the SQLite one does with a directory that is
// not as it should be.
#include "server/state/state_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "server/state/faulty_state_store.h"
#include "server/state/sqlite_state_store.h"
#include "support/temp_dir.h"

namespace baton {

bool operator==(const InstanceRecord& a, const InstanceRecord& b) {
  return a.guid == b.guid && a.epoch == b.epoch && a.owner == b.owner && a.version == b.version &&
         a.node == b.node;
}
void PrintTo(const InstanceRecord& record, std::ostream* out) {
  *out << ToString(record.guid) << " epoch " << Raw(record.epoch) << " on " << record.node;
}

namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

Guid GuidNumber(std::uint64_t number) {
  Guid guid{};
  guid.data[0] = 0xaa;
  for (int at = 0; at < 8; ++at) guid.data[15 - at] = static_cast<std::uint8_t>(number >> (8 * at));
  return guid;
}

InstanceRecord RecordNumber(std::uint64_t number, std::uint64_t epoch = 1) {
  return {GuidNumber(number), Epoch{epoch}, 1000, std::nullopt, "node-a"};
}

std::vector<Commit> Commits(const std::vector<InstanceRecord>& records) {
  std::vector<Commit> commits;
  for (const InstanceRecord& record : records) commits.push_back({record, {}, {}});
  return commits;
}

WallTime Now() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

constexpr Instant kNow = 100h;  // of the server's machine since its boot

// --- Every store ---

enum class Kind { kMemory, kSqlite };

class EveryStateStore : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kMemory) {
      store_ = SqliteStateStore::OpenInMemory(kMost);
    } else {
      auto opened = SqliteStateStore::Open(dir_.Path() / "state", kMost);
      ASSERT_TRUE(opened) << opened.error();
      store_ = std::move(*opened);
    }
  }

  // For which instances something is reserved then.
  std::vector<Guid> Reserved(Instant at) {
    std::vector<Guid> guids;
    const auto reserved = *store_->LoadReserved("boot-1", at, 10h);
    for (const auto& [guid, until] : reserved) guids.push_back(guid);
    return guids;
  }

  static constexpr std::size_t kMost = 4;
  test::TempDir dir_;
  std::unique_ptr<StateStore> store_;
};

TEST_P(EveryStateStore, GivesBackWhatWasSaved) {
  InstanceRecord full{GuidNumber(2), Epoch{~0ull}, ~0u, InstanceVersion{~0ull, 7},
                      "n\xc3\xb6"
                      "de:/mnt/x"};
  ASSERT_TRUE(store_->Save(full));
  ASSERT_TRUE(store_->Save(RecordNumber(1)));
  EXPECT_THAT(*store_->Load(), ElementsAre(RecordNumber(1), full));
}

TEST_P(EveryStateStore, ReplacesARecordAndClearsItsVersion) {
  InstanceRecord record = RecordNumber(1);
  record.version = InstanceVersion{3, 4};
  ASSERT_TRUE(store_->Save(record));
  ASSERT_TRUE(store_->Save(RecordNumber(1, 9)));
  EXPECT_THAT(*store_->Load(), ElementsAre(RecordNumber(1, 9)));
}

TEST_P(EveryStateStore, SavesAllOrNothingAndRefusesOneTooMany) {
  ASSERT_TRUE(store_->SaveAll(Commits({RecordNumber(1), RecordNumber(2)}), Now(), kNow));
  const auto too_many = store_->SaveAll(
      Commits({RecordNumber(1, 5), RecordNumber(3), RecordNumber(4), RecordNumber(5)}), Now(), kNow);
  ASSERT_FALSE(too_many);
  EXPECT_EQ(too_many.error().value, ENOSPC);
  EXPECT_THAT(*store_->Load(), ElementsAre(RecordNumber(1), RecordNumber(2)));
  // The failed one did not use up the room; those that are known may go on; what is erased makes room.
  ASSERT_TRUE(store_->SaveAll(Commits({RecordNumber(3), RecordNumber(4)}), Now(), kNow));
  EXPECT_EQ(store_->Save(RecordNumber(5)).error().value, ENOSPC);
  EXPECT_TRUE(store_->Save(RecordNumber(4, 2)));
  ASSERT_TRUE(store_->Erase(GuidNumber(1)));
  EXPECT_TRUE(store_->Save(RecordNumber(5)));
  EXPECT_TRUE(store_->Erase(GuidNumber(77))) << "an unknown one is no error";
}

TEST_P(EveryStateStore, ErasesOnlyWhatWasNotUsed) {
  ASSERT_TRUE(store_->SaveAll(Commits({RecordNumber(1), RecordNumber(2), RecordNumber(3)}), Now(), kNow));
  EXPECT_TRUE(store_->EraseUnusedSince(Now() - 1h)->empty()) << "to save is to use";
  store_->Touch(GuidNumber(2), Now() + 2h);
  store_->Touch(GuidNumber(2), Now() - 2h);  // came late, is older
  store_->Touch(GuidNumber(99), Now());      // unknown
  EXPECT_THAT(*store_->EraseUnusedSince(Now() + 1h), ElementsAre(GuidNumber(1), GuidNumber(3)));
  EXPECT_THAT(*store_->Load(), ElementsAre(RecordNumber(2)));
  EXPECT_TRUE(store_->SaveAll(Commits({RecordNumber(5), RecordNumber(6), RecordNumber(7)}), Now(), kNow))
      << "their room is free";
}

SessionRecord SessionNumber(std::uint64_t number, std::string node, std::string boot,
                            std::string mount_point) {
  return {{SessionId{number}, std::move(node), std::move(boot), "machine", std::move(mount_point)},
          {number, 7},
          true};
}
std::vector<std::uint64_t> Numbers(const std::vector<SessionRecord>& sessions) {
  std::vector<std::uint64_t> numbers;
  for (const SessionRecord& session : sessions) numbers.push_back(Raw(session.begins.session));
  return numbers;
}

// Rule T7: what comes late replaces nothing newer; what is acknowledged stays so; another boot's fences go.
TEST_P(EveryStateStore, KeepsTheLastFenceOfEachInstanceOnANode) {
  const auto save = [&](const FenceRecord& fence) {
    const Commit commit{RecordNumber(1, static_cast<int>(Raw(fence.epoch)) + 1), {}, {fence}, {}};
    return store_->SaveAll(std::span(&commit, 1), Now(), kNow).has_value();
  };
  FenceRecord first{"node-a", "boot-1", GuidNumber(1), Epoch{4}, InstanceVersion{1, 2}, std::nullopt};
  const FenceRecord elsewhere{"node-b", "boot-9", GuidNumber(1), Epoch{3}, std::nullopt, std::nullopt};
  ASSERT_TRUE(save(first) && save(elsewhere));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(first, elsewhere));
  first.acknowledged = Instant(5);
  ASSERT_TRUE(store_->AcknowledgeFence(first));
  FenceRecord late = first;
  late.epoch = Epoch{2};
  late.acknowledged.reset();
  ASSERT_TRUE(save(late));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(first, elsewhere));
  FenceRecord next = late;
  next.epoch = Epoch{6};
  ASSERT_TRUE(save(next) && store_->AcknowledgeFence(first));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(next, elsewhere)) << "the acknowledgement was of an earlier one";
  ASSERT_TRUE(store_->SaveSession(SessionNumber(1, "node-a", "boot-2", "/a"), kNow));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(elsewhere));
  ASSERT_TRUE(save(next));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(elsewhere)) << "of a boot that is over";
}

// Rule D4.
TEST_P(EveryStateStore, KeepsSessionsUntilTheyEndOrAreReplaced) {
  ASSERT_TRUE(store_->SaveSession(SessionNumber(1, "node-a", "boot-1", "/a"), kNow));
  ASSERT_TRUE(store_->SaveSession(SessionNumber(2, "node-a", "boot-1", "/b"), kNow));
  ASSERT_TRUE(store_->SaveSession(SessionNumber(3, "node-b", "boot-1", "/a"), kNow));
  ASSERT_EQ(Numbers(*store_->LoadSessions()), (std::vector<std::uint64_t>{1, 2, 3}));
  const SessionRecord first = store_->LoadSessions()->front();
  EXPECT_EQ(first.begins.node + first.begins.boot + first.begins.machine + first.begins.mount_point,
            "node-aboot-1machine/a");
  EXPECT_EQ(first.secret, (std::array<std::uint64_t, 2>{1, 7}));
  EXPECT_TRUE(first.keeps_names);
  ASSERT_TRUE(store_->SaveSession(SessionNumber(4, "node-a", "boot-1", "/a"), kNow));
  EXPECT_EQ(Numbers(*store_->LoadSessions()), (std::vector<std::uint64_t>{2, 3, 4}))
      << "the mount's next run";
  ASSERT_TRUE(store_->SaveSession(SessionNumber(5, "node-a", "boot-2", "/c"), kNow));
  EXPECT_EQ(Numbers(*store_->LoadSessions()), (std::vector<std::uint64_t>{3, 5})) << "the node's next boot";
  ASSERT_TRUE(store_->EraseSession(SessionId{3}));
  ASSERT_TRUE(store_->EraseSession(SessionId{99}));
  EXPECT_EQ(Numbers(*store_->LoadSessions()), (std::vector<std::uint64_t>{5}));
}

// Rules D4, T9: what a session that did not end cleanly was used for stays reserved for a time.
TEST_P(EveryStateStore, KeepsWhatASessionWasUsedForReserved) {
  for (const std::uint64_t number : {1, 2, 3}) {
    const auto session = SessionNumber(number, "node-" + std::to_string(number), "boot", "/a");
    ASSERT_TRUE(store_->SaveSession(session, kNow));
    ASSERT_TRUE(store_->SaveUse({SessionId{number}, GuidNumber(number), Epoch{number}}));
  }
  ASSERT_TRUE(store_->SaveUse({SessionId{1}, GuidNumber(1), Epoch{9}}));
  ASSERT_TRUE(store_->SaveUse({SessionId{99}, GuidNumber(99), Epoch{1}})) << "of a session that is gone";
  const auto uses = *store_->LoadUses();
  ASSERT_EQ(uses.size(), 3u);
  EXPECT_EQ(uses[0].epoch, Epoch{9});
  EXPECT_TRUE(Reserved(kNow).empty());

  const FenceRecord fence{"node-1", "boot", GuidNumber(1), Epoch{9}, std::nullopt, std::nullopt};
  ASSERT_TRUE(store_->EndSession({SessionId{1}, {fence}}, kNow + 1h));
  EXPECT_THAT(Reserved(kNow), ElementsAre(GuidNumber(1)));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(fence));
  ASSERT_TRUE(store_->SaveSession(SessionNumber(4, "node-2", "boot", "/a"), kNow + 2h));
  EXPECT_THAT(Reserved(kNow), ElementsAre(GuidNumber(1), GuidNumber(2)));
  ASSERT_TRUE(store_->EraseSession(SessionId{3}));
  EXPECT_TRUE(store_->LoadUses()->empty());
  EXPECT_THAT(Reserved(kNow + 90min), ElementsAre(GuidNumber(2)))
      << "a clean end reserves nothing";
  ASSERT_TRUE(store_->Erase(GuidNumber(2)));
  EXPECT_TRUE(Reserved(kNow).empty());
}

// Rule T9: an end is of one boot; another one's clock says nothing of it, and none makes it later.
TEST_P(EveryStateStore, ReservesAnewInAnotherBootAndNeverForLonger) {
  using Ends = std::map<Guid, Instant>;
  ASSERT_TRUE(store_->LoadReserved("boot-1", kNow, 60s)->empty());
  const Commit commit{RecordNumber(1), {}, {}, 60s};
  ASSERT_TRUE(store_->SaveAll(std::span(&commit, 1), Now(), kNow));
  EXPECT_EQ(*store_->LoadReserved("boot-1", kNow + 50s, 60s), (Ends{{GuidNumber(1), kNow + 60s}}));
  EXPECT_EQ(*store_->LoadReserved("boot-2", 2s, 60s), (Ends{{GuidNumber(1), 62s}}));
  EXPECT_EQ(*store_->LoadReserved("boot-2", 30s, 60s), (Ends{{GuidNumber(1), 62s}}));
  EXPECT_EQ(*store_->LoadReserved("boot-2", 31s, 5s), (Ends{{GuidNumber(1), 36s}})) << "the option was changed";
  EXPECT_TRUE(store_->LoadReserved("boot-2", 36s, 60s)->empty());
  ASSERT_TRUE(store_->SaveAll(std::span(&commit, 1), Now(), 200h));
  EXPECT_EQ(*store_->LoadReserved("boot-3", 300h, 60s), (Ends{{GuidNumber(1), 300h + 60s}}))
      << "though its number is past already";
}

// One commit: whoever restarts in between finds all of a takeover or nothing.
TEST_P(EveryStateStore, SavesATakeoverWithItsFencesAndItsUse) {
  ASSERT_TRUE(store_->SaveSession(SessionNumber(1, "node-b", "boot", "/a"), kNow));
  const FenceRecord fence{"node-a", "boot", GuidNumber(1), Epoch{1}, std::nullopt, std::nullopt};
  const Commit takeover{RecordNumber(1, 2), SessionId{1}, {fence}, 1min};
  ASSERT_TRUE(Reserved(kNow).empty());
  ASSERT_TRUE(store_->SaveAll(std::span(&takeover, 1), Now(), kNow));
  EXPECT_THAT(*store_->Load(), ElementsAre(RecordNumber(1, 2)));
  EXPECT_THAT(*store_->LoadFences(), ElementsAre(fence));
  EXPECT_EQ(store_->LoadUses()->at(0).epoch, Epoch{2});
  EXPECT_THAT(Reserved(kNow), ElementsAre(GuidNumber(1)));
  EXPECT_TRUE(Reserved(kNow + 2min).empty());
}

// Rule T7: an epoch is never given twice, not even to an instance that was forgotten in between.
TEST_P(EveryStateStore, RemembersTheLastEpochOfWhatWasErased) {
  EXPECT_EQ(*store_->LastEpoch(), Epoch{0});
  ASSERT_TRUE(store_->SaveAll(Commits({RecordNumber(1, 4), RecordNumber(2, 3)}), Now(), kNow));
  EXPECT_EQ(*store_->LastEpoch(), Epoch{4});
  ASSERT_TRUE(store_->Save(RecordNumber(2, 9)));
  ASSERT_TRUE(store_->Erase(GuidNumber(2)));
  EXPECT_EQ(*store_->LastEpoch(), Epoch{9});
}

INSTANTIATE_TEST_SUITE_P(Stores, EveryStateStore, testing::Values(Kind::kMemory, Kind::kSqlite),
                         [](const auto& kind) { return kind.param == Kind::kMemory ? "Memory" : "Sqlite"; });

TEST(FaultyStateStore, FailsBeforeOrAfterTheEffect) {
  const auto in_memory = SqliteStateStore::OpenInMemory();
  StateStore& inner = *in_memory;
  FaultyStateStore store(inner);
  store.FailNext(1, EIO);
  EXPECT_EQ(store.Save(RecordNumber(1)).error().value, EIO);
  EXPECT_TRUE(store.Load()->empty());
  store.FailNext(1, EIO, FaultyStateStore::Moment::kAfter);
  EXPECT_EQ(store.Save(RecordNumber(1)).error().value, EIO);
  EXPECT_EQ(store.Load()->size(), 1u);
  EXPECT_TRUE(store.Save(RecordNumber(2)));
}

// --- The state directory ---

class StateDirectory : public testing::Test {
 protected:
  std::string WhyNot() {
    auto opened = SqliteStateStore::Open(Dir());
    return opened ? "opened" : opened.error();
  }
  std::unique_ptr<SqliteStateStore> Opened() {
    auto opened = SqliteStateStore::Open(Dir());
    EXPECT_TRUE(opened) << opened.error();
    return opened ? std::move(*opened) : nullptr;
  }
  std::filesystem::path Dir() const { return dir_.Path() / "a" / "state"; }
  std::filesystem::path File() const { return Dir() / "batond.db"; }
  void Execute(const char* sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(File().c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }

  test::TempDir dir_;
};

TEST_F(StateDirectory, IsMadeForTheOwnerOnly) {
  const auto store = Opened();
  struct stat attr {};
  ASSERT_EQ(::stat(Dir().c_str(), &attr), 0);
  EXPECT_EQ(attr.st_mode & 07777, 0700u);
  for (const auto& entry : std::filesystem::directory_iterator(Dir())) {
    ASSERT_EQ(::stat(entry.path().c_str(), &attr), 0);
    EXPECT_EQ(attr.st_mode & 07777, 0600u) << entry.path();
  }
}

TEST_F(StateDirectory, KeepsItsKeyAndItsRecords) {
  ServerKey key;
  {
    const auto store = Opened();
    key = *store->LoadServerKey();
    ASSERT_TRUE(store->Save(RecordNumber(1, 7)));
    store->Touch(GuidNumber(1), Now() + 48h);
  }
  const auto store = Opened();
  EXPECT_EQ(*store->LoadServerKey(), key);
  EXPECT_NE(key, ServerKey{});
  EXPECT_THAT(*store->Load(), ElementsAre(RecordNumber(1, 7)));
  EXPECT_TRUE(store->EraseUnusedSince(Now() + 24h)->empty())
      << "the touch was written when the store was closed";
  test::TempDir other;
  EXPECT_NE(*(*SqliteStateStore::Open(other.Path() / "s"))->LoadServerKey(), key);
}

TEST_F(StateDirectory, BelongsToOneServerAndNamesIt) {
  auto store = Opened();
  EXPECT_THAT(WhyNot(),
              AllOf(HasSubstr("in use by another batond"), HasSubstr("pid " + std::to_string(::getpid()))));
  store.reset();
  EXPECT_EQ(WhyNot(), "opened");
}

TEST_F(StateDirectory, IsRefusedWhenOthersCanWriteIt) {
  Opened();
  ASSERT_EQ(::chmod(Dir().c_str(), 0770), 0);
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("can be written by others"), HasSubstr("chmod 0700")));
}

TEST_F(StateDirectory, IsRefusedWhenItIsAFile) {
  std::filesystem::create_directories(Dir().parent_path());
  std::ofstream(Dir()) << "x";
  EXPECT_THAT(WhyNot(), HasSubstr("is not a directory"));
}

TEST_F(StateDirectory, IsRefusedWhenItIsOfANewerServer) {
  Opened();
  Execute("PRAGMA user_version=4");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("newer batond"), HasSubstr("schema 4"), HasSubstr(File().string())));
}

// Schema 1 had no sessions.
TEST_F(StateDirectory, IsBroughtUpToDate) {
  ASSERT_TRUE(Opened()->Save(RecordNumber(1)));
  Execute("DROP TABLE uses; DROP TABLE sessions; DROP TABLE reserved; DROP TABLE used_by;"
          "ALTER TABLE server DROP COLUMN starts; ALTER TABLE server DROP COLUMN boot; PRAGMA user_version=1");
  const auto store = Opened();
  EXPECT_THAT(*store->Load(), ElementsAre(RecordNumber(1)));
  ASSERT_TRUE(store->SaveSession(SessionNumber(1, "node-a", "boot-1", "/a"), kNow));
  EXPECT_EQ(store->LoadSessions()->size(), 1u);
}

// Schema 2 had the ends of reservations by the wall clock, in microseconds.
TEST_F(StateDirectory, OfSchema2ReservesAnew) {
  const Commit commit{RecordNumber(1), {}, {}, 60s};
  ASSERT_TRUE(Opened()->SaveAll(std::span(&commit, 1), Now(), kNow));
  Execute("UPDATE reserved SET until = 1795000000000000; ALTER TABLE server DROP COLUMN boot; PRAGMA user_version=2");
  EXPECT_EQ(*Opened()->LoadReserved("boot-1", kNow, 60s), (std::map<Guid, Instant>{{GuidNumber(1), kNow + 60s}}));
}

TEST_F(StateDirectory, IsRefusedWhenTheFileIsAnotherProgramsDatabase) {
  Opened();
  std::filesystem::remove(File());
  Execute("CREATE TABLE t (x)");
  EXPECT_THAT(WhyNot(), HasSubstr("is not a state file of batond"));
}

TEST_F(StateDirectory, IsRefusedWhenTheFileIsGarbage) {
  Opened();
  std::ofstream(File(), std::ios::trunc) << std::string(100'000, 'x');
  EXPECT_THAT(WhyNot(),
              AllOf(HasSubstr("damaged"), HasSubstr("epoch given out twice"), HasSubstr("put back a backup")));
}

TEST_F(StateDirectory, IsRefusedWhenAPageIsDamaged) {
  {
    const auto store = Opened();
    std::vector<InstanceRecord> many;
    for (std::uint64_t number = 0; number < 2000; ++number) many.push_back(RecordNumber(number));
    ASSERT_TRUE(store->SaveAll(Commits(many), Now(), kNow));
  }
  std::fstream file(File(), std::ios::in | std::ios::out | std::ios::binary);
  const auto size = std::filesystem::file_size(File());
  for (std::uintmax_t page = 8 * 4096; page + 4096 < size; page += 4096) {
    file.seekp(static_cast<std::streamoff>(page));
    file << std::string(64, '\x5a');
  }
  file.close();
  EXPECT_THAT(WhyNot(), HasSubstr("damaged"));
}

TEST_F(StateDirectory, IsRefusedWhenItsKeyIsGone) {
  Opened();
  Execute("DELETE FROM server");
  EXPECT_THAT(WhyNot(), AllOf(HasSubstr("damaged"), HasSubstr("key is missing")));
}

// A server that is killed in the middle: what was acknowledged is there, and each batch is there as a whole
// or not at all.
TEST_F(StateDirectory, SurvivesAKillAtAnyMoment) {
  constexpr std::uint64_t kBatch = 10;
  for (int round = 0; round < 5; ++round) {
    std::filesystem::remove_all(Dir());
    int acknowledged[2];
    ASSERT_EQ(::pipe(acknowledged), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = SqliteStateStore::Open(Dir());
      if (!store) ::_exit(1);
      for (std::uint64_t epoch = 1;; ++epoch) {
        std::vector<InstanceRecord> batch;
        for (std::uint64_t number = 0; number < kBatch; ++number)
          batch.push_back(RecordNumber(number, epoch));
        if (!(*store)->SaveAll(Commits(batch), Now(), kNow)) ::_exit(1);
        if (::write(acknowledged[1], &epoch, sizeof epoch) != sizeof epoch) ::_exit(1);
      }
    }
    ::close(acknowledged[1]);
    std::uint64_t last = 0;
    while (last < 20 + 7u * static_cast<unsigned>(round))
      ASSERT_EQ(::read(acknowledged[0], &last, sizeof last), 8);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(acknowledged[0], &last, sizeof last) == sizeof last) {
    }
    ::close(acknowledged[0]);
    const auto records = *Opened()->Load();
    ASSERT_EQ(records.size(), kBatch);
    EXPECT_GE(Raw(records[0].epoch), last);
    EXPECT_LE(Raw(records[0].epoch), last + 1);
    for (const InstanceRecord& record : records) EXPECT_EQ(record.epoch, records[0].epoch);
  }
}

}  // namespace
}  // namespace baton
