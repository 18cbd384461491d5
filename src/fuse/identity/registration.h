// By what a process registers its app instance (rule I2 a): the text "GUID [VERSION] [PID]", or the ioctl.
// Values; any thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "base/guid.h"
#include "base/register_ioctl.h"
#include "base/result.h"

namespace baton {

struct Registration {
  Guid guid{};
  std::optional<InstanceVersion> version;
  pid_t pid = 0;  // 0: the caller
  friend bool operator==(const Registration&, const Registration&) = default;
};

// Fields are parted by blanks; one newline may end the text. Of two fields the second is a VERSION if it has
// a dot, else a PID (so that no PID is silently taken for a version); with three fields N alone is version
// N.0. Anything else: EINVAL.
Result<Registration> ParseRegistration(std::string_view text);

// The same from the ioctl: EINVAL where a text is none of its kind or the pid is negative.
Result<Registration> ParseRegistration(const RegisterIoctl& wanted);

}  // namespace baton
