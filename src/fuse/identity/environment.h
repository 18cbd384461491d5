// What one process says of its own identity: its environment as it is now, and its program file's xattr
// (rules I2 b and c, I3, I4, T1). Not what it inherits, not epochs. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/guid.h"
#include "fuse/identity/proc_reader.h"
#include "fuse/identity/program_xattr.h"
#include "fuse/identity/resolution.h"

namespace baton {

struct VariableNames {
  std::string_view instance;
  std::string_view version;
  std::string_view takeover;
};

struct OwnId {
  enum class Kind {
    kNone,        // readable, and no id in it
    kId,          // guid, version and source are set
    kMalformed,   // `what` is set
    kDestroyed,   // empty or overwritten: the id is unknown, not absent
    kUnreadable,  // not allowed, or the task has no memory
  };
  Kind kind = Kind::kUnreadable;
  Guid guid{};
  std::optional<InstanceVersion> version;
  IdentitySource source = IdentitySource::kEnvironment;
  std::optional<bool> may_take_over;  // nullopt: the environment cannot say
  std::string what;
};

// An environment whose first entry is no NAME=VALUE is overwritten: programs write their title from its start
// on. What is left behind the title still counts if the id is there; otherwise the answer is kDestroyed.
OwnId ReadOwnId(const Environ& environment, const VariableNames& names);

// Rule I2 (c): kNone, kId or kMalformed.
OwnId ReadProgramId(const ProgramXattr& program);

// For log lines: at most 128 characters, what is not printable as \xNN.
std::string Excerpt(std::string_view value);

}  // namespace baton
