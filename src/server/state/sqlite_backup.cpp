// SqliteStateStore: copies of the state while it is in use, and what it means to start from one.
//
// A copy that is put back is older than what happened since. It carries an application id of its own, so that
// the first start from it is told apart from every other, and is made safe in one transaction
// (StartFromBackup).
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "server/state/sqlite_format.h"
#include "server/state/sqlite_state_store.h"

namespace baton {
namespace {

constexpr int kPagesAtOnce = 256;  // a megabyte; commits may come in between

StateStore::BackUpProblem No(int error, std::string text) {
  return tl::unexpected(std::pair(error, std::move(text)));
}

StateStore::BackUpProblem SystemProblem(const char* what, const std::filesystem::path& path) {
  const int error = errno;
  return No(error, fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(error)));
}

// The file under its temporary name. It goes unless it was given its own.
class Unfinished {
 public:
  explicit Unfinished(const std::filesystem::path& file) : path_(file.string() + ".XXXXXX") {
    fd_.Reset(::mkostemp(path_.data(), O_CLOEXEC));
  }
  ~Unfinished() {
    if (!fd_ || finished_) return;
    for (const char* of : {"", "-journal", "-wal", "-shm"}) ::unlink((path_ + of).c_str());
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  int Fd() const { return fd_.Get(); }
  const std::string& Path() const { return path_; }
  bool Finish(const std::filesystem::path& file, bool replace) {
    finished_ =
        ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, file.c_str(), replace ? 0 : RENAME_NOREPLACE) == 0;
    return finished_;
  }

 private:
  std::string path_;
  UniqueFd fd_;
  bool finished_ = false;
};

bool SyncDirectoryOf(const std::filesystem::path& file) {
  const UniqueFd directory(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory && ::fsync(directory.Get()) == 0;
}

// Epochs, starts: what was given since the copy was made is skipped, with room to spare. Every incarnation
// gets a number that nobody has, so that whoever had it, or a later one, belongs to the past; so do all
// sessions: their nodes are told that what they acted for is fenced, and what they held stays reserved (until
// when is not known: this is another machine's time, or another boot's).
constexpr const char* kStartFromBackup = R"sql(
  BEGIN IMMEDIATE;
  UPDATE server SET last_epoch = last_epoch + 4294967296, starts = starts + 4096;
  INSERT INTO fences (node, guid, boot, epoch)
    SELECT sessions.node, uses.guid, min(sessions.boot), (SELECT last_epoch FROM server)
    FROM uses JOIN sessions ON sessions.id = uses.session WHERE uses.guid <> zeroblob(16)
    GROUP BY sessions.node, uses.guid
    ON CONFLICT (node, guid) DO UPDATE SET boot = excluded.boot, epoch = excluded.epoch, version_high = NULL,
      version_low = NULL, acknowledged = NULL;
  INSERT OR IGNORE INTO reserved SELECT DISTINCT guid, 0 FROM uses WHERE guid <> zeroblob(16);
  UPDATE server SET boot = '';
  DELETE FROM sessions;
  UPDATE instances SET epoch = (SELECT last_epoch FROM server) + numbered.number
    FROM (SELECT guid, row_number() OVER (ORDER BY guid) AS number FROM instances) AS numbered
    WHERE numbered.guid = instances.guid;
)sql";

}  // namespace

StateStore::BackUpProblem SqliteStateStore::BackUp(const std::filesystem::path& file, bool replace) {
  std::error_code error;
  if (!file.is_absolute() || !file.has_filename()) return No(EINVAL, "the backup needs an absolute path");
  if (!replace && std::filesystem::exists(std::filesystem::symlink_status(file, error)))
    return No(EEXIST, fmt::format("{} is there already; --force replaces it", file.string()));
  Unfinished copy(file);
  if (copy.Fd() < 0) return SystemProblem("write beside", file);
  if (const std::string why = CopyTo(copy.Path()); !why.empty())
    return No(EIO, fmt::format("cannot write the backup {}: {}", file.string(), why));
  if (::fchmod(copy.Fd(), 0600) != 0 || ::fsync(copy.Fd()) != 0) return SystemProblem("write", file);
  if (!copy.Finish(file, replace)) {
    if (errno == EEXIST)
      return No(EEXIST, fmt::format("{} is there already; --force replaces it", file.string()));
    return SystemProblem("write", file);
  }
  if (!SyncDirectoryOf(file)) return SystemProblem("make durable", file);
  return {};
}

// Empty: done. In steps, between which others may change the state: what they change is changed in the copy
// as well.
std::string SqliteStateStore::CopyTo(const std::string& path) {
  sqlite3* raw = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  const std::unique_ptr<sqlite3, CloseDb> copy(raw);
  if (opened != SQLITE_OK) return sqlite3_errstr(opened);
  const auto execute = [&](const std::string& sql) {
    return sqlite3_exec(copy.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
  };
  execute("PRAGMA synchronous=OFF");  // whoever asked syncs the whole
  sqlite3_backup* backup = nullptr;
  {
    const std::scoped_lock lock(mutex_);
    backup = sqlite3_backup_init(copy.get(), "main", db_.get(), "main");
  }
  if (backup == nullptr) return sqlite3_errmsg(copy.get());
  int code = SQLITE_OK;
  while (code == SQLITE_OK) {
    const std::scoped_lock lock(mutex_);
    code = sqlite3_backup_step(backup, kPagesAtOnce);
  }
  {
    const std::scoped_lock lock(mutex_);
    sqlite3_backup_finish(backup);
  }
  if (code != SQLITE_DONE) return sqlite3_errstr(code);
  // One file, without a log beside it.
  if (!execute("PRAGMA journal_mode=DELETE") ||
      !execute(fmt::format("PRAGMA application_id={}", kBackupApplicationId)))
    return sqlite3_errmsg(copy.get());
  return {};
}

SqliteStateStore::Problem SqliteStateStore::StartFromBackup() {
  const std::string sql =
      fmt::format("{} PRAGMA application_id={}; COMMIT", kStartFromBackup, kApplicationId);
  if (Execute(sql.c_str()) != SQLITE_OK) {
    return tl::unexpected(
        fmt::format("cannot start from the backup {}: {}", file_.string(), sqlite3_errmsg(db_.get())));
  }
  log::Warn(
      "{} was a backup: all sessions of before have ended, and every program that ran as an app instance "
      "must be started "
      "again; what happened since the backup was made is not known",
      file_.string());
  return {};
}

}  // namespace baton
