#include "base/unix_address.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace baton {

Result<UnixAddress> MakeUnixAddress(const std::filesystem::path& path) {
  UnixAddress made;
  made.address.sun_family = AF_UNIX;
  std::string name = path.string();
  if (name.size() >= sizeof made.address.sun_path) {
    made.directory.Reset(::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!made.directory) return FailErrno();
    name = "/proc/self/fd/" + std::to_string(made.directory.Get()) + "/" + path.filename().string();
  }
  if (name.size() >= sizeof made.address.sun_path) return Fail(ENAMETOOLONG);
  std::ranges::copy(name, made.address.sun_path);
  return made;
}

}  // namespace baton
