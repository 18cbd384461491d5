#include "server/store/thread_credentials.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "base/check.h"

namespace baton::store {
namespace {

constexpr std::uint32_t kNoId = 0xffffffff;  // setfsuid(-1) changes nothing and says so to nobody

constexpr std::uint64_t Bit(int capability) {
  return std::uint64_t{1} << capability;
}

// What a thread that acts for an ordinary user may still do: come back. The file system capabilities among
// them go and come with fsuid (capabilities(7)); all others, as CAP_SYS_ADMIN (trusted.* attributes),
// CAP_SETFCAP and CAP_SYS_RESOURCE (reserved blocks), would lend the caller rights it has not.
constexpr std::uint64_t kUserCapabilities = Bit(CAP_SETUID) | Bit(CAP_SETGID) | Bit(CAP_CHOWN) |
                                            Bit(CAP_MKNOD) | Bit(CAP_DAC_OVERRIDE) |
                                            Bit(CAP_DAC_READ_SEARCH) | Bit(CAP_FOWNER) | Bit(CAP_FSETID) |
                                            Bit(CAP_LINUX_IMMUTABLE) | Bit(CAP_MAC_OVERRIDE);

struct Capabilities {
  std::uint64_t effective = 0;
  std::uint64_t permitted = 0;
  std::uint64_t inheritable = 0;
};

Capabilities GetCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  BATON_CHECK(::syscall(SYS_capget, &header, data) == 0);
  const auto join = [](std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32 | low; };
  return {join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
          join(data[0].inheritable, data[1].inheritable)};
}

void SetCapabilities(const Capabilities& set) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  for (int i = 0; i < 2; ++i) {
    data[i].effective = static_cast<std::uint32_t>(set.effective >> (32 * i));
    data[i].permitted = static_cast<std::uint32_t>(set.permitted >> (32 * i));
    data[i].inheritable = static_cast<std::uint32_t>(set.inheritable >> (32 * i));
  }
  BATON_CHECK(::syscall(SYS_capset, &header, data) == 0);
}

using Groups = std::vector<std::uint32_t>;

// What the process had when the first thread came here: before anybody acted, for a new thread inherits the
// credentials of the one that makes it.
struct Server {
  Capabilities capabilities = GetCapabilities();
  std::uint32_t gid = static_cast<std::uint32_t>(::setfsgid(kNoId));
  Groups groups = PresentGroups();

  static Groups PresentGroups() {
    const int count = ::getgroups(0, nullptr);
    BATON_CHECK(count >= 0);
    Groups groups(static_cast<std::size_t>(count));
    BATON_CHECK(::getgroups(count, groups.data()) == count);
    return groups;
  }
};

const Server& OwnCredentials() {
  static const Server server;
  return server;
}

// One thread's present state. Every change is verified: an unnoticed failure would be an escalation.
class Acting {
 public:
  Acting()
      : server_(OwnCredentials()),
        privileged_(::geteuid() == 0),
        reduced_(GetCapabilities().effective != server_.capabilities.effective),
        uid_(static_cast<std::uint32_t>(::setfsuid(kNoId))),
        gid_(static_cast<std::uint32_t>(::setfsgid(kNoId))),
        groups_(Server::PresentGroups()) {}

  bool Privileged() const { return privileged_; }

  bool Become(std::uint32_t uid, std::uint32_t gid, const Groups& groups) {
    if (uid == uid_ && gid == gid_ && groups == groups_) return true;
    if (uid == 0 && !SetUid(0)) return false;
    SetReduced(uid != 0);
    return SetGroups(groups) && SetGid(gid) && SetUid(uid);
  }
  bool BecomePrivileged() { return SetUid(0); }
  bool BecomeServer() { return Become(0, server_.gid, server_.groups); }

 private:
  bool SetUid(std::uint32_t uid) {
    if (uid == uid_) return true;
    ::setfsuid(uid);
    uid_ = static_cast<std::uint32_t>(::setfsuid(kNoId));
    return uid_ == uid;
  }
  bool SetGid(std::uint32_t gid) {
    if (gid == gid_) return true;
    ::setfsgid(gid);
    gid_ = static_cast<std::uint32_t>(::setfsgid(kNoId));
    return gid_ == gid;
  }
  bool SetGroups(const Groups& groups) {
    if (groups == groups_) return true;
    if (::syscall(SYS_setgroups, groups.size(), groups.data()) != 0) return false;
    groups_ = groups;
    return true;
  }
  // To reduce, fsuid may be anybody's; to take back, it must be 0: otherwise the user would get what is
  // raised.
  void SetReduced(bool reduced) {
    if (reduced == reduced_) return;
    Capabilities set = server_.capabilities;
    if (reduced) set.effective &= uid_ == 0 ? kUserCapabilities : Bit(CAP_SETUID) | Bit(CAP_SETGID);
    SetCapabilities(set);
    reduced_ = reduced;
  }

  const Server& server_;
  const bool privileged_;
  bool reduced_;
  std::uint32_t uid_;
  std::uint32_t gid_;
  Groups groups_;
};

Acting& ThisThread() {
  thread_local Acting acting;
  return acting;
}

}  // namespace

Result<void> ActAs(const Credentials& who) {
  Acting& thread = ThisThread();
  if (!thread.Privileged()) return {};
  if (who.uid == kNoId || who.gid == kNoId) return Fail(EINVAL);
  if (thread.Become(who.uid, who.gid, who.groups)) return {};
  BecomeServer();
  return Fail(EINVAL);
}

void ActAsPrivileged() {
  Acting& thread = ThisThread();
  if (thread.Privileged()) BATON_CHECK(thread.BecomePrivileged());
}

bool MayOpenEverything() {
  constexpr std::uint64_t kNeeded = Bit(CAP_DAC_OVERRIDE) | Bit(CAP_DAC_READ_SEARCH) | Bit(CAP_FOWNER);
  return (OwnCredentials().capabilities.effective & kNeeded) == kNeeded;
}

void BecomeServer() {
  Acting& thread = ThisThread();
  if (thread.Privileged()) BATON_CHECK(thread.BecomeServer());
}

ThreadUmask::ThreadUmask(std::uint32_t umask) {
  thread_local const bool own = ::unshare(CLONE_FS) == 0;
  BATON_CHECK(own);
  before_ = ::umask(umask & 0777);
}

}  // namespace baton::store
