#include "server/service/ops/return.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace baton::server::ops {
namespace {

Requester RequesterOf(const Service& service, const Proof& proof) {
  Requester who;
  who.session = proof.session;
  who.uid = service.Squashed(proof.uid);
  who.pid = proof.pid;
  who.program = proof.program;
  who.ancestors = proof.ancestors;
  if (proof.guid) {
    who.instance = InstanceClaim{.guid = *proof.guid, .epoch = proof.epoch, .by_policy = proof.by_policy};
  }
  return who;
}

// Null: it is not to be had.
std::shared_ptr<OpenFile> ReturnOpen(Service& service, const Session& session, const protocol::HeldHandle& held) {
  const auto proof = service.proofs().Open(held.proof);
  if (!proof || proof->session != session.id() || proof->handle != held.handle) return nullptr;
  const Credentials opener{proof->uid, proof->gid, proof->groups};
  auto store_file = service.store().OpenWhenUsed(opener, proof->file, static_cast<int>(proof->flags));
  if (!store_file) return nullptr;
  HandleReturns returns;
  returns.handle = held.handle;
  returns.open.who = RequesterOf(service, *proof);
  returns.open.file = (*store_file)->Key();
  returns.open.reads = (proof->flags & O_ACCMODE) != O_WRONLY;
  returns.open.writes = proof->writes;
  returns.open.mode = proof->mode;
  returns.open.path = proof->path;
  const auto file = MakeOpenFile(service, returns.open, std::move(*store_file));
  return service.coordinator().ReturnHandle(std::move(returns), file) == 0 ? file : nullptr;
}

bool ReturnLock(Service& service, const OpenFile& file, const protocol::HeldLock& held) {
  const bool is_flock = held.kind == protocol::LockKind::kFlock;
  const bool is_valid = held.start <= held.last && held.last <= kRangeEnd &&
                        (is_flock || held.kind == protocol::LockKind::kRecord) &&
                        (held.mode == protocol::LockMode::kRead || held.mode == protocol::LockMode::kWrite);
  if (!is_valid) return false;
  LockWish wish;
  wish.handle = file.id;
  wish.kind = is_flock ? LockKind::kFlock : LockKind::kRecord;
  wish.type = held.mode == protocol::LockMode::kWrite ? LockType::kWrite : LockType::kRead;
  wish.owner = held.owner;
  if (!is_flock) wish.range = {held.start, held.last};
  wish.pid = held.pid;
  return service.coordinator().ReturnLock(wish) == 0;
}

}  // namespace

std::shared_ptr<OpenFile> MakeOpenFile(Service& service, const OpenWish& wish, std::shared_ptr<store::StoreFile> file) {
  auto open = std::make_shared<OpenFile>();
  open->session = wish.who.session;
  if (wish.who.instance) open->guid = wish.who.instance->guid;
  open->program = wish.who.program;
  open->pid = wish.who.pid;
  open->uid = wish.who.uid;
  open->path = wish.path;
  open->shared = service.coordinator().shared_files().For(wish.file);
  open->file = std::move(file);
  return open;
}

bool ReturnHandle(Service& service, const Session& session, const protocol::HeldHandle& held) {
  auto file = service.coordinator().handles().Find(held.handle);
  if (!file) file = ReturnOpen(service, session, held);
  if (!file || file->session != session.id()) return false;
  if (!held.locks.empty()) file->shared->locks.store(true, std::memory_order_release);
  const bool has_all = std::all_of(held.locks.begin(), held.locks.end(),
                                   [&](const protocol::HeldLock& lock) { return ReturnLock(service, *file, lock); });
  if (!has_all) service.coordinator().Tell(CloseHandle{file->id});  // half of what it held is not what it held
  return has_all;
}

}  // namespace baton::server::ops
