#include "fuse/ops/fence_keeper.h"

#include <future>
#include <memory>
#include <utility>

#include "fuse/ops/durability.h"

namespace baton {
namespace {

constexpr std::chrono::seconds kScanLimit{2};

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
  mount_->coherence.SetLease(reply.lease);
  mount_->stale_locks.Set(NamePatterns(reply.stale_locks));
  if (!std::exchange(had_session_, true)) {
    mount_->inodes.SetRoot(reply.root, reply.root_ino);
  } else if (!(mount_->inodes.Root()->File() == reply.root)) {
    log::Error("batond now serves another directory than before; unmount {} and mount it again",
               mount_->options.mount_point);
  }
}

void FenceKeeper::OnFences(const std::vector<protocol::Fence>& fences) {
  for (const protocol::Fence& fence : fences) Apply(fence, "");
  mount_->pending.GiveUpRetired();
  mount_->SetReached();
}

void FenceKeeper::OnFenced(const protocol::FencedNotice& notice) {
  Apply(notice.fence, notice.to_node);
}

void FenceKeeper::Apply(const protocol::Fence& fence, std::string_view to_node) {
  const auto [is_new, since] =
      mount_->fences.Raise(fence.guid, fence.epoch, fence.acknowledged.value_or(mount_->clock.Now()));
  const bool known = !is_new;
  if (known && fence.acknowledged) return;
  const Opens opens = mount_->opens.KillIncarnation(fence.guid, fence.epoch);
  const RetiredInodes retired = RetireInodesOf(opens);
  if (!known) {
    log::Warn(
        "instance {} lost this node{}{}: epoch {} is fenced, its {} opens of {} files here answer ESTALE",
        ToString(fence.guid), to_node.empty() ? "" : " to ", to_node, Raw(fence.epoch), opens.size(),
        retired.size());
  }
  // Since when it was acknowledged the first time: by an earlier run of this mount, by another one here, or by this one to a
  // batond that was started again since.
  const Instant at = fence.acknowledged.value_or(since);
  auto fences = mount_->identity.PutInForce(fence.guid, fence.epoch, fence.version, at);
  Scan(std::move(fences), [mount = mount_, fence, at] {
    mount->member_requests.WhenNone(
        fence.guid, [mount, fence, at] { mount->session.AcknowledgeFence(fence.guid, fence.epoch, at); });
  });
  TellKernelOf(retired);
}

// The scan may wait for a process that lets nobody look at its memory; nobody else waits for that one.
void FenceKeeper::Scan(IdentityResolver::Fences fences, UniqueFunction<void()> then) {
  mount_->BeginFence();
  auto ended = std::make_shared<std::promise<void>>();
  mount_->scan_pool.Post([mount = mount_, fences = std::move(fences), ended] {
    mount->identity.ScanForMembers(fences);
    ended->set_value();
  });
  mount_->fence_pool.Post([mount = mount_, then = std::move(then), end = ended->get_future()]() mutable {
    if (end.wait_for(kScanLimit) != std::future_status::ready) {
      log::Warn("cannot look at all processes of this node; until then no daemon is taken for a new one");
    }
    mount->EndFence();
    then();
  });
}

void FenceKeeper::OnRevoked(const protocol::RevokedNotice& notice) {
  const Opens opens = mount_->opens.KillHandles(mount_->session.CurrentGeneration(), notice.handles);
  if (opens.empty()) return;  // said again, or closed meanwhile
  const RetiredInodes retired = RetireInodesOf(opens);
  log::Warn(
      "batond revoked {} opens of {} files: others have them now, or they could not be restored; they answer "
      "ESTALE",
      opens.size(), retired.size());
  TellKernelOf(retired);
}

void FenceKeeper::OnSessionLost() {
  const Opens opens = mount_->opens.KillSessionsBefore(mount_->session.CurrentGeneration());
  const RetiredInodes retired = RetireInodesOf(opens);
  log::Error(
      "batond has forgotten this mount's session: its {} opens of {} files answer ESTALE; programs must open "
      "again",
      opens.size(), retired.size());
  Scan(mount_->identity.PutAllInForce(mount_->clock.Now()), [] {});
  TellKernelOf(retired);
  mount_->coherence.TrustNothing();
}

void FenceKeeper::OnChanged(const protocol::ChangedNotice& notice) {
  mount_->coherence.Told(notice.change);
}

void FenceKeeper::OnResumed() {
  mount_->coherence.TrustNothing();
}

void FenceKeeper::OnServerRebooted() {
  ops::LoseUnsynced(*mount_);
}

FenceKeeper::RetiredInodes FenceKeeper::RetireInodesOf(const Opens& opens) {
  std::vector<std::shared_ptr<Inode>> inodes;
  inodes.reserve(opens.size());
  for (const auto& open : opens) inodes.push_back(open->inode);
  return mount_->inodes.Retire(inodes);
}

void FenceKeeper::TellKernelOf(const RetiredInodes& retired) {
  for (const auto& inode : retired) {
    mount_->retire_pool.Post([mount = mount_, inode] { TellKernel(*mount, inode); });
  }
}

}  // namespace baton
