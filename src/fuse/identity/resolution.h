// Resolution: the answer to "who is asking" for one request (rules I1, I2, I5, T7). A value.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/guid.h"
#include "base/ids.h"
#include "fuse/identity/proc_reader.h"

namespace baton {

enum class IdentitySource { kRegistration, kEnvironment, kProgram };

// What the caller is a member of. `epoch`: of kInstance the one its process belongs to, or kNewEpoch; of
// kFenced the fenced one.
struct Membership {
  Guid guid{};
  std::optional<InstanceVersion> version;
  Epoch epoch = kNewEpoch;
  uid_t owner_uid = 0;        // rule T3
  bool may_take_over = true;  // rule T1
  IdentitySource source = IdentitySource::kEnvironment;
};

struct Resolution {
  enum class Kind {
    kAnonymous,     // no instance from the process; the server may still find one at the file (rule I2 d)
    kInstance,      // `member` is set
    kFenced,        // the process belongs to a fenced epoch: ESTALE at once; `member` is set
    kUnidentified,  // pid 0, or a process that cannot be read (rule I5)
    kUnknown,  // its environment is destroyed or empty and no living ancestor gives an id: opens for writing
               // EACCES
    kMalformed,  // EINVAL; `what` says which value (rule I4)
  };
  Kind kind = Kind::kUnidentified;
  Membership member;
  std::string what;
  pid_t pid = 0;        // the process (tgid), 0 if unidentified
  Ticks start = 0;      // when that process started: with pid, which process it is (for Pin)
  std::string program;  // its comm
};

}  // namespace baton
