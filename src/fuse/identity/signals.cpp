// Rule S5: whether a waiting process is about to die. Rule A1: the groups it acts with.
#include <signal.h>

#include "fuse/identity/resolver.h"

namespace baton {
namespace {

constexpr std::uint64_t Bit(int signal) {
  return std::uint64_t{1} << (signal - 1);
}

// Default dispositions that do not end the process (signal(7)).
constexpr std::uint64_t kHarmless = Bit(SIGCHLD) | Bit(SIGURG) | Bit(SIGWINCH) | Bit(SIGCONT) | Bit(SIGSTOP) |
                                    Bit(SIGTSTP) | Bit(SIGTTIN) | Bit(SIGTTOU);

}  // namespace

Result<bool> FatalSignalPending(const ProcReader& proc, pid_t tid) {
  Result<TaskStatus> status = proc.ReadStatus(tid);
  if (!status) return tl::unexpected(status.error());
  const SignalSets& sets = status->signals;
  std::uint64_t pending = sets.pending | sets.shared_pending;
  std::uint64_t handled = sets.blocked | sets.ignored | sets.caught | kHarmless;
  return (pending & (Bit(SIGKILL) | ~handled)) != 0;
}

Result<std::vector<gid_t>> SupplementaryGroups(const ProcReader& proc, pid_t tid) {
  Result<TaskStatus> status = proc.ReadStatus(tid);
  if (!status) return tl::unexpected(status.error());
  return std::move(status->groups);
}

}  // namespace baton
