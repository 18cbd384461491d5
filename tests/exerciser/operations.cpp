// What a worker can do to a file. Each takes its lock, does it, checks it and tells the model.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "exerciser/worker.h"

namespace baton::exerciser {
namespace {

constexpr std::size_t kPage = 4096;

// O_DIRECT on a local disk wants it; the buffer has a page more than is used.
unsigned char* Aligned(std::vector<unsigned char>& buffer) {
  const auto address = reinterpret_cast<std::uintptr_t>(buffer.data());
  return buffer.data() + (kPage - address % kPage) % kPage;
}

}  // namespace

// Of the descriptor, without O_DIRECT (whose alignment does not suit every operation); returns what they
// were.
int Worker::SetFlags(int more) {
  const int flags = ::fcntl(open_[file_].fd, F_GETFL);
  Check(flags >= 0 && ::fcntl(open_[file_].fd, F_SETFL, (flags & ~O_DIRECT) | more) == 0, "F_SETFL");
  return flags;
}

void Worker::CloseFile(int file) {
  Open& open = open_[file];
  if (open.map != nullptr) ::munmap(open.map, model_.MaxSize());
  if (open.fd >= 0) ::close(open.fd);
  open = {};
}

void Worker::Map() {
  Open& open = open_[file_];
  if (open.map != nullptr) return;
  // The kernel drops all pages of a FUSE file that is mapped through an O_DIRECT descriptor: nobody may be at
  // it.
  const Guard guard = Hold(kWholeFile, true);
  void* area = ::mmap(nullptr, model_.MaxSize(), PROT_READ | PROT_WRITE, MAP_SHARED, open.fd, 0);
  Check(area != MAP_FAILED, "mmap");
  open.map = static_cast<unsigned char*>(area);
}

void Worker::WriteAll(int fd, std::span<const unsigned char> data, std::size_t offset) {
  const ssize_t written = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
  Check(written >= 0, "pwrite");
  Check(static_cast<std::size_t>(written) == data.size(), "pwrite wrote " + std::to_string(written));
}

std::vector<unsigned char> Worker::ReadAll(Range range) {
  std::vector<unsigned char> data(range.Length() + 1);
  std::size_t got = 0;
  while (got < range.Length()) {
    const ssize_t part = ::pread(open_[file_].fd, data.data() + got, range.Length() - got,
                                 static_cast<off_t>(range.start + got));
    Check(part >= 0, "pread");
    if (part == 0) break;
    got += static_cast<std::size_t>(part);
  }
  errno = 0;
  Check(got == range.Length(), "pread of " + std::to_string(range.start) + " to " +
                                   std::to_string(range.end) + " got " + std::to_string(got));
  return data;
}

void Worker::Read() {
  const Range wish = open_[file_].direct ? Pages(Pick()) : Pick();
  const Guard guard = Hold(wish, false);
  // As much as was asked for, past the end too: one call may not give a byte more than there is.
  const Range there = Inside(wish);
  std::vector<unsigned char> buffer(wish.Length() + kPage);
  unsigned char* data = Aligned(buffer);
  const ssize_t got = ::pread(open_[file_].fd, data, wish.Length(), static_cast<off_t>(wish.start));
  Check(got >= 0, "pread");
  errno = 0;
  Check(static_cast<std::size_t>(got) == there.Length(), "pread of " + std::to_string(wish.start) + " to " +
                                                             std::to_string(wish.end) + " got " +
                                                             std::to_string(got));
  Compare(there, data);
}

void Worker::Write() {
  const Range wish = open_[file_].direct ? Pages(Pick()) : Pick();
  const Guard guard = Hold(wish, true);
  Range range = Inside(wish);
  if (open_[file_].direct) range.end &= ~(kPage - 1);
  if (range.end <= range.start) return;
  const auto data = Data(range.Length());
  std::vector<unsigned char> buffer(range.Length() + kPage);
  std::memcpy(Aligned(buffer), data.data(), data.size());
  WriteAll(open_[file_].fd, {Aligned(buffer), data.size()}, range.start);
  model_.Put(file_, range.start, data);
  Done(range);
}

void Worker::WriteGrowing() {
  const Range range = Pick();
  const Guard guard = Hold(kWholeFile, true);
  const auto data = Data(range.Length());
  const int flags = SetFlags(0);
  WriteAll(open_[file_].fd, data, range.start);
  Check(::fcntl(open_[file_].fd, F_SETFL, flags) == 0, "F_SETFL");
  model_.Put(file_, range.start, data);
  Done(range);
}

void Worker::Append() {
  const Range wish = Pick();
  const Guard guard = Hold(kWholeFile, true);
  LearnSize();  // the descriptor's position afterwards is the kernel's own idea of the end
  const std::size_t size = model_.Size(file_);
  const std::size_t length = std::min(wish.Length(), model_.MaxSize() - size);
  if (length == 0) return;
  const auto data = Data(length);
  const int fd = open_[file_].fd;
  const int flags = SetFlags(O_APPEND);
  const ssize_t written = ::write(fd, data.data(), length);
  Check(written >= 0, "write");
  Check(static_cast<std::size_t>(written) == length, "write wrote " + std::to_string(written));
  Check(::lseek(fd, 0, SEEK_CUR) == static_cast<off_t>(size + length), "the position after an append");
  Check(::fcntl(fd, F_SETFL, flags) == 0, "F_SETFL");
  model_.Put(file_, size, data);
  Done({.start = size, .end = size + length});
}

void Worker::Truncate() {
  // Mostly near the end, so that the files do not stay empty.
  const std::size_t anywhere = random_() % (model_.MaxSize() + 1);
  const bool shrink_little = random_() % 4 != 0;
  const Guard guard = Hold(kWholeFile, true);
  const std::size_t size = model_.Size(file_);
  const std::size_t wish = shrink_little ? size - std::min(size, anywhere % 20000) : anywhere;
  Check(::ftruncate(open_[file_].fd, static_cast<off_t>(wish)) == 0, "ftruncate");
  model_.Resize(file_, wish);
  Done({.start = std::min(size, wish), .end = std::max(size, wish)});
}

void Worker::Punch() {
  const Range range = Pick();
  const Guard guard = Hold(Pages(range), true);
  if (!Supported(::fallocate(open_[file_].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(range.start), static_cast<off_t>(range.Length())))) {
    return;
  }
  model_.Zero(file_, range);
  Done(range);
}

void Worker::ZeroRange() {
  const Range range = Pick();
  const Guard guard = Hold(Pages(range), true);
  if (!Supported(::fallocate(open_[file_].fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(range.start), static_cast<off_t>(range.Length())))) {
    return;
  }
  model_.Zero(file_, range);
  Done(range);
}

void Worker::Allocate() {
  const Range range = Pick();
  const Guard guard = Hold(kWholeFile, true);
  if (!Supported(::fallocate(open_[file_].fd, 0, static_cast<off_t>(range.start),
                             static_cast<off_t>(range.Length())))) {
    return;
  }
  model_.Resize(file_, std::max(model_.Size(file_), range.end));
  Done(range);
}

void Worker::Copy() {
  const Range from = Pick();
  const std::size_t to = Pick().start;
  const Guard guard = Hold(kWholeFile, true);
  LearnSize();
  const Range source = Inside(from);
  const std::size_t length = std::min(source.Length(), model_.MaxSize() - to);
  const Range target{.start = to, .end = to + length};
  if (length == 0 || source.Overlaps(target)) return;
  off_t in = static_cast<off_t>(source.start);
  off_t out = static_cast<off_t>(to);
  const int flags = SetFlags(0);
  const ssize_t copied = ::copy_file_range(open_[file_].fd, &in, open_[file_].fd, &out, length, 0);
  Check(copied >= 0, "copy_file_range");
  Check(::fcntl(open_[file_].fd, F_SETFL, flags) == 0, "F_SETFL");
  const auto bytes =
      model_.Bytes(file_, {.start = source.start, .end = source.start + static_cast<std::size_t>(copied)});
  const std::vector<unsigned char> data(bytes.begin(), bytes.end());
  model_.Put(file_, to, data);
  Done(target);
}

void Worker::Load() {
  const Range wish = Pick();
  Map();
  const Guard guard = Hold(Pages(wish), false);
  LearnSize();
  const Range range = Inside(wish);
  // Copied first: what is compared is what was compared.
  const std::vector<unsigned char> data(open_[file_].map + range.start, open_[file_].map + range.end);
  Compare(range, data.data());
}

void Worker::Store() {
  const Range wish = Pick();
  const bool sync = random_() % 8 == 0;
  Map();
  const Guard guard = Hold(Pages(wish), true);
  LearnSize();
  const Range range = Inside(wish);
  if (range.Length() == 0) return;
  const auto data = Data(range.Length());
  std::memcpy(open_[file_].map + range.start, data.data(), data.size());
  model_.Put(file_, range.start, data);
  Done(range);
  // What another node is to see after it has the lock must have left this node's memory before.
  if (sync || options_.locks != Kind::kInProcess) {
    const Range pages = Pages(range);
    Check(::msync(open_[file_].map + pages.start, pages.Length(), MS_SYNC) == 0, "msync");
  }
}

// A mapping, and a copy by the kernel, reach as far as the file did when this node last asked for its size.
void Worker::LearnSize() {
  if (options_.locks != Kind::kInProcess) CheckSize();
}

void Worker::CheckSize() {
  struct stat status {};
  Check(::fstat(open_[file_].fd, &status) == 0, "fstat");
  errno = 0;
  Check(static_cast<std::size_t>(status.st_size) == model_.Size(file_),
        "st_size is " + std::to_string(status.st_size));
}

void Worker::Stat() {
  const Guard guard = Hold(kWholeFile, false);
  CheckSize();
}

void Worker::Holes() {
  const Guard guard = Hold(kWholeFile, false);
  const std::size_t size = model_.Size(file_);
  const int fd = open_[file_].fd;
  // The server does not know what was only stored through a mapping.
  Check(::fsync(fd) == 0, "fsync");
  std::size_t at = 0;
  while (at < size) {
    off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    Check(data >= 0 || errno == ENXIO, "SEEK_DATA");
    if (data < 0) data = static_cast<off_t>(size);
    const Range hole{.start = at, .end = std::min(size, static_cast<std::size_t>(data))};
    Compare(hole, std::vector<unsigned char>(hole.Length() + 1).data());
    if (hole.end == size) break;
    const off_t end = ::lseek(fd, data, SEEK_HOLE);
    Check(end > data, "SEEK_HOLE from " + std::to_string(data) + " gave " + std::to_string(end));
    at = static_cast<std::size_t>(end);
  }
}

void Worker::Reopen() {
  const bool keep_map = random_() % 2 == 0;
  // An open asks for the size: nobody may be changing it (see "What differs" in docs/semantics.md). A record
  // lock would go with the descriptor.
  std::optional<Guard> guard;
  if (options_.locks == Kind::kInProcess)
    guard.emplace(Kind::kInProcess, locks_[file_], -1, kWholeFile, false);
  Open& open = open_[file_];
  if (open.map != nullptr && !keep_map) {
    ::munmap(open.map, model_.MaxSize());
    open.map = nullptr;
  }
  Check(::close(open.fd) == 0, "close");
  open.fd = -1;
  OpenFile(file_);
}

void Worker::Sync() {
  Check(::fsync(open_[file_].fd) == 0, "fsync");
}

}  // namespace baton::exerciser
