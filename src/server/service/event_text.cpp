// How an event reads in the log: who, what, why, then key=value for machines.
#include <fmt/format.h>

#include <iterator>

#include "base/duration.h"
#include "base/text.h"
#include "server/service/event_log.h"

namespace baton {
namespace {

std::string Who(const EventRecord& event) {
  if (event.program.empty() && event.pid == 0)
    return event.to_node.empty() ? "somebody" : Printable(event.to_node);
  return fmt::format("{} (pid {}) on {}", event.program.empty() ? "a program" : Printable(event.program),
                     event.pid, event.to_node.empty() ? "an unknown node" : Printable(event.to_node));
}

std::string Instance(const EventRecord& event) {
  return event.guid ? "instance " + ToString(*event.guid) : "no instance";
}

std::string Sentence(const EventRecord& event) {
  const std::string from = event.from_node.empty() ? "an unknown node" : Printable(event.from_node);
  const std::string to = event.to_node.empty() ? "an unknown node" : Printable(event.to_node);
  const std::string file = event.file.empty() ? "" : " " + Printable(event.file);
  switch (event.kind) {
    case EventKind::kStarted:
      return fmt::format("{} began on {}", Instance(event), to);
    case EventKind::kTakeover:
      return fmt::format("{} moved from {} to {} in {}; the old incarnation is fenced", Instance(event), from,
                         to, ToString(event.took));
    case EventKind::kFenced:
      return fmt::format("{} on {} is fenced; no successor yet", Instance(event), from);
    case EventKind::kRefused:
      return fmt::format("refused {} what it asked of{}", Who(event), file.empty() ? " the export" : file);
    case EventKind::kLate:
      return fmt::format("refused a late request of {}, fenced on {}", Instance(event), from);
    case EventKind::kOwnerMismatch:
      return fmt::format("uid {} came with the GUID of another owner and was refused: {}", event.uid,
                         Who(event));
    case EventKind::kFlapping:
      return fmt::format("{} is taken over too often, refused for a while: does it run on both {} and {}?",
                         Instance(event), from, to);
    case EventKind::kLimit:
      return fmt::format("a limit is reached, {} was refused{}", Who(event), file);
    case EventKind::kSessionBegan:
      return fmt::format("node {} mounted the export", to);
    case EventKind::kSessionSilent:
      return fmt::format("node {} is silent; what it holds stays until somebody needs it", from);
    case EventKind::kSessionHeard:
      return fmt::format("node {} is heard again", to);
    case EventKind::kSessionEnded:
      return fmt::format("the session of node {} ended", from);
  }
  return "something happened";
}

}  // namespace

bool IsWarning(EventKind kind) {
  return kind == EventKind::kRefused || kind == EventKind::kLate || kind == EventKind::kFlapping ||
         kind == EventKind::kOwnerMismatch || kind == EventKind::kLimit;
}

std::string DescribeEvent(const EventRecord& event) {
  std::string line = fmt::format("{}: {}", EventKindName(event.kind), Sentence(event));
  if (!event.detail.empty()) line += " (" + Printable(event.detail) + ")";
  const auto out = std::back_inserter(line);
  if (event.guid) fmt::format_to(out, " guid={}", ToString(*event.guid));
  if (event.old_epoch != Epoch{}) fmt::format_to(out, " old_epoch={}", Raw(event.old_epoch));
  if (event.new_epoch != Epoch{}) fmt::format_to(out, " new_epoch={}", Raw(event.new_epoch));
  if (!event.from_node.empty()) fmt::format_to(out, " from_node={}", Quoted(event.from_node));
  if (!event.to_node.empty()) fmt::format_to(out, " to_node={}", Quoted(event.to_node));
  if (event.pid != 0) fmt::format_to(out, " uid={} pid={}", event.uid, event.pid);
  if (!event.program.empty()) fmt::format_to(out, " program={}", Quoted(event.program));
  if (!event.file.empty()) fmt::format_to(out, " file={}", Quoted(event.file));
  if (event.handles != 0 || event.locks != 0)
    fmt::format_to(out, " handles={} locks={}", event.handles, event.locks);
  if (event.took != Duration::zero()) {
    fmt::format_to(out, " micros={}",
                   std::chrono::duration_cast<std::chrono::microseconds>(event.took).count());
  }
  return line;
}

}  // namespace baton
