#include "server/service/service.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/planted.h"
#include "base/text.h"
#include "protocol/codec.h"
#include "server/service/ops/operations.h"
#include "server/service/ops/return.h"
#include "server/service/reconcile.h"

namespace baton::server {

using protocol::FrameHeader;
using protocol::HelloReply;
using protocol::HelloRequest;
using protocol::Operation;

namespace {

constexpr std::uint32_t kNobody = 65534;
constexpr std::size_t kMostProgramName = 255;
constexpr std::ptrdiff_t kMostAncestors = 256;

template <class Reply>
void SendHelloReply(Connection& connection, const FrameHeader& request, int error, const Reply& reply) {
  FrameHeader header = request;
  header.kind = protocol::FrameKind::kReply;
  header.flags = 0;
  header.error = error;
  std::vector<std::byte> body;
  if (error == 0) protocol::Encoder(body).Put(reply);
  connection.Send(header, body, {});
}

template <class Notice>
void SendNotice(Connection& connection, Operation operation, const Notice& notice) {
  FrameHeader header;
  header.operation = static_cast<std::uint16_t>(operation);
  header.kind = protocol::FrameKind::kNotice;
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(notice);
  connection.Send(header, body, {});
}

// It goes into log lines and tables: no control characters, no newline.
bool IsName(const std::string& name, std::size_t most) {
  return !name.empty() && name.size() <= most && Printable(name) == name;
}

const char* WhyRefused(int error) {
  switch (error) {
    case EBUSY:
      return "that name is in use by another machine (set -o node=)";
    case EUSERS:
      return "there are too many sessions";
    default:
      return "its record could not be saved";
  }
}

SessionId NewSessionId() {
  std::uint64_t id = 0;
  do randombytes_buf(&id, sizeof id);
  while (id == 0);
  return SessionId{id};
}

}  // namespace

Service::Service(const ServiceOptions& options, store::BackingStore& store, Coordinator& coordinator,
                 ReplyFile& replies, Timers& timers, const Clock& clock)
    : options_(options),
      store_(store),
      coordinator_(coordinator),
      replies_(replies),
      timers_(timers),
      clock_(clock),
      proofs_(options.key) {
  if (!Planted("nameless files dropped")) store_.AwaitReturns();
  Restore();
  AwaitReturns();
  watched_at_ = clock_.Now();
  store_.WhenGone([this](const FileKey& file, bool was_open) { watches_.Gone(file, was_open); });
  WatchLeases();
  ForgetRecords();
}

Service::~Service() {
  Stop();
  store_.WhenGone(nullptr);
}

// What the server's earlier life left behind of its requests.
void Service::Restore() {
  const auto sessions = coordinator_.Sessions();
  std::vector<SessionId> known;
  for (const auto& session : sessions) known.push_back(session->id());
  replies_.KeepOnly(known);
  if (!Planted("intents not looked at")) Reconcile(replies_, store_);
  for (const auto& session : sessions) session->Restore(replies_);
}

void Service::Stop() {
  const std::lock_guard lock(watch_mutex_);
  if (ending_) return;
  ending_ = true;
  timers_.Cancel(watch_);
  timers_.Cancel(forget_);
  timers_.Cancel(returns_);
  for (const auto& session : coordinator_.Sessions()) session->Stop();
}

void Service::OnHeard(const std::shared_ptr<Connection>& connection) {
  const auto session = connection->Attached<Session>();
  if (!session) return;
  session->Heard(clock_.Now());
  if (session->silent.load()) coordinator_.Hear(session);
}

void Service::OnClosed(const std::shared_ptr<Connection>& connection) {
  const auto session = connection->Attached<Session>();
  if (session && session->Lost(connection.get())) {
    log::Info("lost the connection of node {} ({}); its session is kept", session->node(), connection->PeerName());
  }
}

void Service::OnLimit(const char* option, const std::string& what, const std::shared_ptr<Connection>& connection) {
  EventRecord event;
  event.kind = EventKind::kLimit;
  const auto session = connection ? connection->Attached<Session>() : nullptr;
  if (session) event.to_node = session->node();
  event.detail = "--" + std::string(option) + ": " + what;
  coordinator_.events().Append(std::move(event));
}

void Service::OnFrame(const std::shared_ptr<Connection>& connection, FrameHeader header,
                      std::span<const std::byte> body, std::span<const std::byte> data) {
  if (header.operation == static_cast<std::uint16_t>(Operation::kHello)) {
    Hello(connection, header, body);
    return;
  }
  const auto session = connection->Attached<Session>();
  if (!session) {
    log::Warn("{} sent operation {} before its HELLO was accepted; closing", connection->PeerName(), header.operation);
    connection->Close();
    return;
  }
  if (session->ended()) {
    connection->Close();
    return;
  }
  // A mount asks whether anybody is there while its HELLO waits for the disk, too; that has no way for answers yet.
  const bool is_ping = header.operation == static_cast<std::uint16_t>(Operation::kPing) &&
                       header.slot == protocol::kNoSlot;
  const bool is_assert = header.operation == static_cast<std::uint16_t>(Operation::kAssert);
  if (is_ping && !session->begun.load()) {
    FrameHeader pong = header;
    pong.kind = protocol::FrameKind::kReply;
    connection->Send(pong, {}, {});
    return;
  }
  if (!is_ping && (!session->begun.load() || (session->must_assert.load() && !is_assert))) {
    log::Warn("{} (node {}) sent operation {} before it had said what it holds; closing", connection->PeerName(),
              session->node(), header.operation);
    connection->Close();
    return;
  }
  switch (session->Begin(header)) {
    case Session::Arrival::kNew:
      Dispatch(Call(session, header, connection), body, data);
      return;
    case Session::Arrival::kNoRoom:
      Call(session, header).Fail(ENOSPC);
      return;
    case Session::Arrival::kReopens:
      if (!AnswerEarlierOpen(session, header)) Dispatch(Call(session, header, connection), body, data);
      return;
    case Session::Arrival::kAnswered:
    case Session::Arrival::kInProgress:
      return;
    case Session::Arrival::kBroken:
      log::Warn("{} (node {}) used slot {} out of sequence; closing", connection->PeerName(), session->node(),
                header.slot);
      connection->Close();
      return;
  }
}

// The mount did not say that it has the handle: it was never told. What the reply said of the file may have changed since.
// False: it is another's by now, and to be asked for anew.
bool Service::AnswerEarlierOpen(const std::shared_ptr<Session>& session, const FrameHeader& request) {
  const Session::Reply earlier = session->EarlierReply(request.slot);
  auto reply = protocol::Decode<protocol::OpenReply>(earlier.body);
  const bool has_returned = reply && ops::ReturnHandle(*this, *session, {reply->handle, reply->proof, {}});
  const auto file = has_returned ? coordinator_.handles().Find(reply->handle) : nullptr;
  if (!file && request.operation == static_cast<std::uint16_t>(Operation::kOpen)) return false;
  if (!file) {  // a create would meet its own file
    session->Complete(earlier.header, ESTALE, {}, {}, {});
    return true;
  }
  for (const auto what : {Watches::What::kAttributes, Watches::What::kData}) watches_.Watch(session, file->file->Key(), what);
  const auto attr = file->file->GetAttr();
  if (!attr) {
    coordinator_.Tell(CloseHandle{file->id});
    session->Complete(earlier.header, attr.error().value, {}, {}, {});
    return true;
  }
  reply->attr = *attr;
  reply->change = file->shared->ChangesByOthers(session->id());
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(*reply);
  session->Complete(earlier.header, 0, Epoch{earlier.header.epoch}, body, {});
  return true;
}

void Service::Dispatch(Call call, std::span<const std::byte> body, std::span<const std::byte> data) {
  switch (static_cast<Operation>(call.request().operation)) {
#define BATON_CASE(number, name, request, reply, ...)                   \
  case Operation::k##name: {                                            \
    const auto wish = protocol::Decode<protocol::request>(body);        \
    if (!wish) break;                                                   \
    ops::name(*this, std::move(call), *wish, data);                     \
    return;                                                             \
  }
    BATON_SESSION_OPERATIONS(BATON_CASE)
#undef BATON_CASE
    default:
      call.Fail(EOPNOTSUPP);
      return;
  }
  log::Warn("node {} sent a malformed {} request", call.session()->node(),
            PropertiesOf(static_cast<Operation>(call.request().operation))->name);
  call.Fail(EPROTO);
}

