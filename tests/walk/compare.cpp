#include "walk/compare.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <cstring>

namespace baton::walk {
namespace {

constexpr std::int64_t kADay = 86400;

bool Before(const timespec& one, const timespec& other) {
  return std::pair(one.tv_sec, one.tv_nsec) < std::pair(other.tv_sec, other.tv_nsec);
}

// "new", "old", or a time that can only have been set as such.
std::string TimeText(const timespec& time, const timespec& since) {
  if (std::llabs(time.tv_sec - since.tv_sec) > kADay)
    return fmt::format("{}s+{}ns", time.tv_sec, time.tv_nsec);
  return Before(time, since) ? "old" : "new";
}

std::string Text(const Seen& seen, const Moment& since) {
  if (seen.error != 0) return std::string("error ") + ::strerrorname_np(seen.error);
  const struct stat& is = seen.attributes;
  std::string text =
      fmt::format("mode {:o} owner {}:{} links {}", is.st_mode, is.st_uid, is.st_gid, is.st_nlink);
  if (!S_ISDIR(is.st_mode)) text += fmt::format(" size {}", is.st_size);
  text += fmt::format(" device {}:{} block {}", major(is.st_rdev), minor(is.st_rdev), is.st_blksize);
  if (S_ISLNK(is.st_mode)) text += " -> " + Quoted(seen.link);
  if (since) {
    text += fmt::format(" atime {} mtime {} ctime {}", TimeText(is.st_atim, *since),
                        TimeText(is.st_mtim, *since), TimeText(is.st_ctim, *since));
  }
  for (const auto& [name, value] : seen.xattrs) text += fmt::format(" {}={}", Quoted(name), Quoted(value));
  return text;
}

// The first of those that are the same file.
std::vector<std::size_t> FirstNames(const Look& look) {
  std::map<ino_t, std::size_t> first;
  std::vector<std::size_t> names;
  for (std::size_t n = 0; n < look.size(); ++n) {
    const Seen& seen = look[n].second;
    // Of what has no name any more the number may have been given anew where nobody holds it open.
    names.push_back(seen.error != 0 || seen.attributes.st_nlink == 0
                        ? n
                        : first.emplace(seen.attributes.st_ino, n).first->second);
  }
  return names;
}

}  // namespace

std::string Difference(const Seen& local, const Seen& mount, const Moment& since) {
  const std::string one = Text(local, since), other = Text(mount, since);
  if (one != other) return "\n    local: " + one + "\n    mount: " + other;
  if (local.xattrs != mount.xattrs) return " has other values of xattrs";
  if (local.content != mount.content)
    return fmt::format(" has other content: {} and {}", Quoted(local.content), Quoted(mount.content));
  return {};
}

std::string Difference(const Look& local, const Look& mount, const Moment& since) {
  for (std::size_t n = 0; n < local.size() && n < mount.size(); ++n) {
    const auto& [name, seen] = local[n];
    if (name != mount[n].first)
      return fmt::format("local has {}, the mount {}", Quoted(name), Quoted(mount[n].first));
    if (const std::string differs = Difference(seen, mount[n].second, since); !differs.empty())
      return Quoted(name) + differs;
  }
  if (local.size() != mount.size())
    return fmt::format("{} entries locally, {} on the mount; one more is {}", local.size(), mount.size(),
                       Quoted(local.size() > mount.size() ? local.back().first : mount.back().first));
  const auto one = FirstNames(local), other = FirstNames(mount);
  for (std::size_t n = 0; n < one.size(); ++n) {
    if (one[n] == other[n]) continue;
    return fmt::format("{} is the file {} locally, and {} on the mount", Quoted(local[n].first),
                       Quoted(local[one[n]].first), Quoted(local[other[n]].first));
  }
  return {};
}

}  // namespace baton::walk
