// Stale lock files (rule X1): which file of a matching name a caller's new incarnation may take for absent.
// It knows only what is kept with the file and what the arbiter says of incarnations; whoever acts on it
// keeps the name still meanwhile. Only an instance that the process itself has counts, not a directory's
// (rule I2 d): its readers are anonymous. Any thread.
#pragma once

#include <optional>
#include <string>

#include "server/service/service.h"

namespace baton::server::ops {

// What the file of a matching name says of its creator, if that was an earlier incarnation of the caller's
// instance, under this very name, and has ended or would end if the caller's request were granted. Otherwise
// none.
std::optional<store::Creator> StaleFor(Service& service, const Session& session,
                                       const protocol::Caller& caller, const std::string& name,
                                       const store::Node& node);

// To be kept with what the caller creates under the name, once its epoch is known; none if nothing is.
std::optional<store::Creator> CreatorFor(const Service& service, const protocol::Caller& caller,
                                         const std::string& name);

}  // namespace baton::server::ops
