#include "fuse/ops/mount.h"

#include <cerrno>
#include <climits>

#include "fuse/ops/convert.h"

namespace baton {
namespace {

protocol::Member MemberOf(const Membership& member) {
  return {.guid = member.guid,
          .version = member.version,
          .epoch = member.epoch,
          .owner_uid = member.owner_uid,
          .may_take_over = member.may_take_over};
}

}  // namespace

Mount::Mount(const MountOptions& mount_options, const Clock& boot_clock, const ProcReader& proc_reader,
             client::Session& client_session, IdentityResolver& resolver, InodeTable& inode_table,
             OpenTable& open_table)
    : options(mount_options),
      clock(boot_clock),
      proc(proc_reader),
      session(client_session),
      identity(resolver),
      inodes(inode_table),
      opens(open_table),
      ancestors(proc, clock),
      pending(session, proc, opens, fates, write_order),
      coherence(*this, options.attr_timeout, options.entry_timeout),
      housekeeping(clock),
      refusals(clock) {}

Mount::~Mount() {
  housekeeping.Stop();
}

void Mount::OnInterrupt(fuse_req_t request, void* token) {
  Mount& mount = Of(request);
  mount.pending.Interrupt(client::CallToken{reinterpret_cast<std::uint64_t>(token)});
  mount.housekeeping.Hurry();
}

void Mount::Register(const KernelReply& reply, const Pending::Request& request,
                     std::shared_ptr<Inode> inode) {
  pending.Add(request, clock.Now(), std::move(inode));
  fuse_req_interrupt_func(reply.Request(), &Mount::OnInterrupt,
                          reinterpret_cast<void*>(static_cast<std::uint64_t>(request.token)));
}

void Mount::AwaitServer(KernelReply reply, UniqueFunction<void(KernelReply)> then) {
  const client::CallToken token = session.NewToken();
  Register(reply, {token, WaitKind::kPlain, reply.Context().pid, "first look"});
  session.AwaitSession(
      token, options.op_timeout,
      [this, token, reply = std::move(reply), then = std::move(then)](Result<> there) mutable {
        pending.Remove(token);
        if (!there) return reply.Error(there.error().value);
        then(std::move(reply));
      });
}

Who Mount::Looker(const KernelReply& reply) const {
  const fuse_ctx& context = reply.Context();
  Who caller;
  caller.uid = context.uid;
  caller.gid = context.gid;
  caller.pid = context.pid;
  if (context.uid != 0 && context.pid != 0) {
    if (auto groups = SupplementaryGroups(proc, context.pid))
      caller.groups.assign(groups->begin(), groups->end());
  }
  return caller;
}

Who Mount::LookerAs(const KernelReply& reply, const Resolution& resolution) const {
  Who caller = Looker(reply);
  if (resolution.kind != Resolution::Kind::kInstance) return caller;
  caller.pid = resolution.pid;
  caller.program = resolution.program;
  caller.member = MemberOf(resolution.member);
  return caller;
}

int Mount::Identify(Purpose purpose, const Resolution& resolution, Who& caller) {
  using Kind = Resolution::Kind;
  const bool writes = purpose == Purpose::kOpenWrite || purpose == Purpose::kChange;
  caller.pid = resolution.pid;
  caller.start = resolution.start;
  caller.program = resolution.program;
  switch (resolution.kind) {
    case Kind::kAnonymous:
      return 0;
    case Kind::kInstance: {
      caller.member = MemberOf(resolution.member);
      if (purpose == Purpose::kOpenWrite) {
        caller.ancestors = ancestors.Of({resolution.pid, resolution.start});
      }
      return 0;
    }
    case Kind::kFenced:
      return ESTALE;
    case Kind::kUnidentified:
      caller.identified = options.unidentified_anonymous;
      return 0;
    case Kind::kUnknown:
      return writes ? EACCES : 0;
    case Kind::kMalformed:
      return EINVAL;
  }
  return EIO;
}

void Mount::ReplyLate(KernelReply reply, Open& open) {
  reply.Error(ESTALE);
  if (!open.late_was_reported.exchange(true)) session.ReportLate(open.handle, open.generation);
}

void Mount::PinCaller(const Who& caller, Epoch epoch) {
  if (epoch == kNewEpoch || !caller.member || caller.member->epoch == epoch) return;
  identity.Pin({caller.pid, caller.start}, caller.member->guid, epoch);
}

Mount::Judged Mount::JudgeSlowly(pid_t tid) {
  for (;;) {
    WaitForFences();
    const std::uint64_t begun = fences_begun_;
    Judged judged{.generation = session.CurrentGeneration()};
    judged.resolution = identity.Resolve(tid);
    judged.ticket = member_requests.Begin();
    // A fence that came while the process kept us waiting, before the ticket was there to hold it up, is
    // missing from the verdict.
    if (begun == fences_begun_) return judged;
  }
}

void Mount::BeginFence() {
  ++fences_under_way_;
  ++fences_begun_;
}

void Mount::EndFence() {
  std::lock_guard lock(fences_mutex_);
  --fences_under_way_;
  fences_done_.notify_all();
}

void Mount::WaitForFences() {
  std::unique_lock lock(fences_mutex_);
  fences_done_.wait(lock, [this] { return fences_under_way_ == 0; });
}

double Mount::NameTimeout(NoticeMark since, const Inode& parent, std::string_view name) const {
  return stale_locks.Match(name) ? 0 : coherence.EntryTimeout(since, parent.Number());
}

std::shared_ptr<Inode> Mount::FillEntry(const protocol::NodeReply& node, const std::shared_ptr<Inode>& parent,
                                        std::string_view name, NoticeMark since, fuse_entry_param& entry) {
  auto inode = inodes.Remember(node.file, node.attr, parent, name);
  entry = {};
  entry.ino = inodes.NumberFor(*inode);
  entry.attr = ToStat(node.attr);
  entry.attr_timeout = coherence.AttrTimeout(since, node.attr, node.watched);
  entry.entry_timeout = NameTimeout(since, *parent, name);
  return inode;
}

void Mount::ReplyEntry(KernelReply reply, const Result<protocol::NodeReply>& node,
                       const std::shared_ptr<Inode>& parent, std::string_view name) {
  if (!node) return reply.Error(node.error().value);
  fuse_entry_param entry{};
  if (node->file.Empty()) {
    entry.entry_timeout = NameTimeout(reply.Since(), *parent, name);
    reply.Entry(entry);
    return;
  }
  const auto inode = FillEntry(*node, parent, name, reply.Since(), entry);
  if (!reply.Entry(entry)) inodes.Forget(*inode, 1);
}

void Mount::ReplyAttributes(KernelReply reply, const Result<protocol::AttrReply>& answer) {
  if (!answer) return reply.Error(answer.error().value);
  const double timeout = coherence.AttrTimeout(reply.Since(), answer->attr, answer->watched);
  reply.Attributes(ToStat(answer->attr), timeout);
}

void Mount::InvalidatePages(const Inode& inode, const ByteRange& range) {
  const auto length = range.last == kRangeEnd ? 0 : static_cast<off_t>(range.last - range.start + 1);
  // ENOENT: the kernel has forgotten the inode meanwhile, and its pages.
  const int error = fuse_lowlevel_notify_inval_inode(kernel.Fuse(), inodes.NumberFor(inode),
                                                     static_cast<off_t>(range.start), length);
  if (error != 0 && error != -ENOENT) log::Debug("invalidating inode {}: errno {}", inode.Number(), -error);
}

}  // namespace baton
