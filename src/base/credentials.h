// Credentials: on whose behalf an operation is done (rule A1). A value; any thread.
#pragma once

#include <cstdint>
#include <vector>

namespace baton {

struct Credentials {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // supplementary
  std::uint32_t umask = 0;  // for what is created, unless a default ACL says otherwise
  friend bool operator==(const Credentials&, const Credentials&) = default;
};

}  // namespace baton
