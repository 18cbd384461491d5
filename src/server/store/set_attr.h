// The parts of a change of attributes, on any descriptor (O_PATH too), with the thread's present credentials.
#pragma once

#include "base/attr.h"
#include "base/result.h"

namespace baton::store {

inline constexpr std::uint32_t kTimes =
    attr_mask::kAtime | attr_mask::kMtime | attr_mask::kAtimeNow | attr_mask::kMtimeNow;

// `proc_fd` as Export::ProcFd.
Result<void> SetOwnerAndMode(int fd, int proc_fd, const AttrChange& change);
// By path, as truncate(2): needs write permission.
Result<void> SetSize(int fd, std::uint64_t size);
Result<void> SetTimes(int fd, const AttrChange& change);

}  // namespace baton::store
