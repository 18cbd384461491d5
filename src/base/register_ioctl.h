// The ioctls of a mount's root directory by which `baton register` gives a process its app instance (rule I2
// a): the way for callers whom the kernel lets set no user xattr there. An ABI between two of our programs:
// numbers and layout never change.
#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace baton {

// Texts as in rules I3 and I4, ended by NUL. A text without a NUL is EINVAL.
struct RegisterRequest {
  char guid[40];
  char version[44];  // empty: none
  std::int32_t pid;  // in the mount's pid namespace; 0: the caller
};
static_assert(sizeof(RegisterRequest) == 88);

inline constexpr unsigned long kRegisterIoctl = _IOW('B', 1, RegisterRequest);
inline constexpr unsigned long kUnregisterIoctl = _IOW('B', 2, RegisterRequest);  // only `pid` counts

}  // namespace baton
