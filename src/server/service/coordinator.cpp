#include "server/service/coordinator.h"

#include <algorithm>
#include <cerrno>
#include <future>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/planted.h"
#include "protocol/codec.h"
#include "server/store/thread_credentials.h"

namespace baton::server {
namespace {

// A request through a handle of a fenced incarnation.
EventRecord LateEvent(const OpenFile& file, const std::string& node) {
  EventRecord event;
  event.kind = EventKind::kLate;
  event.guid = file.guid;
  event.old_epoch = file.epoch;
  event.from_node = node;
  event.uid = file.uid;
  event.pid = file.pid;
  event.program = file.program;
  event.file = file.path;
  event.handles = 1;
  return event;
}

// Closes the files of a fenced incarnation behind the answers, a few at a time, so that other work comes in
// between.
using OpenFiles = std::vector<std::shared_ptr<OpenFile>>;
void CloseLater(Executor& executor, std::shared_ptr<OpenFiles> files) {
  static constexpr std::size_t kAtOnce = 64;
  executor.Post([&executor, files = std::move(files)] {
    files->resize(files->size() - std::min(files->size(), kAtOnce));
    if (!files->empty()) CloseLater(executor, files);
  });
}

}  // namespace

Coordinator::Coordinator(const ArbiterOptions& options, const Recovered& recovered, StateStore& state,
                         EventLog& events, Executor& executor, Timers& timers, const Clock& clock,
                         bool check_invariants)
    : state_(state),
      events_(events),
      executor_(executor),
      timers_(timers),
      clock_(clock),
      check_invariants_(check_invariants),
      max_sessions_(options.limits.sessions),
      restored_(recovered.sessions.size()),
      reservation_(options.reservation),
      shared_files_(recovered.starts),
      arbiter_(options, recovered.survivors),
      committer_([this] { CommitLoop(); }) {
  const std::lock_guard lock(mutex_);
  for (const SessionRecord& known : recovered.sessions) {
    const protocol::SessionSecret secret{known.secret[0], known.secret[1]};
    const SessionId id = known.begins.session;
    sessions_.emplace(Raw(id), std::make_shared<Session>(id, secret, known.begins.node, known.keeps_names, clock_.Now()));
  }
  ArmTimer();
}

Coordinator::~Coordinator() { Stop(); }

void Coordinator::Stop() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    if (timer_ != TimerId{}) timers_.Cancel(timer_);
  }
  {
    const std::lock_guard lock(commit_mutex_);
    ending_ = true;
  }
  commit_wanted_.notify_one();
  committer_.join();
}

RequestId Coordinator::NewRequest() { return RequestId{last_request_.fetch_add(1) + 1}; }

void Coordinator::Open(OpenWish wish, std::shared_ptr<OpenFile> file, Done done) {
  if (auto answer = Ask(wish.request, done, std::move(file), wish, Commits::kHere)) done(*answer);
}
std::optional<Coordinator::Answer> Coordinator::Change(ChangeWish wish, Done later) {
  return Ask(wish.request, later, nullptr, wish);
}
void Coordinator::Lock(LockWish wish, Done done) {
  if (auto answer = Ask(wish.request, done, nullptr, wish)) done(*answer);
}
int Coordinator::Unlock(baton::Unlock unlock) {
  unlock.request = NewRequest();
  const auto answer = Ask(unlock.request, nullptr, nullptr, unlock);
  BATON_CHECK(answer.has_value());
  return answer->error;
}
void Coordinator::FenceByHand(const Guid& guid, Done done) {
  const RequestId request = NewRequest();
  if (auto answer = Ask(request, done, nullptr, baton::FenceByHand{request, guid})) done(*answer);
}

std::optional<Coordinator::Answer> Coordinator::Ask(RequestId request, const Done& later, std::shared_ptr<OpenFile> file,
                                                    const Event& event, Commits commits) {
  std::vector<Ready> ready;
  {
    const std::lock_guard lock(mutex_);
    pending_.emplace(Raw(request), Pending{later, std::move(file)});
    StepLocked(event, ready);
  }
  return Finish(std::move(ready), request, commits);
}

