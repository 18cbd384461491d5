// Mount: what every operation of the mount works with, and the ways they all take: from a request of the
// kernel to a caller's identity, to a call, to the reply. The operations are functions beside it, one file
// each (operations.h). It decides nothing about files.
//
// Threads: operations begin on the kernel session's threads, go on at the identity pool if the caller is not
// known yet, and end on the session's transport thread. None of them blocks there; what does is posted to a
// pool.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "fuse/client/fate_table.h"
#include "fuse/client/session.h"
#include "fuse/identity/resolver.h"
#include "fuse/kernel/inode_table.h"
#include "fuse/kernel/kernel_reply.h"
#include "fuse/kernel/kernel_session.h"
#include "fuse/kernel/open_table.h"
#include "fuse/kernel/options.h"
#include "fuse/kernel/worker_pool.h"
#include "fuse/ops/housekeeping.h"
#include "fuse/ops/pending.h"
#include "fuse/ops/refusal_log.h"
#include "protocol/operations.h"

namespace baton {

using protocol::Operation;

// What a request means to do, for the identity it needs.
enum class Purpose {
  kLook,  // reads names or attributes: no instance needed (rule T10)
  kOpenRead,
  kOpenWrite,
  kChange,  // names, attributes, content by name
};

// A caller as requests carry it, and which process it is here.
struct Who : protocol::Caller {
  Ticks start = 0;
};

class Mount {
 public:
  Mount(const MountOptions& options, const Clock& clock, const ProcReader& proc, client::Session& session,
        IdentityResolver& identity, InodeTable& inodes, OpenTable& opens);
  ~Mount();

  static Mount& Of(fuse_req_t request) { return *static_cast<Mount*>(fuse_req_userdata(request)); }

  // --- Who asks
  // -----------------------------------------------------------------------------------------------------

  // Runs `then(KernelReply, Who)` now, or on the identity pool; or answers the refusal (rules I4, I5, T6).
  template <class Then>
  void WithCaller(KernelReply reply, Purpose purpose, Then then) {
    const pid_t tid = reply.Context().pid;
    if (purpose == Purpose::kLook) {
      if (!identity.Observe(tid)) {
        Who caller = Looker(reply);
        return then(std::move(reply), std::move(caller));
      }
    } else if (!FencesUnderWay()) {
      if (auto resolution = identity.TryResolve(tid))
        return Admit(std::move(reply), purpose, *resolution, then);
    }
    identity_pool.Post([this, reply = std::move(reply), purpose, then = std::move(then), tid]() mutable {
      WaitForFences();
      const Resolution resolution = identity.Resolve(tid);
      if (purpose == Purpose::kLook) {
        Who caller = Looker(reply);
        return then(std::move(reply), std::move(caller));
      }
      Admit(std::move(reply), purpose, resolution, then);
    });
  }

  // For requests on a handle, which knows whose it is (rule I7).
  Who Looker(const KernelReply& reply) const;

  // --- Calls
  // --------------------------------------------------------------------------------------------------------

  // Sends the request; `then(KernelReply, client::Answer<kOp>&&)` gets the answer. The program's signals are
  // heeded meanwhile as `kind` says.
  template <Operation kOp, class Then>
  void Call(KernelReply reply, WaitKind kind, const typename protocol::MessagesOf<kOp>::Request& request,
            Then then, client::CallOptions<kOp> call_options = {}, std::shared_ptr<Inode> inode = nullptr) {
    if (call_options.token == client::kNoToken) call_options.token = session.NewToken();
    const client::CallToken token = call_options.token;
    call_options.op_timeout = options.op_timeout;
    Register(reply, kind, token, std::move(inode));
    session.Call<kOp>(
        request,
        [this, token, reply = std::move(reply),
         then = std::move(then)](client::Answer<kOp>&& answer) mutable {
          pending.Remove(token);
          then(std::move(reply), std::move(answer));
        },
        std::move(call_options));
  }

  // Interrupts find the request under this token before it is a call: it stands in line for something else.
  void Register(const KernelReply& reply, WaitKind kind, client::CallToken token,
                std::shared_ptr<Inode> inode = nullptr);

  // The server counted the caller's request to this incarnation: its process belongs to it from now on (rule
  // T7).
  void PinCaller(const Who& caller, Epoch epoch);
  // The fate of a request about this file, or directory, is unknown until its `late` answer (rule S5).
  template <Operation kOp>
  void NoteFate(const client::Answer<kOp>& answer, std::uint64_t key) {
    if (answer.fate == client::Fate::kUnknown) fates.Unknown(key);
  }

  // --- Fences
  // -------------------------------------------------------------------------------------------------------

  // While one is being put in force no identity is taken from the cache. See fence_keeper.h.
  void BeginFence();
  void EndFence();
  bool FencesUnderWay() const { return fences_under_way_ > 0; }
  void WaitForFences();

  // --- Answers
  // ------------------------------------------------------------------------------------------------------

  // Remembers the file under this name and fills what the kernel wants to know of it.
  std::shared_ptr<Inode> FillEntry(const protocol::NodeReply& node, const std::shared_ptr<Inode>& parent,
                                   std::string_view name, fuse_entry_param& entry);
  // The answer of LOOKUP, MKDIR, MKNOD, SYMLINK, LINK.
  void ReplyEntry(KernelReply reply, const Result<protocol::NodeReply>& node,
                  const std::shared_ptr<Inode>& parent, std::string_view name);
  // Tells the kernel to drop the inode's pages; blocks, on the notifier's threads only (rule C3: it sends
  // dirty ones).
  void InvalidatePages(const Inode& inode);

  const MountOptions& options;
  const Clock& clock;
  const ProcReader& proc;
  client::Session& session;
  IdentityResolver& identity;
  InodeTable& inodes;
  OpenTable& opens;
  client::FateTable fates;
  Pending pending;
  Housekeeping housekeeping;
  RefusalLog refusals;
  KernelSession kernel;
  WorkerPool identity_pool{"identity", 64};
  WorkerPool notifier{"notifier", 32};

 private:
  static void OnInterrupt(fuse_req_t request, void* token);

  template <class Then>
  void Admit(KernelReply reply, Purpose purpose, const Resolution& resolution, Then& then) {
    Who caller = Looker(reply);
    const int refusal = Identify(purpose, resolution, caller);
    if (refusal != 0) {
      reply.Error(refusal);
      return;
    }
    then(std::move(reply), std::move(caller));
  }
  // Puts the resolution into `caller`; or the errno with which to refuse.
  int Identify(Purpose purpose, const Resolution& resolution, Who& caller) const;

  std::atomic<int> fences_under_way_ = 0;
  std::mutex fences_mutex_;
  std::condition_variable fences_done_;
};

}  // namespace baton
