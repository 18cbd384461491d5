// The identifiers of the domain, as types that do not mix. All are given by the server; 0 means none.
#pragma once

#include <cstdint>

namespace baton {

enum class SessionId : std::uint64_t {};  // one run of one mount on a node
enum class HandleId : std::uint64_t {};   // the server's record of one open
enum class GateId : std::uint64_t {};     // the data path's gate of one incarnation in one session (rule T4)
enum class RequestId : std::uint64_t {};  // one request that waits in the arbiter

// The number of an incarnation: one life of an instance on one node. Never reused for that instance; kNewEpoch in a request
// says "a process that belongs to no incarnation yet" (rule T7).
enum class Epoch : std::uint64_t {};
inline constexpr Epoch kNewEpoch{0};

template <class Id>
constexpr std::uint64_t Raw(Id id) {
  return static_cast<std::uint64_t>(id);
}

}  // namespace baton
