// LOCK and GETLK: flock, POSIX and OFD locks (rules L1, L2, C1).
#include <algorithm>
#include <memory>
#include <utility>

#include "server/service/ops/operations.h"
#include "server/service/service.h"

namespace baton::server::ops {
namespace {

template <class Wish>
bool RangeIsValid(const Wish& wish) {
  return wish.start <= wish.last && wish.last <= kRangeEnd;
}

LockType TypeOf(protocol::LockMode mode) {
  return mode == protocol::LockMode::kWrite ? LockType::kWrite : LockType::kRead;
}

// A question what lock is in the way (F_GETLK).
struct LockQuestion {
  std::shared_ptr<Call> call;
  std::shared_ptr<OpenFile> file;
  LockWish wish;
  bool own = false;      // instead: what the asker holds himself
  Instant wait_until{};  // however many handles are closed one after the other
};

// Who asks meets no lock of a handle that is being closed (rule O5), and waits for who may have one since the server's restart
// (D4).
void AnswerLockQuestion(Service& service, const LockQuestion& question) {
  constexpr Duration kAskAgain = std::chrono::milliseconds(2);
  constexpr Duration kAskTheAbsent = std::chrono::milliseconds(50);
  Instant closing_until{};
  bool may_be_held = false;
  const auto held = service.coordinator().WithArbiter([&](Arbiter& arbiter) {
    auto lock = question.own ? arbiter.GetOwnLock(question.wish) : arbiter.GetLock(question.wish);
    if (lock && !question.own) closing_until = arbiter.ClosingUntil(lock->handle);
    may_be_held = !lock && !question.own && arbiter.MayMeetAbsent(question.wish.handle);
    return lock;
  });
  // Fenced, it holds nothing, and nobody stands in its way: that is not the answer.
  if (const int error = question.file->membership->Closed(); error != 0) return question.call->Fail(error);
  const Instant now = service.clock().Now();
  if (may_be_held || now < std::min(closing_until, question.wait_until)) {
    service.timers().At(now + (may_be_held ? kAskTheAbsent : kAskAgain), [&service, question] { AnswerLockQuestion(service, question); });
    return;
  }
  protocol::GetlkReply reply;
  if (held) {
    reply.mode = held->type == LockType::kWrite ? protocol::LockMode::kWrite : protocol::LockMode::kRead;
    reply.start = held->range.start;
    reply.last = held->range.last;
    reply.pid = held->pid;
  }
  question.call->Answer(reply);
}

}  // namespace

void Lock(Service& service, Call call, const protocol::LockRequest& wish, std::span<const std::byte>) {
  const bool is_flock = wish.kind == protocol::LockKind::kFlock;
  if (!RangeIsValid(wish) || wish.mode > protocol::LockMode::kWrite ||
      (wish.kind != protocol::LockKind::kRecord && !is_flock)) {
    return call.Fail(EINVAL);
  }
  const auto file = service.FileOf(call, wish.handle);
  if (!file) return;
  if (const int error = file->membership->Closed(); error != 0) {
    service.coordinator().ReportLate(*file);
    return call.Fail(error);
  }
  const LockKind kind = is_flock ? LockKind::kFlock : LockKind::kRecord;
  const ByteRange range = is_flock ? ByteRange() : ByteRange{wish.start, wish.last};
  if (wish.mode == protocol::LockMode::kUnlock) {
    if (const int error = service.coordinator().Unlock({wish.handle, kind, wish.owner, range}); error != 0) return call.Fail(error);
    return call.Answer(protocol::LockReply{file->shared->ChangesByOthers(file->session)});
  }
  file->shared->locks.store(true, std::memory_order_release);
  const LockWish asked{service.coordinator().NewRequest(), wish.handle, kind, TypeOf(wish.mode), wish.owner, range,
                       wish.wait, wish.pid};
  const auto session = call.session();
  const protocol::FrameHeader request = call.request();
  session->SetWaiting(request, asked.request);
  const auto waiting = std::make_shared<Call>(std::move(call));
  service.coordinator().Lock(asked, [waiting, file](Coordinator::Answer& answer) {
    if (answer.error != 0) return waiting->Fail(answer.error);
    waiting->Answer(protocol::LockReply{file->shared->ChangesByOthers(file->session)});
  });
  if (session->IsCancelled(request)) service.coordinator().Withdraw(asked.request);
}

void Getlk(Service& service, Call call, const protocol::GetlkRequest& wish, std::span<const std::byte>) {
  if (!RangeIsValid(wish)) return call.Fail(EINVAL);
  const auto file = service.FileOf(call, wish.handle);
  if (!file) return;
  constexpr Duration kMostWait = std::chrono::milliseconds(100);
  LockQuestion question;
  question.call = std::make_shared<Call>(std::move(call));
  question.file = file;
  question.wish = {RequestId{}, wish.handle, LockKind::kRecord, TypeOf(wish.mode), wish.owner,
                   {wish.start, wish.last}, false, 0};
  question.own = wish.mode == protocol::LockMode::kUnlock;
  question.wait_until = service.clock().Now() + kMostWait;
  AnswerLockQuestion(service, question);
}

}  // namespace baton::server::ops
