// The virtual xattr user.baton.register of the mount's root, and the ioctl that does the same (rule I2 a).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fuse/ops/mount.h"

namespace baton::ops {

// The kernel wants another success of an ioctl than of an xattr.
enum class AnsweredAs : std::uint8_t { kXattr, kIoctl };

inline constexpr std::string_view kRegisterXattr = "user.baton.register";

// Answers EPERM, ESRCH. These go on at the identity pool.
void RegisterCaller(Mount& mount, KernelReply reply, const Registration& registration, AnsweredAs as);
// Ends the registration of the caller, or of `pid`.
void UnregisterCaller(Mount& mount, KernelReply reply, pid_t pid, AnsweredAs as);
// "GUID VERSION EPOCH SOURCE" of the caller, VERSION "-" if it has none; ENODATA if it is no instance.
void TellIdentity(Mount& mount, KernelReply reply, std::size_t room);

// The text of an identity, nothing if it names no instance. For tests too.
std::optional<std::string> IdentityText(const Resolution& resolution);

}  // namespace baton::ops
