// MountGuard: a tiny process beside batonfs that aborts the mount's connection when batonfs dies (rule S5).
//
// The kernel does that by itself once /dev/fuse is closed. But a thread of batonfs that tells it to drop the
// dirty pages of an inode waits in the kernel for WRITEs to this very mount, and no signal gets it out:
// killed then, batonfs would keep /dev/fuse open for ever and answer nobody. So the guard is told of the end
// of batonfs's main thread, which ends whatever becomes of the others. A process that dumps core ends only
// when all its threads are out of the kernel: in a crash, a signal handler tells the guard.
//
// It does no harm if nothing hangs: then the connection is aborted already. It never unmounts, and never
// touches a mount that came in the place of this one: it has the kernel's switch of this connection (fusectl)
// open. Only where there is no fusectl it looks for the mount by device and mount id (needs CAP_SYS_ADMIN
// there). It has nothing else open, no directory and no terminal; every signal but SIGKILL and SIGSTOP is
// nothing to it.
//
// Not for: a guard that is killed together with batonfs. Main only.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace baton {

class MountGuard {
 public:
  // Forks: before there are threads, and from the thread that lives as long as batonfs.
  static Result<MountGuard> Start(const std::string& mount_point);

  MountGuard(MountGuard&& other) noexcept;
  MountGuard& operator=(MountGuard&&) = delete;
  ~MountGuard() { End(); }

  // From now on it guards the mount there, of this device (as st_dev).
  void Watch(const std::string& mount_point, dev_t device);
  // Aborts the connection soon, as if batonfs had died.
  void Abort();
  // Ends it, without an abort.
  void End();

 private:
  MountGuard(pid_t pid, UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}

  pid_t pid_;
  UniqueFd socket_;
};

}  // namespace baton
