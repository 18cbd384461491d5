// FenceKeeper: puts fences in force on this node, in the one order that is safe (rules T6, T7, C3): the opens
// are dead and their inodes retired; then the processes are known as old; then, when no request is under way
// any more that was judged before, batond hears that the node acknowledges. The kernel is told meanwhile,
// which makes it send dirty pages that all are refused. The first two steps are done before the call returns,
// the rest on threads that may wait.
//
// It is the session's listener: calls come from the transport's thread and do not block.
#pragma once

#include <optional>
#include <string_view>

#include "fuse/client/session.h"
#include "fuse/ops/mount.h"

namespace baton {

class FenceKeeper final : public client::SessionListener {
 public:
  // Tells it the mount it works for. Before the session starts.
  void SetMount(Mount& mount) { mount_ = &mount; }

  void OnNewSession(const protocol::HelloReply& reply, client::Generation generation) override;
  void OnFences(const std::vector<protocol::Fence>& fences) override;
  void OnFenced(const protocol::FencedNotice& notice) override;
  void OnRevoked(const protocol::RevokedNotice& notice) override;
  void OnSessionLost() override;
  void OnChanged(const protocol::ChangedNotice& notice) override;
  void OnResumed() override;
  void OnServerRebooted() override;

 private:
  using Opens = std::vector<std::shared_ptr<Open>>;
  using RetiredInodes = std::vector<InodeTable::RetiredInode>;

  void Apply(const protocol::Fence& fence, std::string_view to_node);
  // `then` runs when the scan has ended, or has taken too long.
  void Scan(IdentityResolver::Fences fences, UniqueFunction<void()> then);
  // The opens' inodes get out of use.
  RetiredInodes RetireInodesOf(const Opens& opens);
  void TellKernelOf(const RetiredInodes& retired);

  Mount* mount_ = nullptr;
  bool had_session_ = false;
};

}  // namespace baton
