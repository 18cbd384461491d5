// One thread's random operations on the files, each checked against the model. What it does follows from the
// seed and its number alone; what it meets depends on the others too. Not a test of names: the files keep
// theirs.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "exerciser/locks.h"
#include "exerciser/model.h"

namespace baton::exerciser {

struct Options {
  std::string directory;
  std::string store;  // the same files past the mount, compared at the end; empty: not
  std::string model;  // shared with other processes; empty: of this one alone
  std::uint64_t seed = 1;
  std::uint64_t operations = 20000;
  int threads = 4;
  int first_worker = 0;
  int files = 3;
  std::size_t max_size = 256 * 1024;
  Kind locks = Kind::kInProcess;
  bool ranges = false;  // with record locks: only the range that is used is locked, not the whole file
};

std::string FileName(int file);

// The file system gave something else than the model, or an error.
class Difference : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Worker {
 public:
  Worker(const Options& options, Model& model, std::deque<RangeLocks>& locks, int number);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Until all is done or anybody failed; throws Difference.
  void Run(std::uint64_t operations);
  // Every byte of every file, under its lock.
  void CheckAll();

  const std::map<std::string, std::uint64_t>& Counts() const { return counts_; }

 private:
  struct Open {
    int fd = -1;
    bool direct = false;
    unsigned char* map = nullptr;  // of max_size bytes: only those inside the file may be touched
  };

  void One();
  void Read();
  void Write();
  void WriteGrowing();
  void Append();
  void Truncate();
  void Punch();
  void ZeroRange();
  void Allocate();
  void Copy();
  void Load();
  void Store();
  void Stat();
  void Holes();
  void Reopen();
  void Sync();

  Guard Hold(Range range, bool exclusive);
  Range Pick();  // anywhere below the largest size
  Range Pages(Range range) const;
  Range Inside(Range range) const;  // what of it the file has
  std::vector<unsigned char> Data(std::size_t length);
  void OpenFile(int file);
  void CloseFile(int file);
  void Map();
  void LearnSize();
  void CheckSize();
  int SetFlags(int more);
  void WriteAll(int fd, std::span<const unsigned char> data, std::size_t offset);
  std::vector<unsigned char> ReadAll(Range range);
  void Compare(Range range, const unsigned char* got);
  void Done(Range range);      // a change is made: for the history
  bool Supported(int result);  // false, and this kind is not tried again, if the file system has not got it
  [[noreturn]] void Error(const std::string& what) const;
  void Check(bool good, const std::string& what) const {
    if (!good) Error(what);
  }

  const Options& options_;
  Model& model_;
  std::deque<RangeLocks>& locks_;
  int number_;
  std::mt19937_64 random_;
  std::vector<Open> open_;
  int file_ = 0;  // of the operation under way
  const char* kind_ = "";
  std::uint64_t operation_ = 0;
  std::map<std::string, bool> missing_;
  std::map<std::string, std::uint64_t> counts_;
};

}  // namespace baton::exerciser
