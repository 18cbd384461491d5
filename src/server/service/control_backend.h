// ControlBackend: what the operator's command asks of the service. Implemented in the service, called by the
// control server (server/control) on its own thread; implementations take the locks they need and do not wait
// for clients or for the disk, except Reset, Forget and BackUpState, which answer when it is durable.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "server/arbiter/types.h"

namespace baton {

struct StatusInfo {
  std::string version;
  std::string export_dir;
  std::string listen;  // as bound: ADDR:PORT
  std::string state_dir;
  std::string claim;          // write, exclusive, none
  std::string reclaim_scope;  // instance, file
  std::int32_t pid = 0;
  Duration uptime{};
  Duration lease{};
  Duration reservation{};
  bool read_only = false;
  bool squash_root = false;
  std::uint64_t connections = 0;
  std::uint64_t sessions = 0;
  std::uint64_t silent_sessions = 0;
  std::uint64_t instances = 0;
  std::uint64_t handles = 0;
  std::uint64_t locks = 0;
  std::uint64_t waiting = 0;    // opens, changes and locks that wait
  std::uint64_t takeovers = 0;  // since the start, as are the following
  std::uint64_t refused = 0;
  std::uint64_t late = 0;
};

// A session with what only the service knows of it.
struct SessionRow {
  SessionInfo info;
  std::string peer;       // ADDR:PORT; empty while it has no connection
  Duration silent_for{};  // since its last traffic
};

// Why it did not do it: an errno and a sentence for the person who asked.
struct ControlError {
  int error = 0;
  std::string message;
};
template <class T = void>
using ControlAnswer = tl::expected<T, ControlError>;

class ControlBackend {
 public:
  using Fenced = std::function<void(ControlAnswer<>)>;

  virtual ~ControlBackend() = default;

  virtual StatusInfo Status() = 0;
  virtual std::vector<SessionRow> Sessions() = 0;
  virtual std::vector<InstanceInfo> Instances() = 0;
  // `path`: a file of the export, absolute or relative to it, or an absolute path beneath the export
  // directory.
  virtual ControlAnswer<std::vector<OpenInfo>> Opens(const std::optional<std::string>& path) = 0;
  virtual ControlAnswer<std::vector<LockInfo>> Locks(const std::optional<std::string>& path) = 0;

  // Calls `done` exactly once, on any thread, at once or later: when the incarnation is fenced, drained and
  // durable, or not.
  virtual void Fence(const Guid& guid, Fenced done) = 0;
  virtual ControlAnswer<> Reset(const Guid& guid) = 0;   // rule T8
  virtual ControlAnswer<> Forget(const Guid& guid) = 0;  // rule T12
  // See StateStore::BackUp.
  virtual ControlAnswer<> BackUpState(const std::string& file, bool replace) = 0;
};

}  // namespace baton
