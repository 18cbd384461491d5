// The address of a unix socket by its path, however long that is: sun_path holds 107 bytes, so a longer one
// goes through /proc/self/fd of its directory. A value; keep it until bind(2) or connect(2) has returned.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

#include "base/result.h"
#include "base/unique_fd.h"

namespace baton {

struct UnixAddress {
  sockaddr_un address{};
  UniqueFd directory;

  const sockaddr* Get() const { return reinterpret_cast<const sockaddr*>(&address); }
  static constexpr socklen_t kSize = sizeof(sockaddr_un);
};

Result<UnixAddress> MakeUnixAddress(const std::filesystem::path& path);

}  // namespace baton
