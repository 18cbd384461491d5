// The text by which a process registers its app instance (rule I2 a): "GUID [VERSION] [PID]". Values; any
// thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "base/guid.h"
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

}  // namespace baton
