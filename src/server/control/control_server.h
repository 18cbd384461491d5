// ControlServer: the operator's door: a unix stream socket `batond.sock` in the state directory, mode 0600;
// only root and the server's own uid are let in (SO_PEERCRED). One JSON object per line in and out.
//
// Requests:  {"command": C, ...} with C one of status, sessions, instances, opens [path], locks [path],
//            events [follow, since: microseconds since 1970], fence guid, reset guid, forget guid,
//            backup-state file [force].
// Answers:   the objects asked for, a line each; then {"done": true}, or {"error": "EBUSY", "message": "..."}
// instead.
//            A follower of events gets no end, and {"lost": N} where it was too slow.
//
// One thread of its own; never waits for a client: a follower that does not read costs one buffer, any other
// client that does not read or does not ask is cut off after `patience`. Clients, requests and buffers are
// bounded (rule A4).
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "server/service/control_backend.h"
#include "server/service/event_log.h"

namespace baton {

class ControlServer {
 public:
  struct Options {
    std::size_t max_clients = 64;
    std::size_t max_request = 64 * 1024;
    std::chrono::milliseconds patience = std::chrono::seconds(30);
  };

  // Binds and starts the thread. Replaces a socket that an earlier server left behind: requires the lock on
  // the state directory (SqliteStateStore). `backend` and `events` must outlive it. The error is a sentence
  // for a person.
  static tl::expected<std::unique_ptr<ControlServer>, std::string> Start(
      const std::filesystem::path& state_dir, ControlBackend& backend, EventLog& events, Options options);
  static tl::expected<std::unique_ptr<ControlServer>, std::string> Start(
      const std::filesystem::path& state_dir, ControlBackend& backend, EventLog& events) {
    return Start(state_dir, backend, events, Options());
  }

  // Ends the thread and removes the socket. Fences that are under way end without an answer.
  ~ControlServer();

 private:
  class Loop;
  explicit ControlServer(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace baton
