// FenceKeeper: puts fences in force on this node, in the one order that is safe (rules T6, T7, C3): the opens
// are dead and their inodes retired; then the processes are known as old; then batond hears that the node
// acknowledges; the kernel is told meanwhile, which makes it send dirty pages that all are refused. The first
// step is done before the call returns, the rest on the notifier's threads.
//
// It is the session's listener: calls come from the transport's thread and do not block.
#pragma once

#include <map>
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

 private:
  using Opens = std::vector<std::shared_ptr<Open>>;

  void Apply(const protocol::Fence& fence, std::string_view to_node);
  // The opens' inodes get out of use; returns how many they were.
  std::size_t RetireInodesOf(const Opens& opens);

  Mount* mount_ = nullptr;
  std::map<Guid, Epoch> in_force_;  // of the transport's thread
  bool had_session_ = false;
};

}  // namespace baton
