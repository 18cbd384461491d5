// The ioctl on a mount's root directory by which `baton register` registers an app instance (rule I2 a), for
// callers who may not set an xattr there. The program's side and the mount's; a value.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace baton {

// Texts end with a zero byte and may be shorter than their room.
struct RegisterIoctl {
  char guid[40];     // empty: end the registration instead
  char version[44];  // HIGH.LOW; empty: none
  std::int32_t pid;  // 0: the caller
};
static_assert(sizeof(RegisterIoctl) == 88);

inline constexpr unsigned long kRegisterIoctl = _IOW('B', 0x42, RegisterIoctl);

}  // namespace baton
