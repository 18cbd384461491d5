// SqliteRow: binds and reads one use of a prepared statement, and resets it at the end of the scope. SQLite
// has only signed integers; unsigned ones are kept with the same bits. One thread.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "base/guid.h"

namespace baton {

class SqliteRow {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}
  SqliteRow(const SqliteRow&) = delete;
  SqliteRow& operator=(const SqliteRow&) = delete;
  ~SqliteRow() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

  SqliteRow& Bind(int at, std::int64_t value) {
    sqlite3_bind_int64(statement_, at, value);
    return *this;
  }
  SqliteRow& Bind(int at, std::uint64_t value) { return Bind(at, static_cast<std::int64_t>(value)); }
  SqliteRow& Bind(int at, const std::string& text) {
    sqlite3_bind_text(statement_, at, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
    return *this;
  }
  SqliteRow& Bind(int at, const Guid& guid) {
    sqlite3_bind_blob(statement_, at, guid.data, static_cast<int>(guid.size()), SQLITE_TRANSIENT);
    return *this;
  }
  // Two columns, both null if there is none.
  SqliteRow& BindVersion(int at, const std::optional<InstanceVersion>& version) {
    if (version) Bind(at, version->high).Bind(at + 1, version->low);
    return *this;
  }

  int Step() { return sqlite3_step(statement_); }

  bool IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::int64_t GetInt(int column) const { return sqlite3_column_int64(statement_, column); }
  std::uint64_t GetUint(int column) const { return static_cast<std::uint64_t>(GetInt(column)); }
  std::string GetText(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (text == nullptr) return {};
    return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }
  // False if the column has another size.
  bool GetBytes(int column, std::span<std::byte> to) const {
    const void* bytes = sqlite3_column_blob(statement_, column);
    if (bytes == nullptr || static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)) != to.size())
      return false;
    std::memcpy(to.data(), bytes, to.size());
    return true;
  }
  // The schema has checked the size.
  Guid GetGuid(int column) const {
    Guid guid{};
    GetBytes(column, std::as_writable_bytes(std::span(guid.data)));
    return guid;
  }
  std::optional<InstanceVersion> GetVersion(int column) const {
    if (IsNull(column)) return std::nullopt;
    return InstanceVersion{GetUint(column), GetUint(column + 1)};
  }

 private:
  sqlite3_stmt* statement_;
};

}  // namespace baton
