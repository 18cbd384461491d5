// The parity suite's vocabulary. One program makes the same calls on a local file system and on a batonfs
// mount; each case states the exact result (value, errno, content, attributes) that Linux gives on a local
// ext4, so that a mount which passes is one on which programs cannot tell the difference. Not the suite of
// what only batonfs does (claims, takeovers, two nodes): that is tests/integration.
//
// BATON_PARITY_DIR names the directory to work in. Each case has an empty subdirectory of it, which is its
// working directory. Cases are single-threaded; those with other processes fork.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace baton::parity {

// What a call gave: a value, or an errno, or the end of the process that made it.
struct Outcome {
  enum Kind { kValue, kErrno, kSignal, kBroken };
  Kind kind = kValue;
  long value = 0;

  bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& outcome, std::ostream* out);

inline Outcome Gives(long value) {
  return {Outcome::kValue, value};
}
inline Outcome Fails(int error) {
  return {Outcome::kErrno, error};
}
inline Outcome Dies(int signal) {
  return {Outcome::kSignal, signal};
}
inline const Outcome kOk = Gives(0);

// The outcome of a system call, made as the argument.
inline Outcome Did(long result) {
  return result < 0 ? Fails(errno) : Gives(result);
}

// For the set-up of a case: throws, which fails the case, if the call failed.
long Must(long result);

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { Close(); }
  operator int() const { return fd_; }  // NOLINT: it goes where a descriptor goes
  int Close() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

// Throws if the open fails.
Fd Open(const std::string& path, int flags, mode_t mode = 0644);
// Opens and closes: kOk or the errno.
Outcome TryOpen(const std::string& path, int flags, mode_t mode = 0644);

void Make(const std::string& path, std::string_view content = "", mode_t mode = 0644);
void MakeDir(const std::string& path, mode_t mode = 0755);
std::string Content(const std::string& path);
// What is left to read from the descriptor's offset.
std::string Rest(int fd);
std::string At(int fd, off_t offset, size_t size);
struct stat Stat(const std::string& path);
struct stat Lstat(const std::string& path);
struct stat Fstat(int fd);
// The permission bits, set-id and sticky bits included, of the path itself.
mode_t Mode(const std::string& path);
bool Exists(const std::string& path);
std::string Link(const std::string& path);
// Without "." and "..", sorted.
std::vector<std::string> Names(const std::string& path);

struct Who {
  enum Kind { kCaller, kAsRoot, kUser };
  Kind kind = kCaller;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups = {};
};

// Whoever runs the suite: for cases whose result does not depend on it.
inline const Who kCaller{};
// Needs root's capabilities.
inline const Who kRoot{Who::kAsRoot};
inline const Who kAlice{Who::kUser, 12001, 12001};
inline const Who kBob{Who::kUser, 12002, 12002};
constexpr uid_t kAliceId = 12001;
constexpr uid_t kBobId = 12002;
constexpr gid_t kTeam = 12100;
// Alice with the group that files of a team belong to.
inline const Who kAliceInTeam{Who::kUser, 12001, 12001, {kTeam}};

// Calls `act` in a forked process that has become `who`: its outcome, or the signal that ended it.
Outcome As(const Who& who, const std::function<Outcome()>& act);
// The same without a change of user.
inline Outcome Apart(const std::function<Outcome()>& act) {
  return As(kCaller, act);
}

bool IsRoot();

class Parity : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // The absolute path of the case's directory.
  std::string home_;
};

// A case that changes users, owners or what only root may.
class RootParity : public Parity {
 protected:
  void SetUp() override;
};

// One row of a table: a call made in the standard tree (below), by a user, and what it must give.
struct Row {
  const char* name;
  std::function<Outcome()> act;
  Outcome expected;
  Who who = kCaller;
};

void PrintTo(const Row& row, std::ostream* out);
inline std::string NameOfRow(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}

// In the case's directory, all root's unless named otherwise:
//   file 0644 "0123456789", hard (a link of file), secret 0600, readonly 0444, alices 0644 (alice's),
//   dir 0755 (empty), full 0755 (with file and sub), open 0777 (with file), closed 0700 (with file 0666),
//   sticky 01777 (with roots 0666, alices, alicesdir), link -> file, dirlink -> dir, dangling -> absent, loop
//   -> loop, fifo 0666.
// Whoever is not root owns all of it, and rows for others than the caller are skipped.
class Table : public Parity, public testing::WithParamInterface<Row> {
 protected:
  void SetUp() override;
  void Check() { EXPECT_EQ(As(GetParam().who, GetParam().act), GetParam().expected); }
};

// Rows of a table as cases: Theme/Suite.Case/RowName.
#define BATON_PARITY_TABLE(Suite, ...) \
  class Suite : public Table {};       \
  std::vector<Row> RowsOf##Suite() {   \
    return __VA_ARGS__;                \
  }                                    \
  TEST_P(Suite, Case) {                \
    Check();                           \
  }                                    \
  INSTANTIATE_TEST_SUITE_P(Table, Suite, testing::ValuesIn(RowsOf##Suite()), NameOfRow)

}  // namespace baton::parity
