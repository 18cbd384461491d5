#include "server/service/operator_backend.h"

#include <cstring>
#include <filesystem>
#include <utility>

namespace baton::server {
namespace {

tl::unexpected<ControlError> No(int error, std::string message) {
  return tl::unexpected(ControlError{error, std::move(message)});
}

}  // namespace

OperatorBackend::OperatorBackend(StatusInfo status, Coordinator& coordinator, store::BackingStore& store,
                                 StateStore& state, const Clock& clock, std::function<std::uint64_t()> connections)
    : status_(std::move(status)),
      coordinator_(coordinator),
      store_(store),
      state_(state),
      clock_(clock),
      connections_(std::move(connections)),
      started_(clock.Now()) {}

StatusInfo OperatorBackend::Status() {
  StatusInfo status = status_;
  status.uptime = clock_.Now() - started_;
  status.connections = connections_();
  coordinator_.WithArbiter([&](Arbiter& arbiter) {
    for (const SessionInfo& session : arbiter.ListSessions()) {
      ++status.sessions;
      status.silent_sessions += session.state == "silent";
      status.handles += session.handles;
    }
    status.instances = arbiter.ListInstances().size();
    status.locks = arbiter.ListLocks().size();
    status.waiting = arbiter.waiting();
  });
  const EventCounts counts = coordinator_.events().Counts();
  status.takeovers = counts.takeovers;
  status.refused = counts.refused;
  status.late = counts.late;
  return status;
}

std::vector<SessionRow> OperatorBackend::Sessions() {
  std::vector<SessionRow> rows;
  for (SessionInfo& info : coordinator_.WithArbiter([](Arbiter& arbiter) { return arbiter.ListSessions(); })) {
    SessionRow row;
    if (const auto session = coordinator_.FindSession(info.session)) {
      if (const auto connection = session->connection()) row.peer = connection->PeerName();
      row.silent_for = clock_.Now() - session->heard();
    }
    row.info = std::move(info);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<InstanceInfo> OperatorBackend::Instances() {
  return coordinator_.WithArbiter([](Arbiter& arbiter) { return arbiter.ListInstances(); });
}

ControlAnswer<FileKey> OperatorBackend::FileAt(const std::string& path) {
  std::filesystem::path inside = path;
  const auto relative = inside.lexically_relative(status_.export_dir);
  if (inside.is_absolute() && !relative.empty() && *relative.begin() != "..") inside = relative;
  store::Node node = store_.Root();
  for (const auto& part : inside.relative_path()) {
    if (part.empty() || part == ".") continue;
    auto next = store_.Lookup(Credentials{}, node.ref, part.string());
    if (!next) return No(next.error().value, path + ": " + std::strerror(next.error().value));
    node = std::move(*next);
  }
  return node.key;
}

ControlAnswer<std::vector<OpenInfo>> OperatorBackend::Opens(const std::optional<std::string>& path) {
  std::optional<FileKey> only;
  if (path) {
    const auto key = FileAt(*path);
    if (!key) return tl::unexpected(key.error());
    only = *key;
  }
  return coordinator_.WithArbiter([&](Arbiter& arbiter) { return arbiter.ListOpens(only); });
}

ControlAnswer<std::vector<LockInfo>> OperatorBackend::Locks(const std::optional<std::string>& path) {
  std::optional<FileKey> only;
  if (path) {
    const auto key = FileAt(*path);
    if (!key) return tl::unexpected(key.error());
    only = *key;
  }
  return coordinator_.WithArbiter([&](Arbiter& arbiter) { return arbiter.ListLocks(only); });
}

void OperatorBackend::Fence(const Guid& guid, Fenced done) {
  coordinator_.FenceByHand(guid, [guid, done = std::move(done)](Coordinator::Answer& answer) {
    if (answer.error == 0) return done({});
    const char* why = answer.error == ENOENT ? " is not known here" : " could not be fenced: the state store failed";
    done(No(answer.error, "instance " + ToString(guid) + why));
  });
}

ControlAnswer<> OperatorBackend::Reset(const Guid& guid) {
  const auto [error, saved] = coordinator_.ResetVersion(guid);
  if (error != 0) return No(error, "instance " + ToString(guid) + " is not known here");
  if (!saved) {
    return No(saved.error().value, "the version is reset until batond restarts; the state store could not record it");
  }
  return {};
}

ControlAnswer<> OperatorBackend::Forget(const Guid& guid) {
  const auto [error, erased] = coordinator_.Forget(guid);
  if (error == ENOENT) return No(error, "instance " + ToString(guid) + " is not known here");
  if (error != 0) return No(error, "instance " + ToString(guid) + " is in use; stop its program, or fence it first");
  if (!erased) {
    return No(erased.error().value, "it is forgotten until batond restarts; the state store could not record it");
  }
  return {};
}

ControlAnswer<> OperatorBackend::BackUpState(const std::string& file, bool replace) {
  const auto done = state_.BackUp(file, replace);
  if (!done) return No(done.error().first, done.error().second);
  return {};
}

}  // namespace baton::server
