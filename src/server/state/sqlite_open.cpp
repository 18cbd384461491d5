// Opening the state directory: whose it is, whether it can be trusted, and its first filling.
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/version.h"
#include "server/state/sqlite_format.h"
#include "server/state/sqlite_row.h"
#include "server/state/sqlite_state_store.h"

namespace baton {
namespace {

constexpr const char* kSchema = R"sql(
  CREATE TABLE server (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    key BLOB NOT NULL CHECK (length(key) = 16),
    last_epoch INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE instances (
    guid BLOB PRIMARY KEY CHECK (length(guid) = 16),
    epoch INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    version_high INTEGER,
    version_low INTEGER,
    node TEXT NOT NULL,
    used INTEGER NOT NULL,
    CHECK ((version_high IS NULL) = (version_low IS NULL))
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE fences (
    node TEXT NOT NULL,
    guid BLOB NOT NULL CHECK (length(guid) = 16),
    boot TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    version_high INTEGER,
    version_low INTEGER,
    acknowledged INTEGER,
    PRIMARY KEY (node, guid),
    CHECK ((version_high IS NULL) = (version_low IS NULL))
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER epoch_given AFTER INSERT ON instances BEGIN
    UPDATE server SET last_epoch = max(last_epoch, NEW.epoch);
  END;
  CREATE TRIGGER epoch_raised AFTER UPDATE OF epoch ON instances BEGIN
    UPDATE server SET last_epoch = max(last_epoch, NEW.epoch);
  END;
)sql";

// What schema 2 has more.
constexpr const char* kSchema2 = R"sql(
  ALTER TABLE server ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    secret_high INTEGER NOT NULL,
    secret_low INTEGER NOT NULL,
    keeps_names INTEGER NOT NULL,
    node TEXT NOT NULL,
    boot TEXT NOT NULL,
    machine TEXT NOT NULL,
    mount_point TEXT NOT NULL
  ) STRICT;
  CREATE TABLE uses (
    session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
    guid BLOB NOT NULL CHECK (length(guid) = 16),
    epoch INTEGER NOT NULL,
    PRIMARY KEY (session, guid)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE reserved (
    guid BLOB PRIMARY KEY CHECK (length(guid) = 16),
    until INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE used_by (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version TEXT NOT NULL
  ) STRICT;
)sql";

// What schema 3 has more: in which boot of the machine `reserved.until` is counted, in nanoseconds since it began.
// Those of schema 2 were of the wall clock, and count as of another boot.
constexpr const char* kSchema3 = R"sql(
  ALTER TABLE server ADD COLUMN boot TEXT NOT NULL DEFAULT '';
)sql";

tl::unexpected<std::string> SystemProblem(const char* what, const std::filesystem::path& path) {
  return tl::unexpected(fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(errno)));
}

tl::expected<void, std::string> MakeDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  if (directory.has_parent_path()) std::filesystem::create_directories(directory.parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return SystemProblem("make the state directory", directory);
  struct stat attr {};
  if (::stat(directory.c_str(), &attr) != 0) return SystemProblem("look at the state directory", directory);
  if (!S_ISDIR(attr.st_mode)) {
    return tl::unexpected(fmt::format("the state directory {} is not a directory", directory.string()));
  }
  if (attr.st_uid != ::geteuid()) {
    return tl::unexpected(
        fmt::format("the state directory {} belongs to uid {}, not to the server's uid {}; choose another "
                    "with --state-dir, or run batond as its owner",
                    directory.string(), attr.st_uid, ::geteuid()));
  }
  if ((attr.st_mode & 022) != 0) {
    return tl::unexpected(
        fmt::format("the state directory {} can be written by others (mode {:04o}); it holds the server's "
                    "key: chmod 0700 {}",
                    directory.string(), attr.st_mode & 07777, directory.string()));
  }
  return {};
}

// What is the first number of a statement's first row; -1 if it failed.
std::int64_t AskNumber(sqlite3* db, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db, sql, -1, &raw, nullptr) != SQLITE_OK) return -1;
  std::int64_t value = -1;
  {
    SqliteRow row(raw);
    if (row.Step() == SQLITE_ROW) value = row.GetInt(0);
  }
  sqlite3_finalize(raw);
  return value;
}

