#include "server/state/sqlite_state_store.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "base/log.h"
#include "server/state/sqlite_row.h"

namespace baton {
namespace {

WallTime Now() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

// Enough that a wave of touches costs little memory; beyond it a touch that is new is dropped: 30 days are
// coarse.
constexpr std::size_t kMaxTouched = 100'000;

int ErrnoOf(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_NOMEM:
      return ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EBUSY;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return EACCES;
    default:
      return EIO;
  }
}

}  // namespace

void SqliteStateStore::CloseDb::operator()(sqlite3* db) const {
  sqlite3_close_v2(db);
}
void SqliteStateStore::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqliteStateStore::~SqliteStateStore() {
  if (db_ != nullptr && !touched_.empty()) {
    // Failed() has said why; the touches are lost, which costs an idle instance a little of its 30 days.
    (void)Commit("note which instances were in use", [] { return Result<void>(); });
  }
}

int SqliteStateStore::Execute(const char* sql) {
  return sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
}

tl::unexpected<Errno> SqliteStateStore::Failed(const char* what) {
  const int code = sqlite3_extended_errcode(db_.get());
  log::Error("state: cannot {}: {} (SQLite {}, file={})", what, sqlite3_errmsg(db_.get()), code,
             file_.string());
  return Fail(ErrnoOf(code));
}

Result<void> SqliteStateStore::Commit(const char* what, const std::function<Result<void>()>& body) {
  if (Execute("BEGIN IMMEDIATE") != SQLITE_OK) return Failed(what);
  auto answer = body();
  if (answer) answer = WriteTouches();
  if (answer && Execute("COMMIT") != SQLITE_OK) answer = Failed(what);
  if (!answer) {
    if (sqlite3_get_autocommit(db_.get()) == 0) Execute("ROLLBACK");
    return answer;
  }
  touched_.clear();
  return {};
}

Result<void> SqliteStateStore::WriteTouches() {
  for (const auto& [guid, used] : touched_) {
    SqliteRow row(touch_.get());
    row.Bind(1, guid).Bind(2, used.time_since_epoch().count());
    if (row.Step() != SQLITE_DONE) return Failed("note which instances were in use");
  }
  return {};
}

Result<std::vector<InstanceRecord>> SqliteStateStore::Load() {
  const std::scoped_lock lock(mutex_);
  sqlite3_stmt* raw = nullptr;
  constexpr const char* kSql =
      "SELECT guid, epoch, owner, version_high, version_low, node FROM instances ORDER BY guid";
  if (sqlite3_prepare_v2(db_.get(), kSql, -1, &raw, nullptr) != SQLITE_OK)
    return Failed("read the instances");
  const Statement statement(raw);
  SqliteRow row(raw);
  std::vector<InstanceRecord> records;
  records.reserve(count_);
  int code = 0;
  while ((code = row.Step()) == SQLITE_ROW) {
    InstanceRecord& record = records.emplace_back();
    record.guid = row.GetGuid(0);
    record.epoch = Epoch{row.GetUint(1)};
    record.owner = static_cast<std::uint32_t>(row.GetUint(2));
    record.version = row.GetVersion(3);
    record.node = row.GetText(5);
  }
  if (code != SQLITE_DONE) return Failed("read the instances");
  return records;
}

Result<void> SqliteStateStore::SaveOne(const InstanceRecord& record) {
  const auto fill = [&](SqliteRow& row) {
    row.Bind(1, record.guid).Bind(2, Raw(record.epoch)).Bind(3, std::uint64_t{record.owner});
    row.BindVersion(4, record.version).Bind(6, record.node).Bind(7, Now().time_since_epoch().count());
  };
  {
    SqliteRow row(update_.get());
    fill(row);
    if (row.Step() != SQLITE_DONE) return Failed("save an instance");
  }
  if (sqlite3_changes(db_.get()) > 0) return {};
  if (count_ >= max_instances_) {
    if (!full_logged_) {
      log::Error(
          "state: instance {} is refused: there are {} instances already, the greatest number kept; `baton "
          "instances` "
          "lists them, `baton forget GUID` drops one (file={})",
          ToString(record.guid), count_, file_.string());
    }
    full_logged_ = true;
    return Fail(ENOSPC);
  }
  SqliteRow row(insert_.get());
  fill(row);
  if (row.Step() != SQLITE_DONE) return Failed("save an instance");
  ++count_;
  return {};
}

Result<void> SqliteStateStore::SaveAll(std::span<const InstanceRecord> records) {
  if (records.empty()) return {};
  const std::scoped_lock lock(mutex_);
  const std::size_t before = count_;
  auto answer = Commit("save an instance", [&]() -> Result<void> {
    for (const InstanceRecord& record : records) {
      if (auto saved = SaveOne(record); !saved) return saved;
    }
    return {};
  });
  if (!answer) count_ = before;
  return answer;
}

