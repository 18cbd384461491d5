// A random walk over names and attributes, on a local directory and on a mount at the same time: each
// operation is drawn from the seed, made on both sides by the same process with the same identity, and what
// it gave and what it left behind must be the same. Follows from the seed and the number of operations alone.
// Not a test of what two programs do at once (tests/exerciser), nor of single cases (tests/parity). One
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>

#include "walk/compare.h"
#include "walk/operation.h"

namespace baton::walk {

struct Options {
  std::string local;
  std::string mount;
  std::uint64_t seed = 1;
  std::uint64_t operations = 500;
  bool look_always = false;  // after each operation: to find the one that is to blame
};

// The mount gave something else.
class Differs : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Count {
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
};

class Walk {
 public:
  Walk(const Options& options, const People& people);

  // Throws Differs; both trees are then left as they are.
  void Run();
  // By the kind of operation.
  const std::map<std::string, Count>& Counts() const { return counts_; }

 private:
  const Kind& DrawKind();
  void One();
  Result Make(Side& side, const Operation& operation, const Person& person, mode_t mask);
  Look LookAt(Side& side, const Operation& operation);
  void CompareTouched(const Operation& operation);
  void CompareAll();
  void NoteSlot(const Operation& operation, const Person& person);
  void NoteRemoved();
  void Remember(const std::string& text);
  [[noreturn]] void Fail(const std::string& what);

  const Options& options_;
  const People& people_;
  Random random_;
  bool with_times_;
  Side local_;
  Side mount_;
  std::vector<Kind> kinds_;
  std::array<Held, kSlots> held_;
  std::vector<std::string> known_;
  std::uint64_t number_ = 0;
  Moment moment_;
  std::deque<std::string> last_;
  std::map<std::string, Count> counts_;
};

}  // namespace baton::walk