std::optional<Coordinator::Answer> Coordinator::Tell(const Event& event, RequestId mine) {
  std::vector<Ready> ready;
  {
    const std::lock_guard lock(mutex_);
    StepLocked(event, ready);
  }
  return Finish(std::move(ready), mine);
}

void Coordinator::StepLocked(const Event& event, std::vector<Ready>& ready) {
  const Effects effects = arbiter_.Step(event, clock_.Now());
  for (const Effect& effect : effects) {
    std::visit([&](const auto& any) { Carry(any, ready); }, effect);
  }
  if (check_invariants_) arbiter_.CheckInvariants();
  for (DrainId drain : std::exchange(drained_, {})) StepLocked(Drained{drain}, ready);
  ArmTimer();
}

std::optional<Coordinator::Answer> Coordinator::Finish(std::vector<Ready> ready, RequestId mine, Commits commits) {
  std::vector<std::shared_ptr<OpenFile>> dropped;
  bool has_commits = false;
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(dropped_);
    has_commits = std::exchange(has_commits_, false);
  }
  std::optional<Answer> own;
  for (Ready& one : ready) {
    if (one.request == mine) {
      own = std::move(one.answer);
      continue;
    }
    executor_.Post([shared = std::make_shared<Ready>(std::move(one))] { shared->done(shared->answer); });
  }
  if (dropped.size() > 1) CloseLater(executor_, std::make_shared<OpenFiles>(std::move(dropped)));
  if (!has_commits) return own;
  if (commits == Commits::kHere && !own) return CommitFor(mine);
  commit_wanted_.notify_one();
  return own;
}

void Coordinator::MakeReady(RequestId request, Answer answer, std::vector<Ready>& ready) {
  const auto at = pending_.find(Raw(request));
  if (at == pending_.end()) return;
  ready.push_back({request, std::move(at->second.done), std::move(answer)});
  pending_.erase(at);
}

std::shared_ptr<Gate>& Coordinator::GateFor(GateId id) {
  std::shared_ptr<Gate>& gate = gates_[Raw(id)];
  if (!gate) gate = std::make_shared<Gate>();
  return gate;
}

void Coordinator::Carry(const OpenGranted& effect, std::vector<Ready>& ready) {
  const auto at = pending_.find(Raw(effect.request));
  BATON_CHECK(at != pending_.end() && at->second.file);
  const std::shared_ptr<OpenFile> file = at->second.file;
  file->id = effect.handle;
  file->epoch = effect.epoch;
  file->membership = GateFor(effect.gate);
  handles_.Insert(file);
  Answer answer;
  answer.epoch = effect.epoch;
  MakeReady(effect.request, std::move(answer), ready);
}

void Coordinator::Carry(const ChangeGranted& effect, std::vector<Ready>& ready) {
  Answer answer;
  answer.epoch = effect.epoch;
  const std::shared_ptr<Gate>& gate = GateFor(effect.gate);
  BATON_CHECK(gate->Enter() == 0);
  answer.entry = GateEntry(gate);
  MakeReady(effect.request, std::move(answer), ready);
}

void Coordinator::Carry(const CheckFirst& effect, std::vector<Ready>& ready) {
  Answer answer;
  answer.check_first = true;
  MakeReady(effect.request, std::move(answer), ready);
}

void Coordinator::Carry(const LockGranted& effect, std::vector<Ready>& ready) { MakeReady(effect.request, {}, ready); }
void Coordinator::Carry(const FenceDone& effect, std::vector<Ready>& ready) { MakeReady(effect.request, {}, ready); }

void Coordinator::Carry(const Refused& effect, std::vector<Ready>& ready) {
  Answer answer;
  answer.error = effect.error;
  answer.holder = effect.holder;
  MakeReady(effect.request, std::move(answer), ready);
}

void Coordinator::Carry(const Commit& effect, std::vector<Ready>&) {
  const std::lock_guard lock(commit_mutex_);
  to_commit_.push_back(effect);
  has_commits_ = true;
}

void Coordinator::Carry(const CommitUse& effect, std::vector<Ready>&) {
  Enqueue([this, use = effect.use](StateStore& state) {
    const bool durable = state.SaveUse(use).has_value();
    Tell(UseCommitted{use.session, use.guid, use.epoch, durable});
  });
}

