// Going to the background in the way mount(8) and people expect: the command returns when the mount is
// usable, or says what is wrong; what stays behind has no terminal, no standard files and no directory of the
// caller's. One thread; before any other thread is started.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace baton {

class Daemon {
 public:
  // Forks. Returns in the child; the parent waits for Ready or Failed and exits with 0 or 1, printing what
  // Failed said.
  static Daemon Start();

  Daemon(Daemon&&) = default;
  Daemon& operator=(Daemon&&) = default;

  // The mount is usable: let go of the terminal and of the parent.
  void Ready();
  // Nothing was mounted, because of `what`: ends this process.
  [[noreturn]] void Failed(const std::string& what);

 private:
  explicit Daemon(UniqueFd to_parent) : to_parent_(std::move(to_parent)) {}
  UniqueFd to_parent_;
};

}  // namespace baton
