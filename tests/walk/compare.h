// Whether what was seen of an entry on the mount is what was seen of it on the local side. Times cannot be
// the same: compared is whether they were set since a moment, and those that were set to a time of long ago
// or of the far future themselves. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "walk/side.h"

namespace baton::walk {

// What both sides did not do before. Empty: times are not compared.
using Moment = std::optional<timespec>;

// Empty if there is none.
std::string Difference(const Seen& local, const Seen& mount, const Moment& since);

// Likewise of many, with their names; and whether the same ones are one file.
using Look = std::vector<std::pair<std::string, Seen>>;
std::string Difference(const Look& local, const Look& mount, const Moment& since);

}  // namespace baton::walk