void Coordinator::Carry(const CommitEnd& effect, std::vector<Ready>&) { EndDurably(effect); }

// Whoever needs what it held waits as long: a restart would give it back.
void Coordinator::EndDurably(const CommitEnd& end) {
  Enqueue([this, end](StateStore& state) {
    const bool durable = state.EndSession(end, ReservedUntil()).has_value();
    Tell(EndCommitted{end.session, durable});
    if (durable) return;
    const std::lock_guard lock(mutex_);
    if (!stopped_) timers_.At(clock_.Now() + std::chrono::seconds(1), [this, end] { EndDurably(end); });
  });
}

void Coordinator::Carry(const KeepFence& effect, std::vector<Ready>&) {
  Enqueue([fence = effect.fence](StateStore& state) {
    if (!state.AcknowledgeFence(fence)) log::Warn("node {} will be told of a fence again after a restart of batond", fence.node);
  });
}

Instant Coordinator::ReservedUntil() const {
  return clock_.Now() + reservation_;
}

void Coordinator::Enqueue(StoreWork work) {
  {
    const std::lock_guard lock(commit_mutex_);
    to_commit_.push_back(std::move(work));
  }
  commit_wanted_.notify_one();
}

void Coordinator::CommitLoop() {
  std::unique_lock lock(commit_mutex_);
  for (;;) {
    commit_wanted_.wait(lock, [this] { return !is_committing_ && (ending_ || !to_commit_.empty()); });
    if (to_commit_.empty()) return;
    CommitFront(lock, RequestId{});
  }
}

// The thread that takes over commits, if nobody else is at it: no other has to wake up. As the server, whoever it acted for.
std::optional<Coordinator::Answer> Coordinator::CommitFor(RequestId mine) {
  std::unique_lock lock(commit_mutex_);
  const bool is_first = !to_commit_.empty() && std::holds_alternative<baton::Commit>(to_commit_.front());
  std::optional<Answer> own;
  if (is_first && !is_committing_ && !ending_) {
    store::BecomeServer();
    own = CommitFront(lock, mine);
  }
  const bool is_left = ending_ || !to_commit_.empty();
  lock.unlock();
  if (is_left) commit_wanted_.notify_one();
  return own;
}

// Records as many as stand together in one commit, or other work; outside the lock, which it gives back.
std::optional<Coordinator::Answer> Coordinator::CommitFront(std::unique_lock<std::mutex>& lock, RequestId mine) {
  std::vector<baton::Commit> records;
  while (!to_commit_.empty() && std::holds_alternative<baton::Commit>(to_commit_.front())) {
    records.push_back(std::get<baton::Commit>(std::move(to_commit_.front())));
    to_commit_.pop_front();
  }
  StoreWork work;
  if (records.empty()) {
    work = std::get<StoreWork>(std::move(to_commit_.front()));
    to_commit_.pop_front();
  }
  is_committing_ = true;
  lock.unlock();
  std::optional<Answer> own;
  if (work) {
    work(state_);
  } else {
    const Result<void> saved =
        Planted("fence not durable") ? Result<void>() : state_.SaveAll(records, WallNow(), clock_.Now());
    for (const baton::Commit& commit : records) {
      if (auto answer = Tell(Committed{commit.record.guid, saved.has_value()}, mine)) own = std::move(answer);
    }
  }
  lock.lock();
  is_committing_ = false;
  return own;
}

void Coordinator::Carry(const CloseGates& effect, std::vector<Ready>&) {
  std::vector<std::shared_ptr<Gate>> gates;
  for (GateId id : effect.gates) gates.push_back(GateFor(id));
  for (HandleId id : effect.handles) {
    if (const auto file = handles_.Find(id)) gates.emplace_back(file, &file->gate);
  }
  if (Planted("gates stay open") || Planted("late handles served")) gates.clear();
  const bool awaits_drain = !Planted("drain not awaited");
  // One count too many until all are closed, so that the end is told once, and never from inside this step.
  const auto left = std::make_shared<std::atomic<std::size_t>>(awaits_drain ? gates.size() + 1 : 1);
  const std::function<void()> drained = [this, left, awaits_drain, drain = effect.drain] {
    if (awaits_drain && left->fetch_sub(1) == 1) executor_.Post([this, drain] { Tell(Drained{drain}); });
  };
  for (const auto& gate : gates) gate->Close(effect.error, drained);
  if (left->fetch_sub(1) == 1) drained_.push_back(effect.drain);  // nobody was inside: the next step
}

