// The state file: one that was written and then damaged, or one that is something else.
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "base/check.h"
#include "fuzz/harness/choices.h"
#include "fuzz/harness/harness.h"
#include "server/arbiter/arbiter.h"
#include "server/state/sqlite_state_store.h"
#include "support/temp_dir.h"

namespace baton::fuzz {
namespace {

using std::filesystem::path;
constexpr WallTime kNow{std::chrono::hours(24 * 365 * 57)};

std::string ContentOf(const path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void Write(const path& file, const std::string& content) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << content;
}

Guid GuidNumber(unsigned number) {
  Guid guid{};
  guid.data[0] = 0xbb, guid.data[15] = static_cast<std::uint8_t>(number);
  return guid;
}
SessionRecord SessionNumber(std::uint64_t number) {
  return {{SessionId{number}, "node" + std::to_string(number), "boot", "machine", "/mnt"}, {number, 7}, true};
}

void Fill(StateStore& store) {
  BATON_CHECK(store.LoadReserved("boot", {}, std::chrono::hours(1)).has_value());
  for (std::uint64_t number = 1; number < 4; ++number)
    BATON_CHECK(store.SaveSession(SessionNumber(number), {}));
  for (unsigned number = 1; number < 6; ++number) {
    const InstanceRecord record{GuidNumber(number), Epoch{number}, 1000, InstanceVersion{1, number}, "node1"};
    const Commit commit{record,
                        SessionId{number % 3 + 1},
                        {{"node2", "boot", record.guid, Epoch{number}, {}, {}}},
                        std::chrono::hours(1)};
    BATON_CHECK(store.SaveAll(std::span(&commit, 1), kNow, {}));
  }
}

// What inputs begin from. Its key is fixed, so that the same input means the same file.
struct Templates {
  test::TempDir folder;
  std::string state, backup, log;
  Templates() {
    const path directory = folder.Path() / "made";
    auto store = SqliteStateStore::Open(directory).value();
    store.reset();
    sqlite3* db = nullptr;
    BATON_CHECK(sqlite3_open((directory / "batond.db").c_str(), &db) == SQLITE_OK);
    BATON_CHECK(sqlite3_exec(db, "UPDATE server SET key = x'000102030405060708090a0b0c0d0e0f'", nullptr,
                             nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
    store = SqliteStateStore::Open(directory).value();
    state = ContentOf(directory / "batond.db");
    Fill(*store);
    log = ContentOf(directory / "batond.db-wal");
    BATON_CHECK(store->BackUp(folder.Path() / "backup", true));
    backup = ContentOf(folder.Path() / "backup");
  }
};

void Damage(std::string& content, Choices& choices) {
  while (!choices.Done() && !content.empty()) {
    const std::size_t at = choices.Number<std::uint32_t>() % content.size();
    const std::string_view bytes = choices.Text();
    content.replace(at, std::min(bytes.size(), content.size() - at), bytes, 0, content.size() - at);
  }
}

// Numbers that no damage to a page shows.
void ChangeNumbers(const path& file, Choices& choices) {
  static constexpr const char* kChanges[] = {
      "UPDATE server SET last_epoch = ?1, starts = ?2",
      "UPDATE instances SET epoch = ?1, owner = ?2, used = ?1",
      "UPDATE fences SET epoch = ?1, acknowledged = ?2",
      "UPDATE uses SET epoch = ?1",
      "UPDATE reserved SET until = ?1",
      "UPDATE OR IGNORE sessions SET id = ?1, keeps_names = ?2",
      "INSERT OR IGNORE INTO uses VALUES (?2, zeroblob(16), ?1)",
      "INSERT OR REPLACE INTO instances VALUES (zeroblob(16), ?1, ?2, ?1, ?2, '', ?2)",
      "UPDATE sessions SET node = substr(node, ?1, ?2), boot = ?2, machine = ?1"};
  sqlite3* db = nullptr;
  BATON_CHECK(sqlite3_open(file.c_str(), &db) == SQLITE_OK);
  sqlite3_exec(db, "PRAGMA synchronous=OFF", nullptr, nullptr, nullptr);
  while (!choices.Done()) {
    sqlite3_stmt* change = nullptr;
    BATON_CHECK(sqlite3_prepare_v2(db, kChanges[choices.Byte() % std::size(kChanges)], -1, &change,
                                   nullptr) == SQLITE_OK);
    sqlite3_bind_int64(change, 1, choices.Number<std::int64_t>());
    sqlite3_bind_int64(change, 2, choices.Number<std::int64_t>());
    (void)sqlite3_step(change);
    sqlite3_finalize(change);
  }
  sqlite3_close(db);
}

// A server's start, and its first steps.
bool Use(SqliteStateStore& store, const path& backup) {
  const auto key = store.LoadServerKey();
  const auto recovered = Recover(store, {"boot", Instant(1), std::chrono::seconds(10), Instant::max()});
  if (!key || !recovered) return false;
  for (const auto& [guid, until] : recovered->survivors.reserved)
    BATON_CHECK(until > Instant(1) && until <= Instant(1) + std::chrono::seconds(10));
  Arbiter arbiter({}, recovered->survivors);
  (void)arbiter.Step(WaitForAbsentUntil{Instant(2)}, Instant(1));
  (void)arbiter.Step(Tick{}, Instant(3));
  (void)arbiter.Step(SessionReturns{SessionId{1}}, Instant(3));
  (void)arbiter.Step(SessionReturned{SessionId{1}}, Instant(3));
  for (const Effect& effect : arbiter.Step(FenceByHand{RequestId{1}, GuidNumber(1)}, Instant(4))) {
    const auto* commit = std::get_if<Commit>(&effect);
    BATON_CHECK(commit == nullptr || Raw(commit->record.epoch) > Raw(recovered->survivors.last_epoch));
  }
  store.Touch(GuidNumber(2), kNow);
  (void)store.SaveSession(SessionNumber(9), {});
  (void)store.EndSession({SessionId{2}, {}}, {});
  (void)store.EraseUnusedSince(kNow - std::chrono::hours(1));
  (void)store.BackUp(backup, true);
  return true;
}

}  // namespace

bool StateFile(std::span<const std::byte> input) {
  static const Templates templates;
  const path directory = templates.folder.Path() / "state";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directory(directory);
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
  const path file = directory / "batond.db";
  Choices choices(input);
  const std::uint8_t kind = choices.Byte() % 5;
  std::string content = kind == 0   ? std::string(TextOf(choices.Rest()))
                        : kind == 3 ? templates.state
                                    : templates.backup;
  std::string log = templates.log;
  if (kind == 1 || kind == 4) content.replace(68, 4, "BaTo");  // what it is once it is started from
  if (kind == 1 || kind == 2) Damage(content, choices);
  if (kind == 3) Damage(log, choices);
  Write(file, content);
  if (kind == 3) Write(file.string() + "-wal", log);
  if (kind == 4) ChangeNumbers(file, choices);
  auto opened = SqliteStateStore::Open(directory);
  if (opened) return Use(**opened, templates.folder.Path() / "backup");
  BATON_CHECK(opened.error().find(file) != std::string::npos);
  return false;
}

}  // namespace baton::fuzz
