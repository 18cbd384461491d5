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
    (void)Transaction("note which instances were in use", [] { return Result<void>(); });
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

Result<void> SqliteStateStore::Transaction(const char* what, const std::function<Result<void>()>& body) {
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

Result<void> SqliteStateStore::Run(const char* what, const char* sql,
                                   const std::function<void(SqliteRow&)>& bind,
                                   const std::function<void(SqliteRow&)>& take) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql, -1, &raw, nullptr) != SQLITE_OK) return Failed(what);
  const Statement statement(raw);
  SqliteRow row(raw);
  if (bind) bind(row);
  int code = 0;
  while ((code = row.Step()) == SQLITE_ROW) {
    if (take) take(row);
  }
  if (code != SQLITE_DONE) return Failed(what);
  return {};
}

Result<std::vector<InstanceRecord>> SqliteStateStore::Load() {
  const std::scoped_lock lock(mutex_);
  std::vector<InstanceRecord> records;
  records.reserve(count_);
  const auto read =
      Run("read the instances",
          "SELECT guid, epoch, owner, version_high, version_low, node FROM instances ORDER BY guid", nullptr,
          [&](SqliteRow& row) {
            InstanceRecord& record = records.emplace_back();
            record.guid = row.GetGuid(0);
            record.epoch = Epoch{row.GetUint(1)};
            record.owner = static_cast<std::uint32_t>(row.GetUint(2));
            record.version = row.GetVersion(3);
            record.node = row.GetText(5);
          });
  if (!read) return tl::unexpected(read.error());
  return records;
}