void Coordinator::Carry(const RefuseCachedWrites& effect, std::vector<Ready>&) {
  for (HandleId id : effect.handles) {
    if (const auto file = handles_.Find(id)) file->refuses_cached_writes.store(true, std::memory_order_release);
  }
}

void Coordinator::Carry(const HandlesDropped& effect, std::vector<Ready>&) {
  if (Planted("late handles served")) return;
  dropped_.reserve(dropped_.size() + effect.handles.size());
  std::size_t left = effect.handles.size();
  for (HandleId handle : effect.handles) {
    const bool is_remembered = left-- <= LateHandles::kMost;  // the others would be forgotten at once
    auto file = handles_.Remove(handle);
    if (!file) continue;
    if (is_remembered) RememberFenced(*file);
    dropped_.push_back(std::move(file));
  }
}

void Coordinator::RememberFenced(OpenFile& file) {
  const auto session = sessions_.find(Raw(file.session));
  const bool is_fenced = file.Closed() == ESTALE && session != sessions_.end();
  if (!is_fenced || file.late_was_reported.exchange(true)) return;
  late_handles_.Add(file.id, file.session, LateEvent(file, session->second->node()));
}

void Coordinator::Carry(const GateDropped& effect, std::vector<Ready>&) { gates_.erase(Raw(effect.gate)); }

void Coordinator::Carry(const NotifyFenced& effect, std::vector<Ready>&) {
  const auto at = sessions_.find(Raw(effect.session));
  if (at == sessions_.end()) return;
  protocol::FencedNotice notice;
  notice.fence = {effect.guid, effect.epoch, effect.version, std::nullopt};
  notice.to_node = effect.to_node;
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(notice);
  at->second->Notify(protocol::Operation::kFenced, body);
}

void Coordinator::Carry(const NotifyRevoked& effect, std::vector<Ready>&) {
  const auto at = sessions_.find(Raw(effect.session));
  if (at == sessions_.end()) return;
  at->second->NotifyRevoked(effect.handles);
}

void Coordinator::Carry(const SessionEnded& effect, std::vector<Ready>&) {
  const auto at = sessions_.find(Raw(effect.session));
  if (at == sessions_.end()) return;
  const std::shared_ptr<Session> session = std::move(at->second);
  sessions_.erase(at);
  session->End();
  Enqueue([id = effect.session](StateStore& state) { (void)state.EraseSession(id); });  // if not: one more is absent once
  const auto waiting = when_ended_.find(Raw(effect.session));
  if (waiting != when_ended_.end()) {
    for (auto& ended : waiting->second) executor_.Post(std::move(ended));
    when_ended_.erase(waiting);
  } else if (const auto connection = session->connection()) {
    connection->Close();  // it learns of its end when it tries to resume
  }
}

void Coordinator::Carry(const Emit& effect, std::vector<Ready>&) { events_.Append(effect.event); }

void Coordinator::ArmTimer() {
  const Instant next = arbiter_.NextDeadline();
  if (next == armed_ || stopped_) return;
  if (timer_ != TimerId{}) timers_.Cancel(timer_);
  armed_ = next;
  timer_ = TimerId{};
  if (next == Instant::max()) return;
  timer_ = timers_.At(next, [this] {
    {
      const std::lock_guard lock(mutex_);
      armed_ = Instant::max();
      timer_ = TimerId{};
    }
    Tell(Tick{});
  });
}

void Coordinator::WithStateStore(const StoreWork& work) {
  std::promise<void> done;
  Enqueue([&](StateStore& state) {
    work(state);
    done.set_value();
  });
  done.get_future().wait();
}

void Coordinator::ForgetUnused(WallTime now, Duration after) {
  const WallTime limit = now - std::chrono::floor<std::chrono::microseconds>(after);
  Enqueue([this, now, limit](StateStore& state) {
    for (const InstanceInfo& info : WithArbiter([](Arbiter& arbiter) { return arbiter.ListInstances(); })) {
      const bool is_used = info.state == "live" || info.state == "taking over" || info.reservations > 0;
      if (is_used) state.Touch(info.record.guid, now);
    }
    const auto erased = state.EraseUnusedSince(limit);
    if (!erased) return;  // the state store has said why
    for (const Guid& guid : *erased) ForgetOne(guid, state);
  });
}

