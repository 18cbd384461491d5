// Caller: who asks, as every request that opens or changes something carries it (rules I1, A1, T7).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fields.h"
#include "base/guid.h"
#include "base/ids.h"

namespace baton::protocol {

// The app instance that the calling process belongs to.
struct Member {
  Guid guid{};
  std::optional<InstanceVersion> version;
  Epoch epoch = kNewEpoch;       // the incarnation its process belongs to, or kNewEpoch
  std::uint32_t owner_uid = 0;   // real uid of the topmost process that carries the id (rule T3)
  bool may_take_over = true;     // APP_INSTANCE_TAKEOVER (rule T1)
  BATON_FIELDS(guid, version, epoch, owner_uid, may_take_over)
};

struct Caller {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;
  std::int32_t pid = 0;        // on its node; 0 if not visible there
  std::string program;         // the process's name, for the events
  bool identified = true;      // false: the process cannot be read; only rule I2(d) can name an instance
  std::optional<Member> member;
  std::vector<std::int32_t> ancestors;  // living ones, nearest first; only with a member's open for writing (rule I7)
  BATON_FIELDS(uid, gid, groups, pid, program, identified, member, ancestors)
};

}  // namespace baton::protocol
