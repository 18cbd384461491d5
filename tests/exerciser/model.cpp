#include "exerciser/model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace baton::exerciser {

Model::Model(const std::string& path, int files, std::size_t max_size)
    : area_size_(sizeof(Shared) + static_cast<std::size_t>(files) * max_size),
      files_(files),
      max_size_(max_size) {
  if (files < 1 || files > 64) throw std::invalid_argument("1 to 64 files");
  int fd = -1;
  if (!path.empty()) {
    fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(area_size_)) != 0) {
      throw std::system_error(errno, std::generic_category(), path);
    }
  }
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  area_ = ::mmap(nullptr, area_size_, PROT_READ | PROT_WRITE, flags, fd, 0);
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (area_ == MAP_FAILED) throw std::system_error(error, std::generic_category(), "mmap");
}

Model::~Model() {
  ::munmap(area_, area_size_);
}

unsigned char* Model::Data(int file) const {
  return static_cast<unsigned char*>(area_) + sizeof(Shared) + static_cast<std::size_t>(file) * max_size_;
}

std::size_t Model::Size(int file) const {
  return Header()->size[file];
}

std::span<const unsigned char> Model::Bytes(int file, Range range) const {
  return {Data(file) + range.start, range.Length()};
}

void Model::Put(int file, std::size_t offset, std::span<const unsigned char> data) {
  std::memcpy(Data(file) + offset, data.data(), data.size());
  // Only the holder of the whole file grows it; others must not even write the same value.
  if (offset + data.size() > Size(file)) Header()->size[file] = offset + data.size();
}

void Model::Zero(int file, Range range) {
  range.end = std::min(range.end, Size(file));
  if (range.start < range.end) std::memset(Data(file) + range.start, 0, range.Length());
}

void Model::Resize(int file, std::size_t size) {
  const std::size_t before = Size(file);
  if (size < before) std::memset(Data(file) + size, 0, before - size);
  Header()->size[file] = size;
}

void Model::Remember(const Step& step) {
  Header()->step[Header()->steps.fetch_add(1) % kSteps] = step;
}

std::string Model::History(int file, std::size_t offset) const {
  std::ostringstream text;
  const std::uint64_t last = Header()->steps.load();
  int shown = 0;
  for (std::uint64_t n = last; n > 0 && last - n < kSteps && shown < 12; --n) {
    const Step& step = Header()->step[(n - 1) % kSteps];
    if (static_cast<int>(step.file) != file || !step.range.Overlaps({offset, offset + 1})) continue;
    text << "    worker " << step.worker << " operation " << step.operation << ": " << step.kind << " "
         << step.range.start << " to " << step.range.end << "\n";
    ++shown;
  }
  return text.str();
}

}  // namespace baton::exerciser
