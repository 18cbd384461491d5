// What the exercised files must hold, in memory that several processes of one machine can map: those of one
// node, or of two that are namespaces of one machine. It does not lock: who holds the lock of a range
// (locks.h) may touch the same range here, and who holds a whole file may change its size. Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace baton::exerciser {

struct Range {
  std::size_t start = 0;
  std::size_t end = 0;  // one past the last byte

  std::size_t Length() const { return end - start; }
  bool Overlaps(const Range& other) const { return start < other.end && other.start < end; }
};

constexpr Range kWholeFile{.start = 0, .end = std::size_t{1} << 40};

// A change that was made, kept to be shown when something differs.
struct Step {
  std::uint64_t operation;
  std::uint32_t worker;
  std::uint32_t file;
  char kind[16];
  Range range;
};

class Model {
 public:
  // Maps `path`, made if it is not there; no path: memory of this process alone.
  Model(const std::string& path, int files, std::size_t max_size);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::size_t MaxSize() const { return max_size_; }
  int Files() const { return files_; }
  std::size_t Size(int file) const;
  std::span<const unsigned char> Bytes(int file, Range range) const;

  void Put(int file, std::size_t offset, std::span<const unsigned char> data);  // grows the file
  void Zero(int file, Range range);                                             // does not grow it
  void Resize(int file, std::size_t size);

  void Remember(const Step& step);
  std::string History(int file, std::size_t offset) const;  // the last changes there, newest first

  // Once anybody has failed, all stop.
  void Fail() { Header()->failed.store(1); }
  bool Failed() const { return Header()->failed.load() != 0; }

 private:
  static constexpr std::size_t kSteps = 4096;
  struct Shared {
    std::atomic<std::uint32_t> failed;
    std::atomic<std::uint64_t> steps;
    Step step[kSteps];
    std::size_t size[64];
  };

  Shared* Header() const { return static_cast<Shared*>(area_); }
  unsigned char* Data(int file) const;

  void* area_ = nullptr;
  std::size_t area_size_;
  int files_;
  std::size_t max_size_;
};

}  // namespace baton::exerciser