void Service::Hello(const std::shared_ptr<Connection>& connection, const FrameHeader& header,
                    std::span<const std::byte> body) {
  const auto hello = protocol::Decode<HelloRequest>(body);
  if (!hello || hello->magic != protocol::kMagic || connection->Attached<Session>()) {
    log::Warn("{} sent a malformed HELLO; closing", connection->PeerName());
    connection->Close();
    return;
  }
  if (hello->oldest_version > protocol::kProtocolVersion || hello->newest_version < protocol::kProtocolVersion) {
    log::Warn("{} (node {}) speaks protocol {} to {}, this batond speaks {}; update the older one",
              connection->PeerName(), Printable(hello->node), hello->oldest_version, hello->newest_version,
              protocol::kProtocolVersion);
    SendHelloReply(*connection, header, EPROTO, HelloReply());
    return;
  }
  if (hello->session == SessionId{}) {
    Begin(connection, header, *hello);
    return;
  }
  const auto session = coordinator_.FindSession(hello->session);
  int error = ESTALE;
  if (session && sodium_memcmp(&session->secret(), &hello->secret, sizeof hello->secret) == 0) {
    error = coordinator_.ResumeSession(
        session, [&](const auto& fences) { Welcome(session, connection, header, true, fences); });
  }
  if (error == 0) {
    log::Info("node {} resumed its session from {}", session->node(), connection->PeerName());
    return;
  }
  log::Warn("node {} wanted to resume a session that has ended or is not known here; it is told so (ESTALE)",
            Printable(hello->node));
  SendHelloReply(*connection, header, ESTALE, HelloReply());
}