// What the store has erased. Who came back just now is written again.
void Coordinator::ForgetOne(const Guid& guid, StateStore& state) {
  std::optional<InstanceRecord> in_use;
  {
    const std::lock_guard lock(mutex_);
    if (arbiter_.Forget(guid) == EBUSY) in_use = arbiter_.RecordOf(guid);
  }
  if (!in_use) {
    log::Info("instance {} is forgotten: nobody used it for long", ToString(guid));
  } else if (!state.Save(*in_use)) {
    log::Error("the record of instance {} is lost when batond restarts", ToString(guid));
  }
}

Coordinator::Changed Coordinator::Forget(const Guid& guid) {
  Changed changed;
  std::promise<void> done;
  {
    // Queued with the step: a commit of the instance's next life comes behind it.
    const std::lock_guard lock(mutex_);
    changed.error = arbiter_.Forget(guid);
    if (changed.error != 0) return changed;
    Enqueue([&](StateStore& state) {
      changed.saved = state.Erase(guid);
      done.set_value();
    });
  }
  done.get_future().wait();
  return changed;
}

Coordinator::Changed Coordinator::ResetVersion(const Guid& guid) {
  Changed changed;
  std::promise<void> done;
  {
    const std::lock_guard lock(mutex_);
    const auto record = arbiter_.ResetVersion(guid);
    if (!record) {
      changed.error = ENOENT;
      return changed;
    }
    Enqueue([&changed, &done, record = *record](StateStore& state) {
      changed.saved = state.Save(record);
      done.set_value();
    });
  }
  done.get_future().wait();
  return changed;
}

// Each side writes before it looks: one of them sees the other.
void Coordinator::FallSilent(const std::shared_ptr<Session>& session, Duration lease) {
  std::vector<Ready> ready;
  {
    const std::lock_guard lock(mutex_);
    if (session->silent.exchange(true)) return;
    if (clock_.Now() - session->heard() <= lease) {
      session->silent.store(false);
      return;
    }
    StepLocked(SessionSilent{session->id()}, ready);
  }
  Finish(std::move(ready), RequestId{});
}

void Coordinator::Hear(const std::shared_ptr<Session>& session) {
  std::vector<Ready> ready;
  {
    const std::lock_guard lock(mutex_);
    if (!session->silent.exchange(false)) return;
    StepLocked(SessionHeard{session->id()}, ready);
  }
  Finish(std::move(ready), RequestId{});
}

// Sessions that were never unmounted would stay for ever: the one that was silent longest gives way (rules S2, A4).
bool Coordinator::MakeRoomLocked(std::vector<Ready>& ready) {
  if (sessions_.size() < max_sessions_) return true;
  if (sessions_.size() >= 2 * std::max(max_sessions_, restored_)) return false;  // more are ending than the disk lets end
  std::shared_ptr<Session> oldest;
  for (const auto& [id, session] : sessions_) {
    const bool is_candidate = session->silent.load() && !arbiter_.IsEnding(session->id());
    if (is_candidate && (!oldest || session->heard() < oldest->heard())) oldest = session;
  }
  if (!oldest) return false;
  StepLocked(SessionEvicted{oldest->id()}, ready);
  return true;
}

void Coordinator::ReportTooManySessions(const std::string& node) {
  if (!session_limits_.Allow(node, clock_.Now())) return;
  EventRecord event;
  event.kind = EventKind::kLimit;
  event.to_node = node;
  event.detail = "--max-sessions is " + std::to_string(max_sessions_) + ", and none of them is silent";
  events_.Append(std::move(event));
}

bool Coordinator::WouldOutlive(const Requester& who, Epoch creator) {
  if (!who.instance) return false;
  const std::lock_guard lock(mutex_);
  return arbiter_.WouldOutlive(who, creator);
}

