// Result<T>: a value, or the errno of a failure of the world (errno(3)). A refusal of the domain ("held by another") is a
// value of its own type, never a Result; a bug of ours is a BATON_CHECK.
#pragma once

#include <cerrno>
#include <tl/expected.hpp>

namespace baton {

struct Errno {
  int value = 0;
  friend bool operator==(Errno, Errno) = default;
};

template <class T = void>
using Result = tl::expected<T, Errno>;

inline tl::unexpected<Errno> Fail(int error) { return tl::unexpected<Errno>(Errno{error}); }
// Takes errno as the last system call left it.
inline tl::unexpected<Errno> FailErrno() { return Fail(errno); }

}  // namespace baton
