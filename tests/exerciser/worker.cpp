#include "exerciser/worker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iomanip>
#include <sstream>

namespace baton::exerciser {

std::string FileName(int file) {
  return "exercised-" + std::to_string(file);
}

Worker::Worker(const Options& options, Model& model, std::deque<RangeLocks>& locks, int number)
    : options_(options),
      model_(model),
      locks_(locks),
      number_(number),
      random_(options.seed * 1000 + static_cast<std::uint64_t>(number)),
      open_(static_cast<std::size_t>(options.files)) {
  for (file_ = 0; file_ < options.files; ++file_) OpenFile(file_);
}

Worker::~Worker() {
  for (int file = 0; file < options_.files; ++file) CloseFile(file);
}

void Worker::Run(std::uint64_t operations) {
  for (operation_ = 1; operation_ <= operations && !model_.Failed(); ++operation_) One();
}

void Worker::One() {
  struct Choice {
    const char* kind;
    void (Worker::*call)();
    unsigned weight;
  };
  static constexpr Choice kChoices[] = {
      {"read", &Worker::Read, 24},
      {"write", &Worker::Write, 18},
      {"grow", &Worker::WriteGrowing, 8},
      {"append", &Worker::Append, 4},
      {"truncate", &Worker::Truncate, 5},
      {"punch", &Worker::Punch, 4},
      {"zero range", &Worker::ZeroRange, 2},
      {"allocate", &Worker::Allocate, 2},
      {"copy", &Worker::Copy, 2},
      {"load", &Worker::Load, 11},
      {"store", &Worker::Store, 10},
      {"stat", &Worker::Stat, 4},
      {"holes", &Worker::Holes, 2},
      {"reopen", &Worker::Reopen, 3},
      {"sync", &Worker::Sync, 1},
  };
  file_ = static_cast<int>(random_() % static_cast<std::uint64_t>(options_.files));
  std::uint64_t pick = random_() % 100;
  for (const Choice& choice : kChoices) {
    if (pick < choice.weight) {
      kind_ = choice.kind;
      if (!missing_[kind_]) {
        (this->*choice.call)();
        ++counts_[kind_];
      }
      return;
    }
    pick -= choice.weight;
  }
}

void Worker::CheckAll() {
  kind_ = "last check";
  for (file_ = 0; file_ < options_.files; ++file_) {
    const Guard guard = Hold(kWholeFile, false);
    const Range all{.start = 0, .end = model_.Size(file_)};
    struct stat status {};
    Check(::fstat(open_[file_].fd, &status) == 0, "fstat");
    Check(static_cast<std::size_t>(status.st_size) == all.end,
          "the size is " + std::to_string(status.st_size));
    SetFlags(0);
    Compare(all, ReadAll(all).data());
    Check(::fsync(open_[file_].fd) == 0, "fsync");
  }
}

Guard Worker::Hold(Range range, bool exclusive) {
  if (options_.locks != Kind::kInProcess && !options_.ranges) range = kWholeFile;
  return Guard(options_.locks, locks_[file_], open_[file_].fd, range, exclusive);
}

Range Worker::Pick() {
  // Small ones as often as large ones, and often at the edge of a page.
  const std::size_t length = 1 + random_() % (std::size_t{1} << (random_() % 17));
  std::size_t start = random_() % model_.MaxSize();
  if (random_() % 4 == 0) start &= ~std::size_t{4095};
  return {.start = start, .end = std::min(start + length, model_.MaxSize())};
}

Range Worker::Pages(Range range) const {
  return {.start = range.start & ~std::size_t{4095}, .end = (range.end + 4095) & ~std::size_t{4095}};
}

Range Worker::Inside(Range range) const {
  const std::size_t size = model_.Size(file_);
  return {.start = std::min(range.start, size), .end = std::min(range.end, size)};
}

std::vector<unsigned char> Worker::Data(std::size_t length) {
  std::vector<unsigned char> data(length);
  std::uint64_t word = random_();
  for (std::size_t n = 0; n < length; ++n) {
    if (n % 8 == 0) word = word * 6364136223846793005U + 1442695040888963407U;
    data[n] = static_cast<unsigned char>(word >> (8 * (n % 8)));
  }
  return data;
}

void Worker::OpenFile(int file) {
  const std::string path = options_.directory + "/" + FileName(file);
  Open& open = open_[file];
  const std::uint64_t how = random_() % 8;
  int flags = O_RDWR | O_CREAT | O_CLOEXEC;
  if (how == 0) flags |= O_DSYNC;
  open.direct = how == 1;
  open.fd = ::open(path.c_str(), flags | (open.direct ? O_DIRECT : 0), 0666);
  Check(open.fd >= 0, "open");
}

void Worker::Compare(Range range, const unsigned char* got) {
  const auto wanted = model_.Bytes(file_, range);
  if (wanted.empty()) return;
  if (std::memcmp(wanted.data(), got, range.Length()) == 0) return;
  std::size_t first = 0;
  while (wanted[first] == got[first]) ++first;
  std::size_t last = range.Length() - 1;
  while (wanted[last] == got[last]) --last;
  std::ostringstream text;
  text << range.start << " to " << range.end << " differs from " << range.start + first << " to "
       << range.start + last + 1 << std::hex << std::setfill('0') << ": wanted";
  for (std::size_t n = first; n < std::min(first + 16, range.Length()); ++n)
    text << " " << std::setw(2) << +wanted[n];
  text << ", got";
  for (std::size_t n = first; n < std::min(first + 16, range.Length()); ++n)
    text << " " << std::setw(2) << +got[n];
  text << "\n  the last changes of its first byte:\n" << model_.History(file_, range.start + first);
  errno = 0;
  Error(text.str());
}

void Worker::Done(Range range) {
  Step step{.operation = operation_,
            .worker = static_cast<std::uint32_t>(number_),
            .file = static_cast<std::uint32_t>(file_),
            .kind = {},
            .range = range};
  std::strncpy(step.kind, kind_, sizeof step.kind - 1);
  model_.Remember(step);
}

bool Worker::Supported(int result) {
  if (result == 0) return true;
  if (errno != EOPNOTSUPP && errno != ENOSYS) Error(kind_);
  missing_[kind_] = true;
  return false;
}

void Worker::Error(const std::string& what) const {
  const int error = errno;
  model_.Fail();
  std::ostringstream text;
  text << "seed " << options_.seed << ", worker " << number_ << ", operation " << operation_ << " (" << kind_
       << ") on " << FileName(file_) << (open_[file_].direct ? " (O_DIRECT)" : "") << " of size "
       << model_.Size(file_) << ": " << what;
  if (error != 0) text << ": " << std::strerror(error);
  throw Difference(text.str());
}

}  // namespace baton::exerciser
