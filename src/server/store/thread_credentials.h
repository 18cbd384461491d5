// Credentials of the calling thread towards the file system (rule A1): fsuid, fsgid, supplementary groups and
// effective capabilities, each a property of a thread in Linux (raw system calls; glibc's setgroups(3) would
// change all threads). What is set is remembered per thread, so that further requests of the same user make
// no system call. Therefore a thread keeps the last caller's credentials until it acts again. THE PRICE: a
// thread that has called a BackingStore must call BecomeServer() before it opens or creates files of the
// server's own (state, logs, sockets). Reading and writing descriptors that are already open is not affected.
// Only for a server that is root; the functions do nothing to a thread of an ordinary user's server.
#pragma once

#include <sys/stat.h>

#include "base/credentials.h"
#include "base/result.h"

namespace baton::store {

// Acts as `who` until the next call. A caller that is not root keeps no capability that weighs for files;
// root keeps all. EINVAL: an id of -1 or too many groups. On an error the thread is the server again.
Result<void> ActAs(const Credentials& who);

// Passes every permission check (open_by_handle_at needs it); groups and fsgid may stay as they were: create
// nothing.
void ActAsPrivileged();

// Whether ActAsPrivileged passes really every one: root in a container may lack the capabilities.
bool MayOpenEverything();

// All that the thread had before its first ActAs.
void BecomeServer();

// Gives the thread its own umask, root and working directory once, and the caller's umask while it lives: the kernel
// applies it or, where the directory has a default ACL, does not. Files of other threads are not affected.
class ThreadUmask {
 public:
  explicit ThreadUmask(std::uint32_t umask);
  ~ThreadUmask() { ::umask(before_); }
  ThreadUmask(const ThreadUmask&) = delete;
  ThreadUmask& operator=(const ThreadUmask&) = delete;

 private:
  mode_t before_;
};

}  // namespace baton::store