void Service::Begin(const std::shared_ptr<Connection>& connection, const FrameHeader& header,
                    const HelloRequest& hello) {
  const bool is_sane = IsName(hello.node, 1024) && IsName(hello.boot, 256) && hello.machine.size() <= 256 &&
                       hello.mount_point.size() <= 4096;
  if (!is_sane) {
    log::Warn("{} sent a HELLO with a name that is empty, too long or not fit to print", connection->PeerName());
    SendHelloReply(*connection, header, EINVAL, HelloReply());
    return;
  }
  protocol::SessionSecret secret;
  randombytes_buf(&secret, sizeof secret);
  const bool keeps_names = (hello.features & protocol::kFeatureKeepsNames) != 0;
  const auto session = std::make_shared<Session>(NewSessionId(), secret, hello.node, keeps_names, clock_.Now());
  session->KeepRepliesIn(replies_);
  connection->Attach(session);  // a second HELLO is one too many, before this one's answer too
  const SessionBegins begins{session->id(), hello.node, hello.boot, hello.machine, hello.mount_point};
  coordinator_.BeginSession(
      session, begins,
      [this, session, connection, header](const auto& fences) { Welcome(session, connection, header, false, fences); },
      [connection, header, node = hello.node](int error) {
        log::Warn("refused a session of node {} from {}: {}", node, connection->PeerName(), WhyRefused(error));
        SendHelloReply(*connection, header, error, HelloReply());
      });
}

void Service::Welcome(const std::shared_ptr<Session>& session, const std::shared_ptr<Connection>& connection,
                      const FrameHeader& header, bool resumed, const std::vector<Arbiter::NodeFence>& fences) {
  HelloReply reply;
  reply.version = protocol::kProtocolVersion;
  reply.session = session->id();
  reply.secret = session->secret();
  reply.resumed = resumed;
  reply.slots = protocol::kMaxSlots;
  reply.lease = options_.lease;
  const store::Node root = store_.Root();
  reply.root = root.ref;
  reply.root_ino = root.key.ino;
  reply.stale_locks = options_.stale_locks.All();
  reply.must_assert = session->must_assert.load();
  reply.server_boot = Planted("reboot not told") ? 1 : options_.boot;
  // The rest follows as notices, before any answer: a frame has a bound, the fences of a long boot have not.
  constexpr std::size_t kMostInReply = 1024;
  std::vector<protocol::FencedNotice> rest;
  for (const auto& fence : fences) {
    const protocol::Fence told{fence.guid, fence.epoch, fence.version, fence.acknowledged};
    if (reply.fences.size() < kMostInReply) {
      reply.fences.push_back(told);
    } else {
      rest.push_back({told, ""});
    }
  }
  connection->Attach(session);
  session->Adopt(connection, [&](Connection& to) {
    session->begun.store(true);
    SendHelloReply(to, header, 0, reply);
    for (const auto& notice : rest) SendNotice(to, Operation::kFenced, notice);
  });
  session->NotifyRevokedAgain();
  // OnClosed may have been here before the session was attached.
  if (connection->IsClosed()) session->Lost(connection.get());
}

