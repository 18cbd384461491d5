// KernelSession: the mount's connection to the kernel: mounts, receives requests on a few threads, unmounts.
// It knows no file operation; those come as libfuse's table. Handlers run on the receiving threads and must
// not block: a thread that waits could be the one that must answer the WRITE it waits for (rule I6).
//
// Threads: everything is called by main, except Fuse(), which gives the session for notifications to any
// thread.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fuse/kernel/fuse_api.h"
#include "fuse/kernel/request_buffer.h"

namespace baton {

class KernelSession {
 public:
  KernelSession() = default;
  ~KernelSession();
  KernelSession(const KernelSession&) = delete;
  KernelSession& operator=(const KernelSession&) = delete;

  // Mounts at `mount_point`. `options` as after mount's -o. `userdata` is what handlers get from
  // fuse_req_userdata. Says on stderr what libfuse finds wrong.
  Result<> Mount(const std::string& mount_point, const std::vector<std::string>& options,
                 const fuse_lowlevel_ops& operations, void* userdata);
  void StartThreads();

  // The INIT handler calls this; WaitUsable waits for it. False: not within `limit`.
  void SetUsable();
  bool WaitUsable(Duration limit);

  // As st_dev; 0 if it is not usable yet.
  dev_t UsableDevice() const { return device_; }

  // True when the kernel has ended the connection: unmounted, or aborted. The eventfd becomes readable then.
  bool Ended() const { return ended_; }
  int EndedEvent() const { return ended_event_.Get(); }

  // Takes the mount out of the name space, programs that use it keep it until they are done (MNT_DETACH).
  // Nothing happens if it was unmounted already.
  void Detach();
  // Ends the receiving threads, whether or not the kernel is done, and cuts the connection. Replies may still
  // be given, to nobody, until this is destroyed: the device's descriptor keeps its number until then, so
  // that none of them is written into whatever else is opened meanwhile.
  void Stop();

  // The kernel asks again for every name from now on. False: it does not know how (before Linux 6.16). Any
  // thread.
  bool ForgetAllNames();

  fuse_session* Fuse() const { return session_; }

 private:
  void Receive(int number);
  dev_t Device() const;
  void Unmount();
  void Sever();
  void DropInterrupts();

  fuse_session* session_ = nullptr;
  std::string mount_point_;
  std::shared_ptr<RequestBufferPool> buffers_ = std::make_shared<RequestBufferPool>();
  std::vector<std::thread> threads_;
  std::atomic<int> running_ = 0;  // threads that have not left their loop
  std::atomic<bool> ended_ = false;
  UniqueFd ended_event_;
  UniqueFd severed_;  // what takes the device's place: the end of a pipe that nobody reads
  std::mutex mutex_;
  std::condition_variable changed_;
  bool usable_ = false;
  dev_t device_ = 0;
  bool stopped_ = false;
};

}  // namespace baton
