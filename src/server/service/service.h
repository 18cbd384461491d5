// Service: what each frame of a mount means. It keeps the sessions' connections, hands each request to its operation
// (ops/, one file a family) and watches the leases and the age of records. Decisions are the arbiter's (through the
// Coordinator), effects on files the BackingStore's. Rules S1-S4, A1. Any thread.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/name_patterns.h"
#include "protocol/operations.h"
#include "server/service/connection.h"
#include "server/service/executor.h"
#include "server/service/call.h"
#include "server/service/coordinator.h"
#include "server/service/name_locks.h"
#include "server/service/proof.h"
#include "server/service/watches.h"
#include "server/store/backing_store.h"

namespace baton::server {

struct ServiceOptions {
  Duration lease = std::chrono::seconds(10);
  ClaimMode claim = ClaimMode::kWrite;
  bool squash_root = false;
  Duration forget_after = std::chrono::hours(24 * 30);  // rule T12
  NamePatterns stale_locks;                             // rule X1
  std::uint64_t boot = 0;                               // of the server's machine (rule D3)
  ServerKey key{};                                      // of the proofs
};

class Service final : public FrameHandler {
 public:
  // What was in hand when the server was killed is found out here (reconcile.h), before there is a connection.
  Service(const ServiceOptions& options, store::BackingStore& store, Coordinator& coordinator, ReplyFile& replies,
          Timers& timers, const Clock& clock);
  ~Service() override;
  // No lease is watched any more. Before the timers go.
  void Stop();

  void OnFrame(const std::shared_ptr<Connection>& connection, protocol::FrameHeader header,
               std::span<const std::byte> body, std::span<const std::byte> data) override;
  void OnHeard(const std::shared_ptr<Connection>& connection) override;
  void OnClosed(const std::shared_ptr<Connection>& connection) override;
  void OnLimit(const char* option, const std::string& what, const std::shared_ptr<Connection>& connection) override;

  // --- For the operations ---------------------------------------------------------------------------------------------
  store::BackingStore& store() { return store_; }
  Coordinator& coordinator() { return coordinator_; }
  NameLocks& name_locks() { return name_locks_; }
  Watches& watches() { return watches_; }
  const ProofSeal& proofs() const { return proofs_; }
  Timers& timers() { return timers_; }
  const ServiceOptions& options() const { return options_; }
  const Clock& clock() const { return clock_; }

  static Credentials CredentialsOf(const protocol::Caller& caller, std::uint32_t umask = 0) {
    return {caller.uid, caller.gid, caller.groups, umask};
  }

  std::uint32_t Squashed(std::uint32_t uid) const;
  // Who asks, the id by policy included (rule I2 d). EACCES: an unidentified caller without one (I5); EINVAL: the policy's
  // id does not parse (I4).
  Result<Requester> RequesterFor(const Session& session, const protocol::Caller& caller,
                                 const store::DirectoryPolicy& policy) const;
  Result<Requester> RequesterFor(const Call& call, const protocol::Caller& caller,
                                 const store::DirectoryPolicy& policy) const {
    return RequesterFor(*call.session(), caller, policy);
  }
  ClaimMode ClaimModeFor(const store::DirectoryPolicy& policy) const;

  // Data was changed, and nobody has been told of it yet: readers find out at their next open or lock (rule C1), whoever
  // watches the file is told now (C2).
  void NoteData(const OpenFile& file);
  void NoteData(SessionId by, const FileKey& file);

  // The open that a handle id of this call's session names; otherwise null, and the call is answered.
  std::shared_ptr<OpenFile> FileOf(Call& call, HandleId handle);

 private:
  void Hello(const std::shared_ptr<Connection>& connection, const protocol::FrameHeader& header,
             std::span<const std::byte> body);
  void Begin(const std::shared_ptr<Connection>& connection, const protocol::FrameHeader& header,
             const protocol::HelloRequest& hello);
  void Welcome(const std::shared_ptr<Session>& session, const std::shared_ptr<Connection>& connection,
               const protocol::FrameHeader& header, bool resumed, const std::vector<Arbiter::NodeFence>& fences);
  void Restore();
  bool AnswerEarlierOpen(const std::shared_ptr<Session>& session, const protocol::FrameHeader& request);
  void Dispatch(Call call, std::span<const std::byte> body, std::span<const std::byte> data);
  void WatchLeases();
  void ForgetRecords();
  void AwaitReturns();

  const ServiceOptions options_;
  store::BackingStore& store_;
  Coordinator& coordinator_;
  ReplyFile& replies_;
  Timers& timers_;
  const Clock& clock_;
  NameLocks name_locks_;
  Watches watches_;
  const ProofSeal proofs_;
  Instant watched_at_{};
  std::mutex watch_mutex_;
  TimerId watch_{};
  TimerId forget_{};
  TimerId returns_{};
  bool ending_ = false;
};

}  // namespace baton::server
