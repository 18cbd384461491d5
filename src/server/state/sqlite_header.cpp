// SqliteStateStore: what can be told of the state file before SQLite opens it. That would take one that is
// cut off short for a new one, fill up a page that is cut off, and apply a log that lies beside it, whatever
// file it is of.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "server/state/sqlite_format.h"
#include "server/state/sqlite_state_store.h"

namespace baton {
namespace {

using Header = std::array<unsigned char, 100>;  // sqlite.org/fileformat2.html

std::uint32_t Number(const Header& header, std::size_t at, std::size_t bytes) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < bytes; ++i) number = number << 8 | header[at + i];
  return number;
}

std::string WhyCut(const Header& header, std::uint64_t size) {
  const std::uint32_t said = Number(header, 16, 2);
  const std::uint64_t page = said == 1 ? 65536 : said;
  const std::uint64_t pages = Number(header, 28, 4);
  if (page < 512 || size % page != 0) return fmt::format("its size of {} bytes is no number of pages", size);
  if (size / page < pages) return fmt::format("it has {} pages of {}", size / page, pages);
  return {};
}

}  // namespace

SqliteStateStore::Problem SqliteStateStore::CheckFile(bool is_there) const {
  const std::filesystem::path wal = file_.string() + "-wal";
  struct stat attr {};
  const bool has_log = ::stat(wal.c_str(), &attr) == 0 && attr.st_size > 0;
  if (!is_there && has_log)
    return tl::unexpected(Damaged(fmt::format("it is gone, and its log {} is there", wal.string())));
  if (!is_there) return {};
  const UniqueFd fd(::open(file_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd || ::fstat(fd.Get(), &attr) != 0)
    return tl::unexpected(
        fmt::format("cannot open the state file {}: {}", file_.string(), std::strerror(errno)));
  if (!S_ISREG(attr.st_mode))
    return tl::unexpected(fmt::format("the state file {} is not a file", file_.string()));
  Header header{};
  if (::pread(fd.Get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()))
    return tl::unexpected(Damaged(fmt::format("it has only {} bytes", attr.st_size)));
  if (!has_log) {
    const std::string cut = WhyCut(header, static_cast<std::uint64_t>(attr.st_size));
    if (!cut.empty()) return tl::unexpected(Damaged(cut));
  } else if (Number(header, 68, 4) == std::uint32_t{kBackupApplicationId}) {
    return tl::unexpected(
        fmt::format("the state file {} is a backup that was put back, and {} beside it is the log of another "
                    "file: move all "
                    "other files of that directory away, then start again",
                    file_.string(), wal.string()));
  }
  return {};
}

}  // namespace baton
