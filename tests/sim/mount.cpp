#include "sim/mount.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

namespace baton::sim {

using client::CallOptions;
using client::Operation;

namespace {

constexpr std::uint32_t kUid = 1000;

// Which file a reference names to this mount. Only the store may look inside; the simulated one's is its
// number.
std::uint64_t KeyOf(const FileRef& ref) {
  return std::hash<FileRef>()(ref);
}

template <class Request>
constexpr bool OpensHandle() {
  return std::is_same_v<Request, protocol::OpenRequest> || std::is_same_v<Request, protocol::CreateRequest>;
}

}  // namespace

template <Operation kOp>
struct Mount::Called {
  Result<typename client::MessagesOf<kOp>::Reply> reply = Fail(EIO);
  Epoch epoch{};
  std::string data;
  client::Generation generation{};
  bool is_fate_unknown = false;
  bool by_server = true;
  bool is_done = false;
};

Mount::Mount(Scheduler& scheduler, Process& process, Path& path, Listener& server,
             client::SessionIdentity identity)
    : scheduler_(scheduler),
      clock_(scheduler, process),
      transport_(scheduler, process, path, server, clock_, identity.node),
      session_(transport_, clock_, std::move(identity), *this) {}

void Mount::Start() {
  session_.StartInBackground({});
}

// --- Calls

template <Operation kOp>
Mount::Called<kOp> Mount::Call(Run& run, const typename client::MessagesOf<kOp>::Request& request,
                               CallOptions<kOp> options, std::uint64_t fate_key) {
  const auto called = std::make_shared<Called<kOp>>();
  if (run.is_killed) {
    called->reply = Fail(EINTR);
    called->by_server = false;
    return *called;
  }
  options.token = run.waits_for = session_.NewToken();
  session_.Call<kOp>(
      request,
      [this, called, fate_key](client::Answer<kOp>&& answer) {
        if (answer.fate == client::Fate::kUnknown && fate_key != 0) fates_.Unknown(fate_key);
        called->reply = std::move(answer.reply);
        called->epoch = answer.epoch;
        called->data.assign(reinterpret_cast<const char*>(answer.data.data()), answer.data.size());
        called->generation = answer.generation;
        called->is_fate_unknown = answer.fate == client::Fate::kUnknown;
        called->by_server = answer.origin == client::Origin::kServer;
        called->is_done = true;
        scheduler_.Wake(called.get());
      },
      std::move(options));
  while (!called->is_done) scheduler_.Park(called.get());
  run.waits_for = client::kNoToken;
  return *called;
}

// Rule T7: what it says of its epoch holds until its fate is known.
template <Operation kOp>
Mount::Called<kOp> Mount::CallAsMember(Run& run, typename client::MessagesOf<kOp>::Request request) {
  const auto ticket = member_requests_.Begin();
  if (run.guid) ticket->IsOf(*run.guid);
  request.caller = CallerOf(run);
  CallOptions<kOp> options;
  options.late = [this, ticket](client::Answer<kOp>&& answer) {
    if constexpr (OpensHandle<typename client::MessagesOf<kOp>::Request>()) {
      if (answer.reply) CloseUnwanted(answer.reply->handle, answer.generation);
    }
  };
  Called<kOp> called = Call<kOp>(run, request, std::move(options));
  if (run.guid && called.reply && run.epoch == kNewEpoch) run.epoch = called.epoch;
  return called;
}

// Rule O6.
void Mount::CloseUnwanted(HandleId handle, client::Generation generation) {
  CallOptions<Operation::kClose> options;
  options.generation = generation;
  session_.Call<Operation::kClose>(
      {handle}, [](client::Answer<Operation::kClose>&&) {}, std::move(options));
}

protocol::Caller Mount::CallerOf(const Run& run) const {
  protocol::Caller caller;
  caller.uid = caller.gid = kUid;
  caller.pid = run.id;
  caller.program = "run-" + std::to_string(run.id);
  if (run.guid) caller.member = protocol::Member{.guid = *run.guid, .epoch = run.epoch, .owner_uid = kUid};
  return caller;
}

template <Operation kOp>
Mount::Outcome Mount::OutcomeOf(const Called<kOp>& called) const {
  return {.error = called.reply ? 0 : called.reply.error().value,
          .is_fate_unknown = called.is_fate_unknown,
          .by_server = called.by_server,
          .data = called.data};
}

FileRef Mount::Root() {
  while (root_.Empty()) scheduler_.Park(&root_);
  return root_;
}

// --- Opens

// Rule S5: no new open while it is not known what a process that was killed still does to the file.
Mount::Outcome Mount::AwaitFate(Run& run, std::uint64_t key) {
  const auto result = std::make_shared<std::optional<Result<>>>();
  client::FateTable::Waiter waiter = [this, result](Result<> known) {
    *result = known;
    scheduler_.Wake(result.get());
  };
  run.waits_for = session_.NewToken();
  if (!fates_.Pass(key, run.waits_for, waiter)) {
    while (!*result) scheduler_.Park(result.get());
  }
  run.waits_for = client::kNoToken;
  const bool is_well = !*result || **result;
  return {.error = is_well ? 0 : (*result)->error().value, .by_server = false};
}

Mount::Outcome Mount::Open(Run& run, const OpenWish& wish, std::shared_ptr<OpenFile>& opened) {
  const FileRef root = Root();
  const auto keep = [&](const auto& called) {
    if (!called.reply) return;
    opened = std::make_shared<OpenFile>();
    opened->handle = called.reply->handle;
    opened->generation = called.generation;
    opened->file = called.reply->file;
    opened->ino = called.reply->attr.ino;
    opened->guid = run.guid;
    opened->epoch = called.epoch;
    opened->flock_owner = ++last_owner_;
    opens_.insert(opened);
  };
  if (wish.creates) {
    protocol::CreateRequest request{
        .directory = root, .name = wish.name, .mode = 0666, .claim_wait = wish.claim_wait};
    request.flags = static_cast<std::uint32_t>(wish.flags | O_CREAT);
    const auto called = CallAsMember<Operation::kCreate>(run, request);
    if (called.reply) {
      if (const auto known = AwaitFate(run, KeyOf(called.reply->file)); known.error != 0) {
        CloseUnwanted(called.reply->handle, called.generation);
        return known;
      }
    }
    keep(called);
    return OutcomeOf(called);
  }
  const auto found = Call<Operation::kLookup>(run, {root, wish.name, CallerOf(run)}, {});
  if (!found.reply) return OutcomeOf(found);
  if (found.reply->file.Empty()) return {.error = ENOENT};
  if (const auto known = AwaitFate(run, KeyOf(found.reply->file)); known.error != 0) return known;
  protocol::OpenRequest request{.file = found.reply->file, .claim_wait = wish.claim_wait};
  request.flags = static_cast<std::uint32_t>(wish.flags);
  const auto called = CallAsMember<Operation::kOpen>(run, request);
  keep(called);
  return OutcomeOf(called);
}

Mount::Outcome Mount::Close(Run& run, std::shared_ptr<OpenFile> file) {
  opens_.erase(file);
  Run closer = run;  // the kernel closes what a killed process had open
  closer.is_killed = false;
  CallOptions<Operation::kFlush> flush;
  flush.generation = file->generation;
  const auto flushed = Call<Operation::kFlush>(closer, {file->handle, file->flock_owner}, std::move(flush));
  CallOptions<Operation::kClose> close;
  close.generation = file->generation;
  Call<Operation::kClose>(closer, {file->handle}, std::move(close));
  Outcome outcome = OutcomeOf(flushed);
  if (outcome.error == 0 && file->is_lossy) outcome.error = EIO;
  return outcome;
}

// --- Data

Mount::Outcome Mount::Append(Run& run, OpenFile& file, const std::string& data) {
  return Write(run, file, ~std::uint64_t{0}, data);
}

Mount::Outcome Mount::Write(Run& run, OpenFile& file, std::uint64_t offset, const std::string& data) {
  const bool appends = offset == ~std::uint64_t{0};
  const std::uint64_t key = KeyOf(file.file);
  CallOptions<Operation::kWrite> options;
  options.generation = file.generation;
  const auto kept = std::make_shared<std::string>(data);
  options.data.bytes = std::as_bytes(std::span(*kept));
  options.data.owner = {new std::shared_ptr<std::string>(kept),
                        [](void* owner) { delete static_cast<std::shared_ptr<std::string>*>(owner); }};
  options.late = [this, key](client::Answer<Operation::kWrite>&&) { fates_.Known(key); };
  protocol::WriteRequest request{.handle = file.handle, .offset = appends ? 0 : offset, .append = appends};
  file.has_unsynced = true;
  const auto called = Call<Operation::kWrite>(run, request, std::move(options), key);
  Outcome outcome = OutcomeOf(called);
  if (called.reply) outcome.number = called.reply->offset;
  return outcome;
}

Mount::Outcome Mount::Read(Run& run, OpenFile& file, std::uint64_t offset, std::uint32_t size) {
  CallOptions<Operation::kRead> options;
  options.generation = file.generation;
  return OutcomeOf(Call<Operation::kRead>(run, {file.handle, offset, size}, std::move(options)));
}

Mount::Outcome Mount::Fsync(Run& run, OpenFile& file) {
  CallOptions<Operation::kFsync> options;
  options.generation = file.generation;
  Outcome outcome = OutcomeOf(Call<Operation::kFsync>(run, {.handle = file.handle}, std::move(options)));
  if (outcome.error != 0) return outcome;
  file.has_unsynced = false;  // one thread a program: nothing was written meanwhile
  if (std::exchange(file.is_lossy, false)) outcome.error = EIO;
  return outcome;
}

// --- Locks and names

Mount::Outcome Mount::Flock(Run& run, OpenFile& file, protocol::LockMode mode, bool waits) {
  CallOptions<Operation::kLock> options;
  options.generation = file.generation;
  protocol::LockRequest request{.handle = file.handle, .kind = protocol::LockKind::kFlock, .mode = mode};
  request.owner = file.flock_owner;
  request.last = kRangeEnd;
  request.wait = waits;
  request.pid = run.id;
  protocol::LockRequest undo = request;
  undo.mode = protocol::LockMode::kUnlock;
  options.late = [this, undo](client::Answer<Operation::kLock>&& answer) {
    if (!answer.reply) return;
    CallOptions<Operation::kLock> again;
    again.generation = answer.generation;
    session_.Call<Operation::kLock>(
        undo, [](client::Answer<Operation::kLock>&&) {}, std::move(again));
  };
  return OutcomeOf(Call<Operation::kLock>(run, request, std::move(options)));
}

Mount::Outcome Mount::Unlink(Run& run, const std::string& name) {
  return OutcomeOf(CallAsMember<Operation::kUnlink>(run, {.directory = Root(), .name = name}));
}

Mount::Outcome Mount::Rename(Run& run, const std::string& from, const std::string& to) {
  const FileRef root = Root();
  return OutcomeOf(CallAsMember<Operation::kRename>(
      run, {.directory = root, .name = from, .new_directory = root, .new_name = to}));
}

// --- Processes

std::unique_ptr<Run> Mount::NewRun(int id, std::optional<Guid> guid) {
  auto run = std::make_unique<Run>();
  run->id = id;
  run->guid = guid;
  run->started = clock_.Now();
  runs_.insert(run.get());
  return run;
}

void Mount::Kill(Run& run) {
  run.is_killed = true;
  if (run.waits_for == client::kNoToken || fates_.Withdraw(run.waits_for, EINTR)) return;
  session_.Abandon(run.waits_for, EINTR);
}

// --- What the server says

void Mount::OnNewSession(const protocol::HelloReply& reply, client::Generation) {
  root_ = reply.root;
  scheduler_.Wake(&root_);
}

void Mount::OnFences(const std::vector<protocol::Fence>& fences) {
  for (const protocol::Fence& fence : fences) Apply(fence);
}

// As fuse/ops/fence_keeper.cpp, which has a kernel to tell as well.
void Mount::Apply(const protocol::Fence& fence) {
  const auto [is_new, since] =
      fences_.Raise(fence.guid, fence.epoch, fence.acknowledged.value_or(clock_.Now()));
  if (!is_new && fence.acknowledged) return;
  const Instant at = fence.acknowledged.value_or(since);
  for (Run* run : runs_) {
    const bool is_old = run->guid == fence.guid && run->started <= at && Raw(run->epoch) < Raw(fence.epoch);
    if (is_old) run->epoch = fence.epoch;
  }
  member_requests_.WhenNone(fence.guid,
                            [this, fence, at] { session_.AcknowledgeFence(fence.guid, fence.epoch, at); });
}

void Mount::OnServerRebooted() {
  for (const auto& file : opens_) file->is_lossy |= file->has_unsynced;
}

}  // namespace baton::sim
