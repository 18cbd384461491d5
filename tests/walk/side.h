// One of the two trees that a walk goes through at the same time, the local one or the mount's, with what it
// has open there; and what can be seen of an entry. Not the comparison (compare.h). One thread.
#pragma once

#include <sys/stat.h>

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace baton::walk {

// What a call gave.
struct Result {
  long value = 0;
  int error = 0;
  std::string data;

  bool operator==(const Result&) const = default;
};

// Of a system call that is made as the argument.
Result Did(long value);
std::string Told(const Result& result);
// Readable, and short: of a long run of bytes its length.
std::string Quoted(std::string_view bytes);

constexpr int kSlots = 6;
constexpr int kNowhere = -1;  // instead of a slot: the working directory

// What an entry is, and under what name it was asked for.
struct Seen {
  int error = 0;  // nothing else is known then
  struct stat attributes {};
  std::string link;
  std::map<std::string, std::string> xattrs;  // errors are values of their own: "errno 13"
  std::string content;                        // of a regular file, where that was asked for
};

class Side {
 public:
  // `base` is there. The walk's directory lies a few levels below, where no ".." leads out of it.
  Side(std::string title, const std::string& base, const std::string& name, bool as_root);
  ~Side();
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  // Makes the walk's directory the working directory.
  void Enter() const;
  // A descriptor for *at(): of a slot, or AT_FDCWD.
  int At(int slot) const;
  int Fd(int slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  // Takes the descriptor, closes what was there.
  void Put(int slot, int fd);
  // close(2)'s own result.
  int Close(int slot);
  // Paths may begin with "<N>": what slot N has open, by its name in /proc.
  std::string Expand(const std::string& path) const;

  Seen See(const std::string& path, bool follow) const;
  Seen SeeSlot(int slot) const;
  // Everything below the walk's directory by its path; `contents`: with those of regular files.
  std::map<std::string, Seen> SeeAll(bool contents) const;
  // The directory lets everybody in again.
  void Reopen() const;
  // An ordinary user has shut a directory above it, by "..": whether, and open again.
  bool IsShutIn() const;
  void LetIn() const;
  // Removes all of it.
  void Remove();

  const std::string title;

 private:
  void SeeBelow(int directory, const std::string& path, bool contents,
                std::map<std::string, Seen>& all) const;

  std::string top_;
  int root_ = -1;
  std::array<int, kSlots> slots_;
};

}  // namespace baton::walk
