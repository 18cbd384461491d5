#include "fuse/ops/pending.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace baton {
namespace {

// It has let go of its memory and goes through its files. No signal reaches it any more.
bool IsEnding(const ProcReader& proc, pid_t tid) {
  const Result<TaskStat> stat = proc.ReadStat(tid);
  return stat && !stat->kernel_thread && !stat->image.Visible();
}

// For longer than batond keeps what this session has against the world.
bool IsAwayForLong(const client::Session& session) {
  const client::Session::Report report = session.Describe();
  return report.status.state != client::LinkState::kLive &&
         BootClock().Now() - report.status.since > report.lease;
}

}  // namespace

Pending::Pending(client::Session& session, const ProcReader& proc, const OpenTable& opens,
                 client::FateTable& fates, WriteOrder& write_order)
    : session_(session), proc_(proc), opens_(opens), fates_(fates), write_order_(write_order) {}

void Pending::Add(const Request& request, Instant now, std::shared_ptr<Inode> inode) {
  const auto [token, kind, tid, what] = request;
  std::lock_guard lock(mutex_);
  const bool added = entries_.emplace(token, Entry{kind, tid, false, std::move(inode), what, now}).second;
  if (added && (kind == WaitKind::kCachedWrite || kind == WaitKind::kFlush)) ++cached_or_flush_;
}

Pending::Census Pending::Count() const {
  std::lock_guard lock(mutex_);
  Census census{.count = entries_.size()};
  for (const auto& [token, entry] : entries_) {
    if (census.oldest && census.oldest->since <= entry.since) continue;
    census.oldest = Oldest{entry.what, entry.tid, entry.since};
  }
  return census;
}

void Pending::Remove(client::CallToken token) {
  Entry gone;  // its inode is let go of outside the mutex
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(token);
  if (found == entries_.end()) return;
  gone = std::move(found->second);
  entries_.erase(found);
  if (gone.interrupted) --interrupted_;
  if (gone.kind == WaitKind::kCachedWrite || gone.kind == WaitKind::kFlush) --cached_or_flush_;
}

void Pending::Interrupt(client::CallToken token) {
  Candidate candidate{token, {}};
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(token);
    if (found == entries_.end()) return;
    if (!std::exchange(found->second.interrupted, true)) ++interrupted_;
    candidate.entry = found->second;
  }
  Consider(candidate);
}

void Pending::GiveUpRetired() {
  std::vector<client::CallToken> retired;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [token, entry] : entries_) {
      if (entry.kind == WaitKind::kCachedWrite && entry.inode->Retired()) retired.push_back(token);
    }
  }
  for (const client::CallToken token : retired) session_.Abandon(token, ESTALE);
}

bool Pending::LinkIsLive() const {
  return session_.State().state == client::LinkState::kLive;
}

bool Pending::Wanted() const {
  std::lock_guard lock(mutex_);
  return interrupted_ > 0 || cached_or_flush_ > 0;
}

void Pending::Poll() {
  const bool link_is_live = LinkIsLive();
  std::vector<Candidate> candidates;
  {
    std::lock_guard lock(mutex_);
    if (interrupted_ == 0 && (link_is_live || cached_or_flush_ == 0)) return;
    for (const auto& [token, entry] : entries_) {
      const bool may_be_stuck =
          !link_is_live && (entry.kind == WaitKind::kCachedWrite || entry.kind == WaitKind::kFlush);
      if (entry.interrupted || may_be_stuck) candidates.push_back({token, entry});
    }
  }
  for (const Candidate& candidate : candidates) Consider(candidate);
}

void Pending::Consider(const Candidate& candidate) {
  const Entry& entry = candidate.entry;
  const bool may_wait = entry.kind == WaitKind::kLock || entry.kind == WaitKind::kClaim;
  if (may_wait && entry.interrupted) {
    if (fates_.Withdraw(candidate.token, EINTR)) return;
    // What batond does not have, or has while the link is down, is ended only if it is a lock's wait: an open
    // goes on when it has been sent and the link is mended.
    if (!session_.Cancel(candidate.token) && entry.kind == WaitKind::kLock) {
      session_.Abandon(candidate.token, EINTR);
    }
  }
  if (entry.kind == WaitKind::kCachedWrite) {
    if (SomeOpenerIsDying(*entry.inode)) session_.Abandon(candidate.token, EIO);
  } else if (CallerIsDying(entry) && !write_order_.Withdraw(candidate.token, EINTR)) {
    session_.Abandon(candidate.token, EINTR);
  }
}

bool Pending::CallerIsDying(const Entry& entry) const {
  const Result<bool> fatal = FatalSignalPending(proc_, entry.tid);
  if (fatal ? *fatal : entry.interrupted && fatal.error().value == ESRCH) return true;
  if (entry.kind != WaitKind::kFlush) return false;
  return IsEnding(proc_, entry.tid);
}

bool Pending::SomeOpenerIsDying(const Inode& inode) const {
  const std::vector<int> pids = opens_.PidsOf(inode);
  const bool for_long = IsAwayForLong(session_);
  return std::any_of(pids.begin(), pids.end(), [&](int pid) {
    return FatalSignalPending(proc_, pid).value_or(false) || (for_long && IsEnding(proc_, pid));
  });
}

}  // namespace baton
