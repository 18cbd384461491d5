// SqliteStateStore: the state in one SQLite file of a directory that belongs to one server at a time. WAL
// with synchronous=FULL: a commit is one write and one fdatasync of the write-ahead log (rule T4 wants the
// epoch durable).
//
// It never starts on a state it cannot trust (damaged, of a newer batond, in use by another): with an older
// or empty state an epoch could be given out twice, and a fenced program could come back (rule T7).
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tl/expected.hpp>

#include "base/unique_fd.h"
#include "server/state/state_store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace baton {

class SqliteRow;

class SqliteStateStore final : public StateStore {
 public:
  static constexpr int kSchemaVersion = 3;

  // Creates the directory (0700), batond.db and batond.lock where they are missing. The error is a sentence
  // for the person who started the server; it names the file and what to do.
  static tl::expected<std::unique_ptr<SqliteStateStore>, std::string> Open(
      const std::filesystem::path& directory, std::size_t max_instances = kDefaultMaxInstances);
  // For tests and simulation: what it keeps lives as long as the object.
  static std::unique_ptr<SqliteStateStore> OpenInMemory(std::size_t max_instances = kDefaultMaxInstances);
  ~SqliteStateStore() override;

  Result<std::vector<InstanceRecord>> Load() override;
  Result<void> SaveAll(std::span<const Commit> commits, WallTime used, Instant now) override;
  Result<void> Erase(const Guid& guid) override;
  void Touch(const Guid& guid, WallTime used) override;
  Result<std::vector<Guid>> EraseUnusedSince(WallTime limit) override;
  Result<void> AcknowledgeFence(const FenceRecord& fence) override;
  Result<std::vector<FenceRecord>> LoadFences() override;
  Result<void> SaveSession(const SessionRecord& session, Instant reserved_until) override;
  Result<void> EraseSession(SessionId session) override;
  Result<void> EndSession(const CommitEnd& end, Instant reserved_until) override;
  Result<void> SaveUse(const SessionUse& use) override;
  Result<std::vector<SessionRecord>> LoadSessions() override;
  Result<std::vector<SessionUse>> LoadUses() override;
  Result<std::map<Guid, Instant>> LoadReserved(const std::string& boot, Instant now, Duration reservation) override;
  Result<std::uint64_t> CountStart() override;
  Result<Epoch> LastEpoch() override;
  Result<ServerKey> LoadServerKey() override;
  BackUpProblem BackUp(const std::filesystem::path& file, bool replace) override;

 private:
  struct CloseDb {
    void operator()(sqlite3* db) const;
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;
  using Problem = tl::expected<void, std::string>;

  explicit SqliteStateStore(std::filesystem::path file, std::size_t max_instances)
      : file_(std::move(file)), max_instances_(max_instances) {}

  Problem LockDirectory(const std::filesystem::path& directory);
  Problem OpenDatabase();
  Problem Connect(const std::filesystem::path& file);
  Problem MakeDatabase();
  Problem Fill();
  Problem CheckFile(bool is_there) const;
  Problem CheckDatabase();
  Problem CheckContent();
  Problem Prepare();
  Problem StartFromBackup();
  std::string CopyTo(const std::string& path);
  std::string Damaged(const std::string& why) const;

  int Execute(const char* sql);
  // Runs `body` inside one transaction together with the pending touches; rolls back if it answers an error.
  Result<void> Transaction(const char* what, const std::function<Result<void>()>& body);
  // One statement that is used rarely; for each of its rows `take`.
  Result<void> Run(const char* what, const char* sql, const std::function<void(SqliteRow&)>& bind = nullptr,
                   const std::function<void(SqliteRow&)>& take = nullptr);
  Result<void> WriteTouches();
  Result<void> SaveOne(const Commit& commit, WallTime used, Instant now);
  Result<void> SaveRecord(const InstanceRecord& record, WallTime used);
  Result<void> PutFence(const FenceRecord& fence);
  Result<void> PutUse(const SessionUse& use);
  Result<void> Forget(SessionId session);
  Result<void> ReserveUsesOf(SessionId session, Instant until);
  tl::unexpected<Errno> Failed(const char* what);

  std::filesystem::path file_;
  std::size_t max_instances_;
  UniqueFd lock_;  // closed last: the lock outlives the database
  std::unique_ptr<sqlite3, CloseDb> db_;

  std::mutex mutex_;  // guards all below, and the connection
  Statement update_, insert_, erase_, touch_, fence_;
  std::size_t count_ = 0;
  bool full_logged_ = false;
  std::map<Guid, WallTime> touched_;
};

}  // namespace baton