// Tells the arbiter which sessions went silent (rule S2). If this thread itself was late, the server was stopped, not they.
void Service::WatchLeases() {
  const Instant now = clock_.Now();
  const Duration step = std::clamp<Duration>(options_.lease / 20, std::chrono::milliseconds(10),
                                             std::chrono::milliseconds(100));
  const bool was_away = now - watched_at_ > options_.lease / 2 + step;
  watched_at_ = now;
  if (was_away) coordinator_.Tell(WaitForAbsentUntil{now + options_.lease});
  for (const auto& session : coordinator_.Sessions()) {
    if (was_away) session->Heard(now);
    if (now - session->heard() > options_.lease && !session->silent.load()) {
      coordinator_.FallSilent(session, options_.lease);
    }
  }
  const std::lock_guard lock(watch_mutex_);
  if (!ending_) watch_ = timers_.At(now + step, [this] { WatchLeases(); });
}

// Not as soon as everybody is back: answers that had got lost bring handles back even then (D2).
void Service::AwaitReturns() {
  const bool is_over = coordinator_.WithArbiter([](const Arbiter& arbiter) { return !arbiter.IsAnybodyAbsent(); });
  if (is_over) return store_.DropUnclaimed();
  const std::lock_guard lock(watch_mutex_);
  if (!ending_) returns_ = timers_.At(clock_.Now() + options_.lease, [this] { AwaitReturns(); });
}

// Hourly, from the start on (rule T12).
void Service::ForgetRecords() {
  coordinator_.ForgetUnused(WallNow(), options_.forget_after);
  const std::lock_guard lock(watch_mutex_);
  if (!ending_) forget_ = timers_.At(clock_.Now() + std::chrono::hours(1), [this] { ForgetRecords(); });
}

std::uint32_t Service::Squashed(std::uint32_t uid) const { return options_.squash_root && uid == 0 ? kNobody : uid; }

Result<Requester> Service::RequesterFor(const Session& session, const protocol::Caller& caller,
                                        const store::DirectoryPolicy& policy) const {
  Requester who;
  who.session = session.id();
  who.uid = Squashed(caller.uid);
  who.pid = caller.pid;
  // Kept with every open: a peer that lies must not fill the memory (rule A4).
  who.program = caller.program.substr(0, kMostProgramName);
  who.ancestors.assign(caller.ancestors.begin(),
                       caller.ancestors.begin() + std::min<std::ptrdiff_t>(std::ssize(caller.ancestors), kMostAncestors));
  if (caller.member) {
    const protocol::Member& member = *caller.member;
    who.instance = InstanceClaim{member.guid, member.version, member.epoch, Squashed(member.owner_uid),
                                 member.may_take_over};
    return who;
  }
  if (policy.malformed_instance) {
    log::Warn("pid {} ({}) on node {}: the directory's user.app_instance_id is no GUID", caller.pid, caller.program,
              session.node());
    return Fail(EINVAL);
  }
  if (policy.instance) {
    who.instance = InstanceClaim{.guid = *policy.instance,
                                 .owner = who.uid,
                                 .by_policy = true,
                                 .takes_over_alive = policy.takeover_any};
    return who;
  }
  if (!caller.identified) return Fail(EACCES);
  return who;
}

ClaimMode Service::ClaimModeFor(const store::DirectoryPolicy& policy) const {
  if (!policy.claim) return options_.claim;
  switch (*policy.claim) {
    case store::DirectoryClaim::kNone:
      return ClaimMode::kNone;
    case store::DirectoryClaim::kExclusive:
      return ClaimMode::kExclusive;
    case store::DirectoryClaim::kWrite:
      break;
  }
  return ClaimMode::kWrite;
}

void Service::NoteData(const OpenFile& file) {
  file.shared->Changed(file.session);
  watches_.DataChanged(file.session, file.file->Key());
}

void Service::NoteData(SessionId by, const FileKey& file) {
  coordinator_.shared_files().Changed(file, by);
  watches_.DataChanged(by, file);
}

std::shared_ptr<OpenFile> Service::FileOf(Call& call, HandleId handle) {
  auto file = coordinator_.handles().Find(handle);
  if (file && file->session == call.session()->id()) return file;
  const bool only_lets_go = call.request().operation == static_cast<std::uint16_t>(protocol::Operation::kClose);
  if (!file && !only_lets_go) coordinator_.ReportLate(handle, call.session()->id());
  call.Fail(ESTALE);  // dropped with its incarnation, or never this session's
  return nullptr;
}

}  // namespace baton::server
