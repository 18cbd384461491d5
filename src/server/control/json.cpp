#include "server/control/json.h"

#include <fmt/format.h>
#include <time.h>

namespace baton {
namespace {

std::int64_t Micros(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

Json GuidOrNull(const std::optional<Guid>& guid) {
  return guid ? Json(ToString(*guid)) : Json(nullptr);
}

}  // namespace

std::string IsoTime(WallTime time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const time_t seconds = whole.time_since_epoch().count();
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, (time - whole).count());
}

std::string ToLine(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json ToJson(const LoggedEvent& logged) {
  const EventRecord& event = logged.event;
  return {{"time", IsoTime(logged.time)},
          {"kind", EventKindName(event.kind)},
          {"guid", GuidOrNull(event.guid)},
          {"old_epoch", Raw(event.old_epoch)},
          {"new_epoch", Raw(event.new_epoch)},
          {"from_node", event.from_node},
          {"to_node", event.to_node},
          {"uid", event.uid},
          {"pid", event.pid},
          {"program", event.program},
          {"file", event.file},
          {"handles", event.handles},
          {"locks", event.locks},
          {"micros", Micros(event.took)},
          {"detail", event.detail}};
}

Json ToJson(const StatusInfo& status) {
  return {{"version", status.version},
          {"export", status.export_dir},
          {"listen", status.listen},
          {"state_dir", status.state_dir},
          {"pid", status.pid},
          {"uptime_micros", Micros(status.uptime)},
          {"claim", status.claim},
          {"reclaim_scope", status.reclaim_scope},
          {"lease_micros", Micros(status.lease)},
          {"reservation_micros", Micros(status.reservation)},
          {"read_only", status.read_only},
          {"squash_root", status.squash_root},
          {"connections", status.connections},
          {"sessions", status.sessions},
          {"silent_sessions", status.silent_sessions},
          {"instances", status.instances},
          {"handles", status.handles},
          {"locks", status.locks},
          {"waiting", status.waiting},
          {"takeovers", status.takeovers},
          {"refused", status.refused},
          {"late", status.late}};
}

Json ToJson(const SessionRow& row) {
  return {{"session", Raw(row.info.session)},
          {"node", row.info.node},
          {"mount_point", row.info.mount_point},
          {"state", row.info.state},
          {"handles", row.info.handles},
          {"peer", row.peer},
          {"silent_micros", Micros(row.silent_for)},
          {"boot", row.info.boot},
          {"machine", row.info.machine}};
}

Json ToJson(const InstanceInfo& info) {
  const InstanceRecord& record = info.record;
  return {{"guid", ToString(record.guid)},
          {"state", info.state},
          {"node", record.node},
          {"epoch", Raw(record.epoch)},
          {"owner", record.owner},
          {"version", record.version ? Json(ToString(*record.version)) : Json(nullptr)},
          {"handles", info.handles},
          {"locks", info.locks},
          {"reservations", info.reservations}};
}

Json ToJson(const OpenInfo& info) {
  return {{"path", info.path},
          {"inode", info.file.ino},
          {"mode", info.mode},
          {"node", info.node},
          {"guid", GuidOrNull(info.guid)},
          {"epoch", Raw(info.epoch)},
          {"uid", info.uid},
          {"pid", info.pid},
          {"program", info.program},
          {"handle", Raw(info.handle)}};
}

Json ToJson(const LockInfo& info) {
  return {{"path", info.path},
          {"inode", info.file.ino},
          {"kind", info.kind},
          {"type", info.type},
          {"state", info.state},
          {"start", info.range.start},
          // null: to the end of every possible file
          {"last", info.range.last == kRangeEnd ? Json(nullptr) : Json(info.range.last)},
          {"node", info.node},
          {"guid", GuidOrNull(info.guid)},
          {"pid", info.pid},
          {"program", info.program}};
}

}  // namespace baton
