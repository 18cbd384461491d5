// Mount: what batonfs makes of a client session, without a kernel: programs of a node call it as system calls
// and block. It keeps the mount's part of the rules: which incarnation a process belongs to (T7), fences and
// their acknowledgement, opens that nobody waits for (O6), requests whose fate is unknown (S5), what was not
// synced when the server's machine went down (D3). Fibers of the node's process.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "fuse/client/fate_table.h"
#include "fuse/client/session.h"
#include "fuse/ops/fence_list.h"
#include "fuse/ops/member_requests.h"
#include "sim/network.h"

namespace baton::sim {

// A program's process.
struct Run {
  int id = 0;
  std::optional<Guid> guid;
  Epoch epoch = kNewEpoch;
  Instant started{};
  bool is_killed = false;
  client::CallToken waits_for = client::kNoToken;
};

struct OpenFile {
  HandleId handle{};
  client::Generation generation{};
  FileRef file;
  std::uint64_t ino = 0;
  std::optional<Guid> guid;
  Epoch epoch{};
  std::uint64_t flock_owner = 0;
  bool has_unsynced = false;
  bool is_lossy = false;  // to be told with EIO, once
};

class Mount final : private client::SessionListener {
 public:
  Mount(Scheduler& scheduler, Process& process, Path& path, Listener& server,
        client::SessionIdentity identity);
  void Start();
  void PathChanged() { transport_.PathChanged(); }
  void NodeDied() { transport_.NodeDied(); }

  // How a call ended, as its caller sees it.
  struct Outcome {
    int error = 0;
    bool is_fate_unknown = false;  // given up; it may take effect yet
    bool by_server = true;
    std::uint64_t number = 0;  // an append's place
    std::string data;          // READ's
  };
  struct OpenWish {
    std::string name;
    int flags = 0;
    bool creates = false;
    Duration claim_wait{};
  };
  Outcome Open(Run& run, const OpenWish& wish, std::shared_ptr<OpenFile>& opened);
  Outcome Append(Run& run, OpenFile& file, const std::string& data);
  Outcome Write(Run& run, OpenFile& file, std::uint64_t offset, const std::string& data);
  Outcome Read(Run& run, OpenFile& file, std::uint64_t offset, std::uint32_t size);
  Outcome Fsync(Run& run, OpenFile& file);
  Outcome Close(Run& run, std::shared_ptr<OpenFile> file);
  Outcome Flock(Run& run, OpenFile& file, protocol::LockMode mode, bool waits);
  Outcome Unlink(Run& run, const std::string& name);
  Outcome Rename(Run& run, const std::string& from, const std::string& to);

  // SIGKILL: what it waits for is given up.
  void Kill(Run& run);
  std::unique_ptr<Run> NewRun(int id, std::optional<Guid> guid);
  void Gone(Run& run) { runs_.erase(&run); }

 private:
  template <client::Operation kOp>
  struct Called;
  template <client::Operation kOp>
  Called<kOp> Call(Run& run, const typename client::MessagesOf<kOp>::Request& request,
                   client::CallOptions<kOp> options, std::uint64_t fate_key = 0);
  template <client::Operation kOp>
  Called<kOp> CallAsMember(Run& run, typename client::MessagesOf<kOp>::Request request);
  protocol::Caller CallerOf(const Run& run) const;
  template <client::Operation kOp>
  Outcome OutcomeOf(const Called<kOp>& called) const;
  Outcome AwaitFate(Run& run, std::uint64_t ino);
  FileRef Root();
  void CloseUnwanted(HandleId handle, client::Generation generation);

  void OnNewSession(const protocol::HelloReply& reply, client::Generation generation) override;
  void OnFences(const std::vector<protocol::Fence>& fences) override;
  void OnFenced(const protocol::FencedNotice& notice) override { Apply(notice.fence); }
  void OnRevoked(const protocol::RevokedNotice&) override {}
  void OnChanged(const protocol::ChangedNotice&) override {}
  void OnResumed() override {}
  void OnServerRebooted() override;
  void OnSessionLost() override {}
  void Apply(const protocol::Fence& fence);

  Scheduler& scheduler_;
  ProcessClock clock_;
  SimTransport transport_;
  client::FateTable fates_;
  FenceList fences_;
  MemberRequests member_requests_;
  FileRef root_;
  std::set<Run*> runs_;  // asked whether they are there, and all of them; never in order
  std::set<std::shared_ptr<OpenFile>> opens_;
  std::uint64_t last_owner_ = 0;
  client::Session session_;
};

}  // namespace baton::sim
