#include "exerciser/locks.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace baton::exerciser {
namespace {

int Lock(Kind kind, int fd, Range range, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.start);
  lock.l_len = range.end == kWholeFile.end ? 0 : static_cast<off_t>(range.Length());
  return ::fcntl(fd, kind == Kind::kOfd ? F_OFD_SETLKW : F_SETLKW, &lock);
}

}  // namespace

void RangeLocks::Take(Range range, bool exclusive) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return std::none_of(held_.begin(), held_.end(), [&](const Held& other) {
      return (exclusive || other.exclusive) && range.Overlaps(other.range);
    });
  });
  held_.push_back({range, exclusive});
}

void RangeLocks::Release(Range range, bool exclusive) {
  {
    const std::scoped_lock lock(mutex_);
    held_.erase(std::find_if(held_.begin(), held_.end(), [&](const Held& one) {
      return one.range.start == range.start && one.range.end == range.end && one.exclusive == exclusive;
    }));
  }
  changed_.notify_all();
}

Guard::Guard(Kind kind, RangeLocks& locks, int fd, Range range, bool exclusive)
    : kind_(kind), locks_(locks), fd_(fd), range_(range), exclusive_(exclusive) {
  if (kind == Kind::kInProcess) {
    locks_.Take(range, exclusive);
  } else if (Lock(kind, fd, range, exclusive ? F_WRLCK : F_RDLCK) != 0) {
    throw std::system_error(errno, std::generic_category(), "lock");
  }
}

Guard::~Guard() {
  if (kind_ == Kind::kInProcess) {
    locks_.Release(range_, exclusive_);
  } else if (Lock(kind_, fd_, range_, F_UNLCK) != 0) {
    std::perror("unlock");
    std::_Exit(2);  // nothing that follows would be protected
  }
}

}  // namespace baton::exerciser