std::string AskText(sqlite3* db, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db, sql, -1, &raw, nullptr) != SQLITE_OK) return sqlite3_errmsg(db);
  std::string text;
  {
    SqliteRow row(raw);
    text = row.Step() == SQLITE_ROW ? row.GetText(0) : sqlite3_errmsg(db);
  }
  sqlite3_finalize(raw);
  return text;
}

std::string UsedBy(sqlite3* db) {
  const bool says = AskNumber(db, "SELECT count(*) FROM used_by") == 1;
  return says ? AskText(db, "SELECT version FROM used_by") : "of an unknown version";
}

// Whatever comes late: an older one replaces no newer one, what was acknowledged stays so, and a boot that is
// over fences nobody.
constexpr const char* kPutFence = R"sql(
  INSERT INTO fences (node, guid, boot, epoch, version_high, version_low)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE node = ?1 AND boot <> ?3)
    ON CONFLICT (node, guid) DO UPDATE SET boot = excluded.boot, epoch = excluded.epoch,
      version_high = excluded.version_high, version_low = excluded.version_low, acknowledged = NULL
    WHERE excluded.epoch > epoch
)sql";

std::string HexOfRandomKey() {
  std::array<unsigned char, 16> key{};
  // Never short or interrupted for so few bytes, getrandom(2).
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) return {};
  std::string hex;
  for (const unsigned char byte : key) hex += fmt::format("{:02x}", byte);
  return hex;
}

}  // namespace

std::string SqliteStateStore::Damaged(const std::string& why) const {
  return fmt::format(
      "the state file {} is damaged ({}). batond does not start on a state it cannot trust: an epoch given "
      "out twice would let "
      "a fenced program write again. Move all files of its directory away and put back a backup (baton "
      "backup-state makes "
      "them) as batond.db, alone; or, when no node has this export mounted any more, begin with an empty "
      "directory",
      file_.string(), why);
}

SqliteStateStore::Problem SqliteStateStore::LockDirectory(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "batond.lock";
  lock_.Reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_) return SystemProblem("open the lock file", path);
  if (::flock(lock_.Get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemProblem("lock", path);
    std::array<char, 32> text{};
    const ssize_t size = ::pread(lock_.Get(), text.data(), text.size() - 1, 0);
    const std::string pid(text.data(), size > 0 ? std::strcspn(text.data(), "\n") : 0);
    return tl::unexpected(
        fmt::format("the state directory {} is in use by another batond ({}); one server has one state "
                    "directory: stop it first, or choose another with --state-dir",
                    directory.string(), pid.empty() ? "pid unknown" : "pid " + pid));
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock_.Get(), 0) != 0 ||
      ::pwrite(lock_.Get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return SystemProblem("write", path);
  }
  return {};
}

// A new state file appears with its content: one that is empty has lost it.
SqliteStateStore::Problem SqliteStateStore::OpenDatabase() {
  struct stat attr {};
  const bool is_there = ::lstat(file_.c_str(), &attr) == 0;
  if (!is_there && errno != ENOENT) return SystemProblem("look at the state file", file_);
  if (auto checked = CheckFile(is_there); !checked) return checked;
  if (!is_there) {
    if (auto made = MakeDatabase(); !made) return made;
  }
  return Connect(file_);
}

SqliteStateStore::Problem SqliteStateStore::Connect(const std::filesystem::path& file) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(
      file.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, nullptr);
  db_.reset(db);
  if (code != SQLITE_OK)
    return tl::unexpected(
        fmt::format("cannot open the state file {}: {}", file.string(), sqlite3_errstr(code)));
  sqlite3_busy_timeout(db, 2000);  // a person's sqlite3 shell may be looking
  return {};
}