Result<void> SqliteStateStore::SaveRecord(const InstanceRecord& record, WallTime used) {
  const auto fill = [&](SqliteRow& row) {
    row.Bind(1, record.guid).Bind(2, Raw(record.epoch)).Bind(3, std::uint64_t{record.owner});
    row.BindVersion(4, record.version).Bind(6, record.node).Bind(7, used.time_since_epoch().count());
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

Result<void> SqliteStateStore::SaveAll(std::span<const Commit> commits, WallTime used, Instant now) {
  if (commits.empty()) return {};
  const std::scoped_lock lock(mutex_);
  const std::size_t before = count_;
  auto answer = Transaction("save an instance", [&]() -> Result<void> {
    for (const Commit& commit : commits) {
      if (auto saved = SaveOne(commit, used, now); !saved) return saved;
    }
    return {};
  });
  if (!answer) count_ = before;
  return answer;
}

Result<void> SqliteStateStore::SaveOne(const Commit& commit, WallTime used, Instant now) {
  if (auto saved = SaveRecord(commit.record, used); !saved) return saved;
  for (const FenceRecord& fence : commit.fences) {
    if (auto saved = PutFence(fence); !saved) return saved;
  }
  if (commit.reserved > Duration::zero()) {
    const auto reserved =
        Run("save what is reserved",
            "INSERT INTO reserved VALUES (?1, ?2) ON CONFLICT (guid) DO UPDATE SET until = max(until, excluded.until)",
            [&](SqliteRow& row) { row.Bind(1, commit.record.guid).Bind(2, std::int64_t{(now + commit.reserved).count()}); });
    if (!reserved) return reserved;
  }
  if (commit.used_by == SessionId{}) return {};
  return PutUse({commit.used_by, commit.record.guid, commit.record.epoch});
}

// A session that is gone by now is used no more. What comes late replaces nothing newer.
Result<void> SqliteStateStore::PutUse(const SessionUse& use) {
  return Run(
      "save which session uses an instance",
      "INSERT INTO uses SELECT id, ?2, ?3 FROM sessions WHERE id = ?1 "
      "ON CONFLICT (session, guid) DO UPDATE SET epoch = max(epoch, excluded.epoch)",
      [&](SqliteRow& row) { row.Bind(1, Raw(use.session)).Bind(2, use.guid).Bind(3, Raw(use.epoch)); });
}

Result<void> SqliteStateStore::Erase(const Guid& guid) {
  const std::scoped_lock lock(mutex_);
  int erased = 0;
  auto answer = Transaction("forget an instance", [&]() -> Result<void> {
    SqliteRow row(erase_.get());
    row.Bind(1, guid);
    if (row.Step() != SQLITE_DONE) return Failed("forget an instance");
    erased = sqlite3_changes(db_.get());
    const auto guid_is = [&](SqliteRow& of) { of.Bind(1, guid); };
    if (auto done = Run("forget an instance", "DELETE FROM uses WHERE guid = ?1", guid_is); !done)
      return done;
    return Run("forget an instance", "DELETE FROM reserved WHERE guid = ?1", guid_is);
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
  auto answer = Transaction(what, [&]() -> Result<void> {
    // Before the erasing: what was touched is in use.
    if (auto written = WriteTouches(); !written) return written;
    const auto gone = Run(
        what, "DELETE FROM instances WHERE used < ?1 RETURNING guid",
        [&](SqliteRow& row) { row.Bind(1, limit.time_since_epoch().count()); },
        [&](SqliteRow& row) { erased.push_back(row.GetGuid(0)); });
    if (!gone) return gone;
    // With what is known of them; the nil GUID of a use is no instance.
    for (const char* sql :
         {"DELETE FROM uses WHERE guid NOT IN (SELECT guid FROM instances) AND guid <> zeroblob(16)",
          "DELETE FROM reserved WHERE guid NOT IN (SELECT guid FROM instances)",
          "DELETE FROM fences WHERE guid NOT IN (SELECT guid FROM instances)"}) {
      if (auto done = Run(what, sql, nullptr); !done) return done;
    }
    return {};
  });
  if (!answer) return tl::unexpected(answer.error());
  count_ -= erased.size();
  if (!erased.empty()) full_logged_ = false;
  return erased;
}

Result<void> SqliteStateStore::AcknowledgeFence(const FenceRecord& fence) {
  const char* what = "save that a fence was acknowledged";
  const std::scoped_lock lock(mutex_);
  return Transaction(what, [&] {
    return Run(what, "UPDATE fences SET acknowledged = ?5 WHERE node = ?1 AND guid = ?2 AND boot = ?3 AND epoch = ?4",
               [&](SqliteRow& row) {
                 row.Bind(1, fence.node).Bind(2, fence.guid).Bind(3, fence.boot).Bind(4, Raw(fence.epoch));
                 if (fence.acknowledged) row.Bind(5, std::int64_t{fence.acknowledged->count()});
               });
  });
}

Result<void> SqliteStateStore::PutFence(const FenceRecord& fence) {
  SqliteRow row(fence_.get());
  row.Bind(1, fence.node).Bind(2, fence.guid).Bind(3, fence.boot).Bind(4, Raw(fence.epoch));
  row.BindVersion(5, fence.version);
  if (row.Step() != SQLITE_DONE) return Failed("save a fence");
  return {};
}

Result<std::vector<FenceRecord>> SqliteStateStore::LoadFences() {
  const std::scoped_lock lock(mutex_);
  std::vector<FenceRecord> fences;
  const auto read = Run("read the fences",
                        "SELECT node, guid, boot, epoch, version_high, version_low, acknowledged FROM fences "
                        "ORDER BY node, guid",
                        nullptr, [&](SqliteRow& row) {
                          FenceRecord& fence = fences.emplace_back();
                          fence.node = row.GetText(0);
                          fence.guid = row.GetGuid(1);
                          fence.boot = row.GetText(2);
                          fence.epoch = Epoch{row.GetUint(3)};
                          fence.version = row.GetVersion(4);
                          if (!row.IsNull(6)) fence.acknowledged = Instant(row.GetInt(6));
                        });
  if (!read) return tl::unexpected(read.error());
  return fences;
}

// --- Sessions ---

Result<void> SqliteStateStore::ReserveUsesOf(SessionId session, Instant until) {
  return Run("save what is reserved",
             "INSERT INTO reserved SELECT guid, ?2 FROM uses WHERE session = ?1 AND guid <> zeroblob(16) "
             "ON CONFLICT (guid) DO UPDATE SET until = max(until, excluded.until)",
             [&](SqliteRow& row) { row.Bind(1, Raw(session)).Bind(2, std::int64_t{until.count()}); });
}

Result<void> SqliteStateStore::SaveSession(const SessionRecord& session, Instant reserved_until) {
  const char* what = "save a session";
  const SessionBegins& begins = session.begins;
  const std::scoped_lock lock(mutex_);
  return Transaction(what, [&]() -> Result<void> {
    std::vector<SessionId> replaced;
    const auto found = Run(
        what, "SELECT id FROM sessions WHERE node = ?1 AND (boot <> ?2 OR machine <> ?3 OR mount_point = ?4)",
        [&](SqliteRow& row) {
          row.Bind(1, begins.node).Bind(2, begins.boot).Bind(3, begins.machine);
          row.Bind(4, begins.mount_point);
        },
        [&](SqliteRow& row) { replaced.push_back(SessionId{row.GetUint(0)}); });
    if (!found) return found;
    for (const SessionId old : replaced) {
      if (auto reserved = ReserveUsesOf(old, reserved_until); !reserved) return reserved;
      if (auto erased = Forget(old); !erased) return erased;
    }
    const auto rebooted = Run(what, "DELETE FROM fences WHERE node = ?1 AND boot <> ?2",
                              [&](SqliteRow& row) { row.Bind(1, begins.node).Bind(2, begins.boot); });
    if (!rebooted) return rebooted;
    return Run(what, "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", [&](SqliteRow& row) {
      row.Bind(1, Raw(begins.session)).Bind(2, session.secret[0]).Bind(3, session.secret[1]);
      row.Bind(4, std::int64_t{session.keeps_names}).Bind(5, begins.node).Bind(6, begins.boot);
      row.Bind(7, begins.machine).Bind(8, begins.mount_point);
    });
  });
}

// Its uses go with it.
Result<void> SqliteStateStore::Forget(SessionId session) {
  return Run("forget a session", "DELETE FROM sessions WHERE id = ?1",
             [&](SqliteRow& row) { row.Bind(1, Raw(session)); });
}

Result<void> SqliteStateStore::EraseSession(SessionId session) {
  const std::scoped_lock lock(mutex_);
  return Transaction("forget a session", [&] { return Forget(session); });
}

Result<void> SqliteStateStore::EndSession(const CommitEnd& end, Instant reserved_until) {
  const std::scoped_lock lock(mutex_);
  return Transaction("end a session", [&]() -> Result<void> {
    for (const FenceRecord& fence : end.fences) {
      if (auto saved = PutFence(fence); !saved) return saved;
    }
    if (auto reserved = ReserveUsesOf(end.session, reserved_until); !reserved) return reserved;
    return Forget(end.session);
  });
}

Result<void> SqliteStateStore::SaveUse(const SessionUse& use) {
  const std::scoped_lock lock(mutex_);
  return Transaction("save which session uses an instance", [&] { return PutUse(use); });
}

Result<std::vector<SessionRecord>> SqliteStateStore::LoadSessions() {
  const std::scoped_lock lock(mutex_);
  std::vector<SessionRecord> sessions;
  const auto read =
      Run("read the sessions", "SELECT * FROM sessions ORDER BY id", nullptr, [&](SqliteRow& row) {
        SessionRecord& session = sessions.emplace_back();
        session.begins.session = SessionId{row.GetUint(0)};
        session.secret = {row.GetUint(1), row.GetUint(2)};
        session.keeps_names = row.GetInt(3) != 0;
        session.begins.node = row.GetText(4);
        session.begins.boot = row.GetText(5);
        session.begins.machine = row.GetText(6);
        session.begins.mount_point = row.GetText(7);
      });
  if (!read) return tl::unexpected(read.error());
  return sessions;
}

Result<std::vector<SessionUse>> SqliteStateStore::LoadUses() {
  const std::scoped_lock lock(mutex_);
  std::vector<SessionUse> uses;
  const auto read = Run("read which session uses which instance", "SELECT session, guid, epoch FROM uses",
                        nullptr, [&](SqliteRow& row) {
                          uses.push_back({SessionId{row.GetUint(0)}, row.GetGuid(1), Epoch{row.GetUint(2)}});
                        });
  if (!read) return tl::unexpected(read.error());
  return uses;
}

Result<std::map<Guid, Instant>> SqliteStateStore::LoadReserved(const std::string& boot, Instant now,
                                                               Duration reservation) {
  const char* what = "read what is reserved";
  const Instant latest = now + reservation;
  const std::scoped_lock lock(mutex_);
  std::map<Guid, Instant> reserved;
  auto answer = Transaction(what, [&]() -> Result<void> {
    const auto anew = Run(what, "UPDATE reserved SET until = ?1 WHERE (SELECT boot FROM server) <> ?2 OR until > ?1",
                          [&](SqliteRow& row) { row.Bind(1, std::int64_t{latest.count()}).Bind(2, boot); });
    if (!anew) return anew;
    const auto told = Run(what, "UPDATE server SET boot = ?1", [&](SqliteRow& row) { row.Bind(1, boot); });
    if (!told) return told;
    const auto is_over = Run(what, "DELETE FROM reserved WHERE until <= ?1",
                             [&](SqliteRow& row) { row.Bind(1, std::int64_t{now.count()}); });
    if (!is_over) return is_over;
    return Run(what, "SELECT guid, until FROM reserved", nullptr,
               [&](SqliteRow& row) { reserved[row.GetGuid(0)] = Instant(row.GetInt(1)); });
  });
  if (!answer) return tl::unexpected(answer.error());
  return reserved;
}

Result<std::uint64_t> SqliteStateStore::CountStart() {
  const char* what = "count the server's start";
  const std::scoped_lock lock(mutex_);
  std::uint64_t starts = 0;
  auto answer = Transaction(what, [&] {
    return Run(what, "UPDATE server SET starts = starts + 1 RETURNING starts", nullptr,
               [&](SqliteRow& row) { starts = row.GetUint(0); });
  });
  if (!answer) return tl::unexpected(answer.error());
  return starts;
}

Result<Epoch> SqliteStateStore::LastEpoch() {
  const std::scoped_lock lock(mutex_);
  Epoch last{};
  const auto read = Run("read the last epoch", "SELECT last_epoch FROM server", nullptr,
                        [&](SqliteRow& row) { last = Epoch{row.GetUint(0)}; });
  if (!read) return tl::unexpected(read.error());
  return last;
}

Result<ServerKey> SqliteStateStore::LoadServerKey() {
  const std::scoped_lock lock(mutex_);
  ServerKey key;
  bool is_there = false;
  const auto read = Run("read the server's key", "SELECT key FROM server", nullptr,
                        [&](SqliteRow& row) { is_there = row.GetBytes(0, key); });
  if (!read) return tl::unexpected(read.error());
  if (!is_there) {
    log::Error("state: the server's key has a wrong size (file={})", file_.string());
    return Fail(EIO);
  }
  return key;
}

}  // namespace baton
