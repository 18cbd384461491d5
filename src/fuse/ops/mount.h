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
#include "base/range.h"
#include "fuse/client/fate_table.h"
#include "fuse/client/session.h"
#include "fuse/identity/resolver.h"
#include "fuse/kernel/inode_table.h"
#include "fuse/kernel/kernel_reply.h"
#include "fuse/kernel/kernel_session.h"
#include "fuse/kernel/open_table.h"
#include "fuse/kernel/options.h"
#include "fuse/kernel/worker_pool.h"
#include "fuse/ops/ancestor_cache.h"
#include "fuse/ops/coherence.h"
#include "fuse/ops/fence_list.h"
#include "fuse/ops/housekeeping.h"
#include "fuse/ops/last_known.h"
#include "fuse/ops/member_requests.h"
#include "fuse/ops/open_directories.h"
#include "fuse/ops/pending.h"
#include "fuse/ops/refusal_log.h"
#include "fuse/ops/repeated_opens.h"
#include "fuse/ops/stale_locks.h"
#include "fuse/ops/write_order.h"
#include "protocol/operations.h"

namespace baton {

using protocol::Operation;

// What a request means to do, for the identity it needs.
enum class Purpose {
  kLook,        // reads names or attributes: no instance needed (rule T10)
  kLookAtRoot,  // as above, and what is asked the mount can answer itself: it does not wait for the first
                // session
  kLookAs,  // as kLook, but the answer depends on the instance (rule X1); whoever has none that counts looks
            // as anybody
  kOpenRead,
  kOpenWrite,
  kChange,  // names, attributes, content by name
};

// A caller as requests carry it, and which process it is here.
struct Who : protocol::Caller {
  Ticks start = 0;
  // The session in which it was judged: a loss fences it, so the next session must not get the request.
  client::Generation generation = client::kAnyGeneration;
  std::shared_ptr<MemberRequests::Ticket> ticket;  // of a member; kept until the request's fate is known
};

constexpr bool ChangesNamesOrAttributes(Operation operation) {
  switch (operation) {
    case Operation::kSetattr:
    case Operation::kSymlink:
    case Operation::kMakeNode:
    case Operation::kMakeDirectory:
    case Operation::kUnlink:
    case Operation::kRemoveDirectory:
    case Operation::kRename:
    case Operation::kLink:
    case Operation::kSetxattr:
    case Operation::kRemovexattr:
    case Operation::kCreate:
      return true;
    default:
      return false;
  }
}

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
    const bool looks = purpose == Purpose::kLook || purpose == Purpose::kLookAtRoot;
    if (purpose != Purpose::kLookAtRoot && !IsReached()) {
      return AwaitServer(std::move(reply), [this, purpose, then = std::move(then)](KernelReply to) mutable {
        WithCaller(std::move(to), purpose, std::move(then));
      });
    }
    const pid_t tid = reply.Context().pid;
    if (looks) {
      if (!identity.Observe(tid)) {
        Who caller = Looker(reply);
        return then(std::move(reply), std::move(caller));
      }
    } else if (purpose == Purpose::kLookAs) {
      if (const auto resolution = identity.TryResolve(tid)) {
        Who caller = LookerAs(reply, *resolution);
        return then(std::move(reply), std::move(caller));
      }
    } else if (!FencesUnderWay()) {
      Judged judged{.ticket = member_requests.Begin(), .generation = session.CurrentGeneration()};
      if (auto resolution = identity.TryResolve(tid)) {
        judged.resolution = std::move(*resolution);
        return Admit(std::move(reply), purpose, std::move(judged), then);
      }
    }
    identity_pool.Post(
        [this, reply = std::move(reply), purpose, looks, then = std::move(then), tid]() mutable {
          // The kernel holds the directory's lock for a LOOKUP: it waits for nobody else's fence.
          if (looks) {
            identity.Resolve(tid);
            Who caller = Looker(reply);
            return then(std::move(reply), std::move(caller));
          }
          if (purpose == Purpose::kLookAs) {
            Who caller = LookerAs(reply, identity.Resolve(tid));
            return then(std::move(reply), std::move(caller));
          }
          Admit(std::move(reply), purpose, JudgeSlowly(tid), then);
        });
  }

  // Runs `then(KernelReply)`, now or when batond has been reached for the first time.
  template <class Then>
  void WhenReached(KernelReply reply, Then then) {
    if (IsReached()) return then(std::move(reply));
    AwaitServer(std::move(reply), std::move(then));
  }

  // For requests on a handle, which knows whose it is (rule I7).
  Who Looker(const KernelReply& reply) const;
  // With the instance, if it has one that is not fenced; its request takes nothing over and pins nothing.
  Who LookerAs(const KernelReply& reply, const Resolution& resolution) const;

  // --- Calls
  // --------------------------------------------------------------------------------------------------------

  // Sends the request; `then(KernelReply, client::Answer<kOp>&&)` gets the answer. The program's signals are
  // heeded meanwhile as `kind` says.
  template <Operation kOp, class Then>
  void Call(KernelReply reply, WaitKind kind, const typename protocol::MessagesOf<kOp>::Request& request,
            Then then, client::CallOptions<kOp> call_options = {}, std::shared_ptr<Inode> inode = nullptr) {
    if (call_options.token == client::kNoToken) call_options.token = session.NewToken();
    const client::CallToken token = call_options.token;
    if (call_options.op_timeout == Duration::zero()) call_options.op_timeout = options.op_timeout;
    Register(reply, {token, kind, reply.Context().pid, protocol::PropertiesOf(kOp)->name}, std::move(inode));
    reply.SetSince(coherence.Now());
    session.Call<kOp>(
        request,
        [this, token, reply = std::move(reply),
         then = std::move(then)](client::Answer<kOp>&& answer) mutable {
          pending.Remove(token);
          if constexpr (ChangesNamesOrAttributes(kOp)) coherence.ForgetRootAttributes();
          then(std::move(reply), std::move(answer));
        },
        std::move(call_options));
  }

  // Interrupts find the request under this token before it is a call: it stands in line for something else.
  void Register(const KernelReply& reply, const Pending::Request& request,
                std::shared_ptr<Inode> inode = nullptr);

  // A request that the mount can answer itself is sent only with a live link, and waits so long if that
  // breaks (rule S5).
  static constexpr Duration kPatience = std::chrono::milliseconds(100);
  bool LinkIsLive() const { return session.State().state == client::LinkState::kLive; }
  template <Operation kOp>
  static bool TimedOut(const client::Answer<kOp>& answer) {
    return !answer.reply && answer.origin == client::Origin::kMount &&
           answer.reply.error() == Errno{ETIMEDOUT};
  }

  // batond has been reached, and the fences that it told of are in force. Before the first time (a
  // background_mount) nobody knows which file the root is, and callers stand in line.
  void SetReached() { reached_.store(true, std::memory_order_release); }
  bool IsReached() const { return reached_.load(std::memory_order_acquire); }

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

  // One has come in force, and its scan for members begins; until its end, or for a while, callers stand in
  // line to be judged better. See fence_keeper.h.
  void BeginFence();
  void EndFence();
  bool FencesUnderWay() const { return fences_under_way_ > 0; }
  void WaitForFences();

  // --- Answers
  // ------------------------------------------------------------------------------------------------------

  // Remembers the file under this name and fills what the kernel wants to know of it. `since`: of the request
  // that is answered.
  std::shared_ptr<Inode> FillEntry(const protocol::NodeReply& node, const std::shared_ptr<Inode>& parent,
                                   std::string_view name, NoticeMark since, fuse_entry_param& entry);
  // The answer to what comes through a dead handle; batond is told of the first such request (rules T6, T13).
  void ReplyLate(KernelReply reply, Open& open);
  // How long the kernel may believe the name, or its absence.
  double NameTimeout(NoticeMark since, const Inode& parent, std::string_view name) const;
  // The answer of GETATTR, SETATTR.
  void ReplyAttributes(KernelReply reply, const Result<protocol::AttrReply>& answer);
  // The answer of LOOKUP, MKDIR, MKNOD, SYMLINK, LINK.
  void ReplyEntry(KernelReply reply, const Result<protocol::NodeReply>& node,
                  const std::shared_ptr<Inode>& parent, std::string_view name);
  // Tells the kernel to drop the inode's pages; blocks, on the notifier's threads only (rule C3: it sends
  // dirty ones).
  void InvalidatePages(const Inode& inode, const ByteRange& range = {});

  const MountOptions& options;
  const Clock& clock;
  const ProcReader& proc;
  client::Session& session;
  IdentityResolver& identity;
  InodeTable& inodes;
  OpenTable& opens;
  OpenDirectories directories;
  client::FateTable fates;
  FenceList fences;
  LastKnown last_known;
  WriteOrder write_order;
  MemberRequests member_requests;
  RepeatedOpens repeated_opens;
  AncestorCache ancestors;
  Pending pending;
  StaleLocks stale_locks;
  Coherence coherence;
  Housekeeping housekeeping;
  RefusalLog refusals;
  KernelSession kernel;

 private:
  static void OnInterrupt(fuse_req_t request, void* token);
  void AwaitServer(KernelReply reply, UniqueFunction<void(KernelReply)> then);

  struct Judged {
    Resolution resolution{};
    std::shared_ptr<MemberRequests::Ticket> ticket;
    client::Generation generation{};
  };

  // Waits for the process, on the identity pool.
  Judged JudgeSlowly(pid_t tid);

  template <class Then>
  void Admit(KernelReply reply, Purpose purpose, Judged judged, Then& then) {
    if (judged.resolution.kind == Resolution::Kind::kInstance) {
      judged.ticket->IsOf(judged.resolution.member.guid);
    } else {
      judged.ticket.reset();
    }
    Who caller = Looker(reply);
    caller.generation = judged.generation;
    caller.ticket = std::move(judged.ticket);
    const int refusal = Identify(purpose, judged.resolution, caller);
    if (refusal != 0) return reply.Error(refusal);
    then(std::move(reply), std::move(caller));
  }
  // Puts the resolution into `caller`; or the errno with which to refuse.
  int Identify(Purpose purpose, const Resolution& resolution, Who& caller);

  std::atomic<bool> reached_ = false;
  std::atomic<int> fences_under_way_ = 0;
  std::atomic<std::uint64_t> fences_begun_ = 0;
  std::mutex fences_mutex_;
  std::condition_variable fences_done_;

 public:
  // Each has one kind of work, for any of it may wait on the end of another kind: an invalidation of a name
  // for the directory's lock, which the kernel holds until a CREATE is answered, which stands in line for a
  // fence. They stand behind everything their jobs use, for their ends wait for the jobs.
  WorkerPool identity_pool{"identity", 512};
  WorkerPool scan_pool{"scan", 32};      // for members at a fence: as Resolve, it may wait for a process
  WorkerPool fence_pool{"fence", 8};     // their ends
  WorkerPool retire_pool{"retire", 16};  // tells the kernel of retired inodes
  WorkerPool notifier{"notifier", 32};   // tells it of changed pages
  WorkerPool name_pool{"names", 32};     // tells it of changed names
};

}  // namespace baton
