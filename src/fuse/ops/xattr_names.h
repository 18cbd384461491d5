// Names of xattrs that the mount answers itself.
#pragma once

#include <string_view>

namespace baton::ops {

// The kernel asks for it before every write. Without set-uid there are no file capabilities either, so no
// need to ask batond.
inline constexpr std::string_view kCapabilityXattr = "security.capability";

}  // namespace baton::ops
