#include "server/arbiter/types.h"

namespace baton {

const char* EventKindName(EventKind kind) {
  switch (kind) {
    case EventKind::kStarted:
      return "started";
    case EventKind::kTakeover:
      return "takeover";
    case EventKind::kFenced:
      return "fenced";
    case EventKind::kRefused:
      return "refused";
    case EventKind::kLate:
      return "late";
    case EventKind::kOwnerMismatch:
      return "owner-mismatch";
    case EventKind::kFlapping:
      return "flapping";
    case EventKind::kLimit:
      return "limit";
    case EventKind::kSessionBegan:
      return "session-began";
    case EventKind::kSessionSilent:
      return "session-silent";
    case EventKind::kSessionHeard:
      return "session-heard";
    case EventKind::kSessionEnded:
      return "session-ended";
  }
  return "unknown";
}

}  // namespace baton
