#include "fuse/ops/fence_keeper.h"

namespace baton {
namespace {

void TellKernel(Mount& mount, const InodeTable::RetiredInode& retired) {
  fuse_session* const fuse = mount.kernel.Fuse();
  if (fuse == nullptr) return;
  if (retired.parent != nullptr) {
    fuse_lowlevel_notify_inval_entry(fuse, mount.inodes.NumberFor(*retired.parent), retired.name.data(),
                                     retired.name.size());
  }
  mount.InvalidatePages(*retired.inode);
}

}  // namespace

void FenceKeeper::OnNewSession(const protocol::HelloReply& reply, client::Generation) {
  if (!std::exchange(had_session_, true)) {
    mount_->inodes.SetRoot(reply.root);
  } else if (!(mount_->inodes.Root()->File() == reply.root)) {
    log::Error("batond now serves another directory than before; unmount {} and mount it again",
               mount_->options.mount_point);
  }
}

void FenceKeeper::OnFences(const std::vector<protocol::Fence>& fences) {
  for (const protocol::Fence& fence : fences) Apply(fence, "");
}

void FenceKeeper::OnFenced(const protocol::FencedNotice& notice) {
  Apply(notice.fence, notice.to_node);
}

void FenceKeeper::Apply(const protocol::Fence& fence, std::string_view to_node) {
  Epoch& in_force = in_force_[fence.guid];
  const bool known = Raw(fence.epoch) <= Raw(in_force);
  if (known && fence.acknowledged) return;
  in_force = std::max(in_force, fence.epoch);
  const Opens opens = mount_->opens.KillIncarnation(fence.guid, fence.epoch);
  const std::size_t files = RetireInodesOf(opens);
  if (!known) {
    log::Warn(
        "instance {} lost this node{}{}: epoch {} is fenced, its {} opens of {} files here answer ESTALE",
        ToString(fence.guid), to_node.empty() ? "" : " to ", to_node, Raw(fence.epoch), opens.size(), files);
  }
  mount_->BeginFence();
  mount_->notifier.Post([mount = mount_, fence] {
    // Known since when it was acknowledged the first time: by an earlier run of this mount, or by another one
    // here.
    const Instant at = fence.acknowledged.value_or(mount->clock.Now());
    mount->identity.Fence(fence.guid, fence.epoch, fence.version, at);
    mount->EndFence();
    if (!fence.acknowledged) mount->session.AcknowledgeFence(fence.guid, fence.epoch, at);
  });
}

void FenceKeeper::OnRevoked(const protocol::RevokedNotice& notice) {
  const Opens opens = mount_->opens.KillHandles(mount_->session.CurrentGeneration(), notice.handles);
  const std::size_t files = RetireInodesOf(opens);
  log::Warn("batond revoked {} opens of {} files: another instance has them now; they answer ESTALE",
            opens.size(), files);
}

void FenceKeeper::OnSessionLost() {
  const Opens opens = mount_->opens.KillSessionsBefore(mount_->session.CurrentGeneration());
  const std::size_t files = RetireInodesOf(opens);
  log::Error(
      "batond has forgotten this mount's session: its {} opens of {} files answer ESTALE; programs must open "
      "again",
      opens.size(), files);
  const Instant now = mount_->clock.Now();
  mount_->BeginFence();
  mount_->notifier.Post([mount = mount_, now] {
    mount->identity.FenceAll(now);
    mount->EndFence();
  });
}

std::size_t FenceKeeper::RetireInodesOf(const Opens& opens) {
  std::vector<std::shared_ptr<Inode>> inodes;
  inodes.reserve(opens.size());
  for (const auto& open : opens) inodes.push_back(open->inode);
  auto retired = mount_->inodes.Retire(inodes);
  const std::size_t count = retired.size();
  for (auto& inode : retired) {
    mount_->notifier.Post([mount = mount_, inode = std::move(inode)] { TellKernel(*mount, inode); });
  }
  return count;
}

}  // namespace baton