SqliteStateStore::Problem SqliteStateStore::MakeDatabase() {
  const std::filesystem::path unfinished = file_.string() + ".new";
  for (const char* of : {"", "-journal"})
    ::unlink((unfinished.string() + of).c_str());  // of a start that ended early
  // Made here, for the mode: SQLite gives its journal the mode of the file.
  const UniqueFd file(::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return SystemProblem("make the state file", unfinished);
  if (auto connected = Connect(unfinished); !connected) return connected;
  if (auto filled = Fill(); !filled) return filled;
  db_.reset();
  const UniqueFd directory(::open(file_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(file.Get()) != 0 || ::rename(unfinished.c_str(), file_.c_str()) != 0 ||
      ::fsync(directory.Get()) != 0) {
    return SystemProblem("make the state file", file_);
  }
  return {};
}

SqliteStateStore::Problem SqliteStateStore::CheckDatabase() {
  sqlite3* db = db_.get();
  // The first statements that read the file at all.
  if (Execute("PRAGMA locking_mode=EXCLUSIVE") != SQLITE_OK ||
      Execute("BEGIN EXCLUSIVE; COMMIT") != SQLITE_OK) {
    const int code = sqlite3_errcode(db);
    if (code == SQLITE_BUSY) {
      return tl::unexpected(
          fmt::format("the state file {} is open in another program; end it first", file_.string()));
    }
    return tl::unexpected(
        code == SQLITE_NOTADB || code == SQLITE_CORRUPT
            ? Damaged(sqlite3_errmsg(db))
            : fmt::format("cannot read the state file {}: {}", file_.string(), sqlite3_errmsg(db)));
  }
  const std::int64_t application = AskNumber(db, "PRAGMA application_id");
  const std::int64_t version = AskNumber(db, "PRAGMA user_version");
  const std::int64_t tables = AskNumber(db, "SELECT count(*) FROM sqlite_schema");
  if (tables < 0) return tl::unexpected(Damaged(sqlite3_errmsg(db)));
  if (application != kApplicationId && application != kBackupApplicationId) {
    return tl::unexpected(
        fmt::format("{} is not a state file of batond (application id {:#x}); choose another directory with "
                    "--state-dir, or put "
                    "the right file there",
                    file_.string(), application));
  }
  if (version > kSchemaVersion) {
    return tl::unexpected(fmt::format(
        "the state file {} is of a newer batond (schema {}, last used by batond {}; this is {}, which knows "
        "schema {}); run that version, or a newer one",
        file_.string(), version, UsedBy(db), Version(), kSchemaVersion));
  }
  if (version < 1) return tl::unexpected(Damaged(fmt::format("it says that its schema is {}", version)));
  if (const std::string found = AskText(db, "PRAGMA quick_check(1)"); found != "ok")
    return tl::unexpected(Damaged(found));
  return {};
}

// What no damage to a page's structure shows.
SqliteStateStore::Problem SqliteStateStore::CheckContent() {
  sqlite3* db = db_.get();
  if (AskNumber(db, "SELECT count(*) FROM server") != 1)
    return tl::unexpected(Damaged("the server's key is missing"));
  if (AskNumber(db, "SELECT count(*) FROM instances WHERE epoch > (SELECT last_epoch FROM server)") != 0)
    return tl::unexpected(Damaged("it knows epochs that it has not given"));
  // From such a number on the next ones would be small again (rule T7).
  if (AskNumber(db, "SELECT count(*) FROM server WHERE last_epoch NOT BETWEEN 0 AND 1 << 62") != 0 ||
      AskNumber(db, "SELECT count(*) FROM instances WHERE epoch < 0") != 0)
    return tl::unexpected(Damaged("its epochs are out of range"));
  return {};
}

SqliteStateStore::Problem SqliteStateStore::Fill() {
  const std::string key = HexOfRandomKey();
  if (key.empty())
    return tl::unexpected(
        fmt::format("cannot get random bytes for the server's key: {}", std::strerror(errno)));
  const std::string create = fmt::format(
      "BEGIN IMMEDIATE; {} {} {} INSERT INTO server (one, key) VALUES (1, x'{}');"
      "PRAGMA application_id={}; PRAGMA user_version={}; COMMIT",
      kSchema, kSchema2, kSchema3, key, kApplicationId, kSchemaVersion);
  if (Execute(create.c_str()) == SQLITE_OK) return {};
  return tl::unexpected(
      fmt::format("cannot fill the state file {}: {}", file_.string(), sqlite3_errmsg(db_.get())));
}

SqliteStateStore::Problem SqliteStateStore::Prepare() {
  sqlite3* db = db_.get();
  const auto failed = [&](const char* what) {
    return tl::unexpected(
        fmt::format("cannot {} the state file {}: {}", what, file_.string(), sqlite3_errmsg(db)));
  };
  if (Execute("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON") != SQLITE_OK) return failed("set up");
  if (const std::int64_t version = AskNumber(db, "PRAGMA user_version"); version < kSchemaVersion) {
    const std::string upgrade = fmt::format("BEGIN IMMEDIATE; {} {} PRAGMA user_version={}; COMMIT",
                                            version < 2 ? kSchema2 : "", kSchema3, kSchemaVersion);
    if (Execute(upgrade.c_str()) != SQLITE_OK) {
      if (sqlite3_errcode(db) == SQLITE_ERROR) return tl::unexpected(Damaged(sqlite3_errmsg(db)));
      return failed("bring up to date");
    }
  }
  if (auto checked = CheckContent(); !checked) return checked;
  if (AskNumber(db, "PRAGMA application_id") == kBackupApplicationId) {
    if (auto started = StartFromBackup(); !started) return started;
  }
  const bool is_file = file_ != ":memory:";
  if (is_file && AskText(db, "PRAGMA journal_mode=WAL") != "wal")
    return failed("switch to write-ahead logging");
  const std::string used = fmt::format("INSERT OR REPLACE INTO used_by VALUES (1, '{}')", Version());
  if (Execute(used.c_str()) != SQLITE_OK) return failed("write");
  const std::int64_t count = AskNumber(db, "SELECT count(*) FROM instances");
  if (count < 0) return failed("read");
  count_ = static_cast<std::size_t>(count);

  const auto prepare = [&](Statement& to, const char* sql) {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
    to.reset(raw);
    return code == SQLITE_OK;
  };
  const bool prepared = prepare(update_,
                                "UPDATE instances SET epoch=?2, owner=?3, version_high=?4, version_low=?5, "
                                "node=?6, used=max(used, ?7) "
                                "WHERE guid=?1") &&
                        prepare(insert_, "INSERT INTO instances VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)") &&
                        prepare(erase_, "DELETE FROM instances WHERE guid=?1") &&
                        prepare(touch_, "UPDATE instances SET used=max(used, ?2) WHERE guid=?1") &&
                        prepare(fence_, kPutFence);
  if (!prepared) return tl::unexpected(Damaged(sqlite3_errmsg(db)));
  return {};
}

tl::expected<std::unique_ptr<SqliteStateStore>, std::string> SqliteStateStore::Open(
    const std::filesystem::path& directory, std::size_t max_instances) {
  if (auto made = MakeDirectory(directory); !made) return tl::unexpected(made.error());
  std::unique_ptr<SqliteStateStore> store(new SqliteStateStore(directory / "batond.db", max_instances));
  auto done = store->LockDirectory(directory)
                  .and_then([&] { return store->OpenDatabase(); })
                  .and_then([&] { return store->CheckDatabase(); })
                  .and_then([&] { return store->Prepare(); });
  if (!done) return tl::unexpected(done.error());
  return store;
}

std::unique_ptr<SqliteStateStore> SqliteStateStore::OpenInMemory(std::size_t max_instances) {
  std::unique_ptr<SqliteStateStore> store(new SqliteStateStore(":memory:", max_instances));
  sqlite3* db = nullptr;
  BATON_CHECK(sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr) ==
              SQLITE_OK);
  store->db_.reset(db);
  const auto prepared = store->Fill().and_then([&] { return store->Prepare(); });
  BATON_CHECK(prepared.has_value());
  return store;
}

}  // namespace baton