Result<void> SqliteStateStore::Erase(const Guid& guid) {
  const std::scoped_lock lock(mutex_);
  int erased = 0;
  auto answer = Commit("forget an instance", [&]() -> Result<void> {
    SqliteRow row(erase_.get());
    row.Bind(1, guid);
    if (row.Step() != SQLITE_DONE) return Failed("forget an instance");
    erased = sqlite3_changes(db_.get());
    return {};
  });
  if (!answer) return answer;
  count_ -= static_cast<std::size_t>(erased);
  if (erased > 0) full_logged_ = false;
  return {};
}

void SqliteStateStore::Touch(const Guid& guid, WallTime used) {
  const std::scoped_lock lock(mutex_);
  if (const auto at = touched_.find(guid); at != touched_.end()) {
    at->second = std::max(at->second, used);
  } else if (touched_.size() < kMaxTouched) {
    touched_.emplace(guid, used);
  }
}

Result<std::vector<Guid>> SqliteStateStore::EraseUnusedSince(WallTime limit) {
  const std::scoped_lock lock(mutex_);
  const char* what = "erase the instances that were not used for long";
  std::vector<Guid> erased;
  auto answer = Commit(what, [&]() -> Result<void> {
    // Before the erasing: what was touched is in use.
    if (auto written = WriteTouches(); !written) return written;
    sqlite3_stmt* raw = nullptr;
    constexpr const char* kSql = "DELETE FROM instances WHERE used < ?1 RETURNING guid";
    if (sqlite3_prepare_v2(db_.get(), kSql, -1, &raw, nullptr) != SQLITE_OK) return Failed(what);
    const Statement statement(raw);
    SqliteRow row(raw);
    row.Bind(1, limit.time_since_epoch().count());
    int code = 0;
    while ((code = row.Step()) == SQLITE_ROW) erased.push_back(row.GetGuid(0));
    if (code != SQLITE_DONE) return Failed(what);
    return {};
  });
  if (!answer) return tl::unexpected(answer.error());
  count_ -= erased.size();
  if (!erased.empty()) full_logged_ = false;
  return erased;
}

Result<void> SqliteStateStore::SaveFence(const FenceRecord& fence) {
  const std::scoped_lock lock(mutex_);
  return Commit("save a fence", [&]() -> Result<void> {
    {
      SqliteRow old(drop_fences_.get());
      old.Bind(1, fence.node).Bind(2, fence.boot);
      if (old.Step() != SQLITE_DONE) return Failed("save a fence");
    }
    SqliteRow row(fence_.get());
    row.Bind(1, fence.node).Bind(2, fence.guid).Bind(3, fence.boot).Bind(4, Raw(fence.epoch));
    row.BindVersion(5, fence.version);
    if (fence.acknowledged) row.Bind(7, std::int64_t{fence.acknowledged->count()});
    if (row.Step() != SQLITE_DONE) return Failed("save a fence");
    return {};
  });
}

Result<std::vector<FenceRecord>> SqliteStateStore::LoadFences(const std::string& node) {
  const std::scoped_lock lock(mutex_);
  sqlite3_stmt* raw = nullptr;
  constexpr const char* kSql =
      "SELECT guid, boot, epoch, version_high, version_low, acknowledged FROM fences WHERE node = ?1 ORDER "
      "BY guid";
  if (sqlite3_prepare_v2(db_.get(), kSql, -1, &raw, nullptr) != SQLITE_OK) return Failed("read the fences");
  const Statement statement(raw);
  SqliteRow row(raw);
  row.Bind(1, node);
  std::vector<FenceRecord> fences;
  int code = 0;
  while ((code = row.Step()) == SQLITE_ROW) {
    FenceRecord& fence = fences.emplace_back();
    fence.node = node;
    fence.guid = row.GetGuid(0);
    fence.boot = row.GetText(1);
    fence.epoch = Epoch{row.GetUint(2)};
    fence.version = row.GetVersion(3);
    if (!row.IsNull(5)) fence.acknowledged = Instant(row.GetInt(5));
  }
  if (code != SQLITE_DONE) return Failed("read the fences");
  return fences;
}

Result<Epoch> SqliteStateStore::LastEpoch() {
  const std::scoped_lock lock(mutex_);
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db_.get(), "SELECT last_epoch FROM server", -1, &raw, nullptr) != SQLITE_OK) {
    return Failed("read the last epoch");
  }
  const Statement statement(raw);
  SqliteRow row(raw);
  if (row.Step() != SQLITE_ROW) return Failed("read the last epoch");
  return Epoch{row.GetUint(0)};
}

Result<ServerKey> SqliteStateStore::LoadServerKey() {
  const std::scoped_lock lock(mutex_);
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db_.get(), "SELECT key FROM server", -1, &raw, nullptr) != SQLITE_OK) {
    return Failed("read the server's key");
  }
  const Statement statement(raw);
  SqliteRow row(raw);
  if (row.Step() != SQLITE_ROW) return Failed("read the server's key");
  ServerKey key;
  if (!row.GetBytes(0, key)) {
    log::Error("state: the server's key has a wrong size (file={})", file_.string());
    return Fail(EIO);
  }
  return key;
}

}  // namespace baton