// One after the other, in the state store as in the arbiter: the record of the next replaces that of an earlier run.
void Coordinator::BeginSession(const std::shared_ptr<Session>& session, const SessionBegins& event, Welcome welcome,
                               std::function<void(int)> refused) {
  std::vector<Ready> ready;
  int error = 0;
  {
    const std::lock_guard lock(mutex_);
    error = arbiter_.MayBegin(event.node, event.machine, event.boot);
    if (error == 0 && (begins_ >= max_sessions_ || !MakeRoomLocked(ready))) error = EUSERS;
    if (error == 0) ++begins_;
  }
  Finish(std::move(ready), RequestId{});
  if (error == EUSERS) ReportTooManySessions(event.node);
  if (error != 0) return refused(error);
  Enqueue([this, session, event, welcome = std::move(welcome), refused = std::move(refused)](StateStore& state) {
    const SessionRecord record{event, {session->secret().high, session->secret().low}, session->keeps_names()};
    const int too_late = WithArbiter([&](const Arbiter& arbiter) {
      --begins_;
      return arbiter.MayBegin(event.node, event.machine, event.boot);
    });
    if (too_late != 0) return refused(too_late);  // another machine has begun meanwhile
    if (const auto saved = state.SaveSession(record, ReservedUntil()); !saved) return refused(saved.error().value);
    std::vector<Ready> begun;
    {
      const std::lock_guard lock(mutex_);
      sessions_.emplace(Raw(session->id()), session);
      StepLocked(event, begun);
      welcome(arbiter_.FencesOf(event.node));
    }
    Finish(std::move(begun), RequestId{});
  });
}

int Coordinator::ReturnHandle(HandleReturns returns, std::shared_ptr<OpenFile> file) {
  const RequestId request = returns.open.request = NewRequest();
  const auto answer = Ask(request, nullptr, std::move(file), returns);
  BATON_CHECK(answer.has_value());
  return answer->error;
}

int Coordinator::ReturnLock(LockWish lock) {
  const RequestId request = lock.request = NewRequest();
  const auto answer = Ask(request, nullptr, nullptr, LockReturns{lock});
  BATON_CHECK(answer.has_value());
  return answer->error;
}

int Coordinator::ResumeSession(const std::shared_ptr<Session>& session, const Welcome& welcome) {
  std::vector<Ready> ready;
  bool has_ended = false;
  {
    const std::lock_guard lock(mutex_);
    if (session->ended() || !sessions_.contains(Raw(session->id()))) return ESTALE;
    StepLocked(SessionReturns{session->id()}, ready);
    has_ended = arbiter_.IsEnding(session->id());
    if (!has_ended) {
      session->Heard(clock_.Now());
      session->silent.store(false);
      StepLocked(SessionHeard{session->id()}, ready);
      session->must_assert.store(arbiter_.IsAbsent(session->id()));
      welcome(arbiter_.FencesOf(session->node()));
    }
  }
  Finish(std::move(ready), RequestId{});
  return has_ended ? ESTALE : 0;
}

std::shared_ptr<Session> Coordinator::FindSession(SessionId id) {
  const std::lock_guard lock(mutex_);
  const auto at = sessions_.find(Raw(id));
  return at == sessions_.end() ? nullptr : at->second;
}

std::vector<std::shared_ptr<Session>> Coordinator::Sessions() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Session>> list;
  list.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) list.push_back(session);
  return list;
}

void Coordinator::WhenEnded(SessionId session, std::function<void()> ended) {
  {
    const std::lock_guard lock(mutex_);
    if (sessions_.contains(Raw(session))) {
      when_ended_[Raw(session)].push_back(std::move(ended));
      return;
    }
  }
  ended();
}

void Coordinator::ReportLate(OpenFile& file) {
  if (file.late_was_reported.exchange(true)) return;
  const auto session = FindSession(file.session);
  events_.Append(LateEvent(file, session ? session->node() : ""));
}

void Coordinator::ReportLate(HandleId handle, SessionId session) {
  if (const auto file = handles_.Find(handle)) {  // not dropped yet
    if (file->session == session && file->Closed() == ESTALE) ReportLate(*file);
    return;
  }
  std::optional<EventRecord> event;
  {
    const std::lock_guard lock(mutex_);
    event = late_handles_.Take(handle, session);
  }
  if (event) events_.Append(std::move(*event));
}

}  // namespace baton::server
