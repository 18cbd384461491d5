// ControlClient: one connection of the control socket: its request lines, its answer and how far that has
// gone. It never blocks: Pump does what can be done now. What it is not: the poll loop (control_server.cpp).
// One thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "server/control/json.h"

namespace baton {

class ControlClient {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // What the client needs from the loop.
  struct Host {
    ControlBackend& backend;
    EventLog& events;
    std::size_t max_request;
    std::function<bool()> may_list;  // false: too many listings are in memory already
    std::function<void(std::uint64_t id, const Guid&)> fence;  // answered by Fenced() of that client
    std::function<void()> follows;                             // this client follows the events from now on
  };

  ControlClient(std::uint64_t id, UniqueFd socket, Time now)
      : id_(id), socket_(std::move(socket)), progress_(now) {}

  int Socket() const { return socket_.Get(); }
  bool WantsInput(const Host& host) const;
  bool WantsOutput() const { return sent_ < out_.size(); }
  bool Lists() const { return produce_ != nullptr; }
  bool Follows() const { return follows_; }
  // When it is cut off unless something moves; Time::max() while it is the server that lets it wait.
  Time Deadline(std::chrono::milliseconds patience) const;

  // The socket is readable.
  void Receive(const Host& host, Time now);
  // Goes on with whatever it was doing. False: drop it.
  bool Pump(const Host& host, Time now);
  void Fenced(const Guid& guid, const ControlAnswer<>& answer);
  // Answers with an error and ends after it was sent.
  void Reject(int error, const std::string& message);

 private:
  using Produce = std::function<bool(std::string& out)>;  // false: that was all

  bool Send(Time now);
  bool Step(const Host& host);
  void Follow(const Host& host);
  void HandleLine(std::string_view line, const Host& host);
  void HandleCommand(const std::string& command, const Json& request, const Host& host);
  void HandleEvents(const Json& request, const Host& host);
  void HandleBackUp(const Json& request, const Host& host);
  void HandleGuid(const std::string& command, const Json& request, const Host& host);
  void Done();
  void Error(int error, const std::string& message);
  template <class T>
  void List(std::vector<T> items);
  template <class T>
  void List(ControlAnswer<std::vector<T>> items);

  std::uint64_t id_;
  UniqueFd socket_;
  Time progress_;
  std::string in_;
  std::string out_;
  std::size_t sent_ = 0;
  Produce produce_;
  std::uint64_t next_event_ = 0;
  bool follows_ = false;
  bool fencing_ = false;
  bool input_ended_ = false;
  bool ending_ = false;
};

}  // namespace baton
