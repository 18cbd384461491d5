// The virtual xattr by which a mount tells its state (`baton mount-status`), and the only way that asks
// batond nothing: the kernel looks up no permission for names of this kind, so it does not ask for the root's
// attributes first, as an open of the root would. Its value is one line of JSON.
#pragma once

namespace baton {

inline constexpr char kStatusXattr[] = "system.baton.status";

}  // namespace baton
