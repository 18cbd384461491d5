#include "fuse/ops/mount_status.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "fuse/ops/xattr_reply.h"

namespace baton::ops {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostFences = 100;  // an xattr has 64 KiB; their number is told besides

std::int64_t Micros(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

double Seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

const char* Name(client::LinkState state) {
  switch (state) {
    case client::LinkState::kConnecting:
      return "connecting";
    case client::LinkState::kLive:
      return "live";
    case client::LinkState::kBroken:
      return "broken";
    case client::LinkState::kLost:
      return "lost";
    case client::LinkState::kEnded:
      break;
  }
  return "ended";
}

const char* Name(client::ConnectError::Kind refusal) {
  switch (refusal) {
    case client::ConnectError::Kind::kNodeInUse:
      return "node-in-use";
    case client::ConnectError::Kind::kNoCommonVersion:
      return "no-common-version";
    default:
      return "refused";
  }
}

Json OrNull(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

void AddLink(const client::Session::Report& report, Instant now, Json& to) {
  to["state"] = Name(report.status.state);
  to["since_micros"] = Micros(now - report.status.since);
  to["trouble"] = OrNull(report.trouble);
  to["refusal"] = report.refusal ? Json(Name(*report.refusal)) : Json();
  to["server"] = OrNull(report.server);
  to["session"] = report.session == SessionId{} ? Json() : Json(Raw(report.session));
  to["lease_micros"] = report.server.empty() ? Json() : Json(Micros(report.lease));
}

Json OldestOf(const Mount& mount, const Pending::Oldest& oldest, Instant now) {
  const auto stat = mount.proc.ReadStat(oldest.tid);
  return {{"operation", oldest.what},
          {"pid", oldest.tid},
          {"program", stat ? Json(stat->comm) : Json()},
          {"age_micros", Micros(now - oldest.since)}};
}

void AddRequests(const Mount& mount, Instant now, Json& to) {
  const Pending::Census census = mount.pending.Count();
  to["waiting"] = census.count;
  to["oldest"] = census.oldest ? OldestOf(mount, *census.oldest, now) : Json();
}

void AddFences(const Mount& mount, Json& to) {
  const auto all = mount.fences.All();
  Json list = Json::array();
  for (const auto& [guid, epoch] : all) {
    if (list.size() == kMostFences) break;
    list.push_back({{"guid", ToString(guid)}, {"epoch", Raw(epoch)}});
  }
  to["fences"] = all.size();
  to["fence_list"] = std::move(list);
}

Json OptionsOf(const MountOptions& options) {
  return {{"background_mount", options.background_mount},
          {"op_timeout", Seconds(options.op_timeout)},
          {"claim_wait", Seconds(options.claim_wait)},
          {"attr_timeout", options.attr_timeout},
          {"entry_timeout", options.entry_timeout},
          {"read_only", options.read_only},
          {"unidentified", options.unidentified_anonymous ? "anonymous" : "refuse"}};
}

}  // namespace

std::string StatusText(const Mount& mount) {
  const Instant now = mount.clock.Now();
  Json status{{"mount_point", mount.options.mount_point},
              {"node", mount.options.node},
              {"servers", mount.options.servers},
              {"pid", getpid()},
              {"version", Version()}};
  AddLink(mount.session.Describe(), now, status);
  AddRequests(mount, now, status);
  AddFences(mount, status);
  status["options"] = OptionsOf(mount.options);
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void TellStatus(const Mount& mount, KernelReply reply, std::size_t room) {
  const uid_t caller = reply.Context().uid;
  const uid_t owner = geteuid();
  const bool open_to_all = mount.options.allow_other || owner == 0;
  if (!open_to_all && caller != owner && caller != 0) return reply.Error(EACCES);
  ReplyXattr(std::move(reply), StatusText(mount), room);
}

}  // namespace baton::ops
