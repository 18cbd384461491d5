#include "server/control/control_client.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

namespace baton {
namespace {

constexpr std::size_t kBuffer = 64 * 1024;  // of answers made before the client has read the ones before
constexpr std::size_t kEventsAtOnce = 128;

// A field of a request; the error is for the client.
tl::expected<std::optional<std::string>, std::string> TextField(const Json& request, const char* name) {
  const auto at = request.find(name);
  if (at == request.end() || at->is_null()) return std::nullopt;
  if (!at->is_string()) return tl::unexpected(std::string("\"") + name + "\" must be a string");
  return at->get<std::string>();
}

void AddBatch(const EventLog::Batch& batch, std::string& out) {
  if (batch.lost > 0) out += ToLine({{"lost", batch.lost}});
  for (const auto& logged : batch.events) out += ToLine(ToJson(*logged));
}

}  // namespace

bool ControlClient::WantsInput(const Host& host) const {
  return !input_ended_ && !ending_ && in_.size() <= host.max_request;
}

ControlClient::Time ControlClient::Deadline(std::chrono::milliseconds patience) const {
  const bool waits_for_us = follows_ || (fencing_ && !WantsOutput());
  return waits_for_us ? Time::max() : progress_ + patience;
}

void ControlClient::Receive(const Host& host, Time now) {
  std::array<char, 4096> bytes;
  while (WantsInput(host)) {
    const ssize_t got = ::recv(socket_.Get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) input_ended_ = true;
      return;
    }
    if (got == 0) {
      input_ended_ = true;
      return;
    }
    progress_ = now;
    // A follower has said all it had to say.
    if (!follows_) in_.append(bytes.data(), static_cast<std::size_t>(got));
  }
}

bool ControlClient::Send(Time now) {
  while (WantsOutput()) {
    const ssize_t sent =
        ::send(socket_.Get(), out_.data() + sent_, out_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN;
    }
    sent_ += static_cast<std::size_t>(sent);
    progress_ = now;
  }
  out_.clear();
  sent_ = 0;
  return true;
}

bool ControlClient::Pump(const Host& host, Time now) {
  while (true) {
    if (!Send(now)) return false;
    if (WantsOutput()) return true;
    if (ending_) return false;
    if (!Step(host)) return !(input_ended_ && !follows_ && !fencing_ && in_.find('\n') == std::string::npos);
  }
}

// Makes more to send; false if there is nothing to be made now.
bool ControlClient::Step(const Host& host) {
  if (fencing_) return false;
  if (follows_) {
    Follow(host);
    return WantsOutput();
  }
  if (produce_) {
    if (!produce_(out_)) {
      produce_ = nullptr;
      Done();
    }
    return true;
  }
  const std::size_t end = in_.find('\n');
  if (end == std::string::npos || end > host.max_request) {
    if (in_.size() <= host.max_request) return false;
    Reject(E2BIG, "the request is too long");
    return true;
  }
  if (!host.may_list()) return false;
  const std::string line = in_.substr(0, end);
  in_.erase(0, end + 1);
  HandleLine(line, host);
  return WantsOutput() || produce_ != nullptr || follows_;
}

void ControlClient::Follow(const Host& host) {
  while (out_.size() < kBuffer) {
    const EventLog::Batch batch = host.events.Read(next_event_, kEventsAtOnce);
    next_event_ = batch.next;
    if (batch.events.empty()) return;
    AddBatch(batch, out_);
  }
}

void ControlClient::Done() {
  out_ += ToLine({{"done", true}});
}

void ControlClient::Error(int error, const std::string& message) {
  const char* name = ::strerrorname_np(error);
  out_ += ToLine({{"error", name == nullptr ? std::to_string(error) : name}, {"message", message}});
}

void ControlClient::Reject(int error, const std::string& message) {
  Error(error, message);
  ending_ = true;
}

void ControlClient::Fenced(const Guid& guid, const ControlAnswer<>& answer) {
  fencing_ = false;
  if (!answer) return Error(answer.error().error, answer.error().message);
  out_ += ToLine({{"guid", ToString(guid)}, {"fenced", true}});
  Done();
}

template <class T>
void ControlClient::List(std::vector<T> items) {
  auto shared = std::make_shared<const std::vector<T>>(std::move(items));
  produce_ = [shared, at = std::size_t{0}](std::string& out) mutable {
    while (at < shared->size() && out.size() < kBuffer) out += ToLine(ToJson((*shared)[at++]));
    return at < shared->size();
  };
}

template <class T>
void ControlClient::List(ControlAnswer<std::vector<T>> items) {
  if (!items) return Error(items.error().error, items.error().message);
  List(std::move(*items));
}

void ControlClient::HandleLine(std::string_view line, const Host& host) {
  const Json request = Json::parse(line, nullptr, false);
  if (request.is_discarded()) return Reject(EINVAL, "the request is not JSON");
  if (!request.is_object()) return Reject(EINVAL, "the request is not a JSON object");
  const auto command = TextField(request, "command");
  if (!command || !*command) return Reject(EINVAL, "\"command\" must be a string");
  HandleCommand(**command, request, host);
}

void ControlClient::HandleCommand(const std::string& command, const Json& request, const Host& host) {
  if (command == "status") {
    List(std::vector{host.backend.Status()});
  } else if (command == "sessions") {
    List(host.backend.Sessions());
  } else if (command == "instances") {
    List(host.backend.Instances());
  } else if (command == "opens" || command == "locks") {
    const auto path = TextField(request, "path");
    if (!path) return Error(EINVAL, path.error());
    if (command == "opens") {
      List(host.backend.Opens(*path));
    } else {
      List(host.backend.Locks(*path));
    }
  } else if (command == "events") {
    HandleEvents(request, host);
  } else if (command == "fence" || command == "reset" || command == "forget") {
    HandleGuid(command, request, host);
  } else if (command == "backup-state") {
    HandleBackUp(request, host);
  } else {
    Error(EOPNOTSUPP, "this batond knows no command \"" + command + "\"");
  }
}

void ControlClient::HandleEvents(const Json& request, const Host& host) {
  const auto follow = request.find("follow");
  const auto since = request.find("since");
  if (follow != request.end() && !follow->is_boolean())
    return Error(EINVAL, "\"follow\" must be true or false");
  if (since != request.end() && !since->is_number_integer()) {
    return Error(EINVAL, "\"since\" must be a number of microseconds since 1970");
  }
  std::uint64_t from = 0;
  if (since != request.end()) {
    from = host.events.FirstSince(WallTime(std::chrono::microseconds(since->get<std::int64_t>())));
  }
  if (follow != request.end() && follow->get<bool>()) {
    next_event_ = from;
    follows_ = true;
    in_.clear();
    return host.follows();
  }
  const std::uint64_t end = host.events.FirstSince(WallTime::max());
  produce_ = [&events = host.events, from, end](std::string& out) mutable {
    while (from < end && out.size() < kBuffer) {
      const EventLog::Batch batch = events.Read(from, kEventsAtOnce);
      from = batch.next;
      AddBatch(batch, out);
    }
    return from < end;
  };
}

void ControlClient::HandleBackUp(const Json& request, const Host& host) {
  const auto file = TextField(request, "file");
  if (!file) return Error(EINVAL, file.error());
  if (!*file || !(*file)->starts_with('/')) return Error(EINVAL, "\"file\" must be an absolute path");
  const auto force = request.find("force");
  if (force != request.end() && !force->is_boolean()) return Error(EINVAL, "\"force\" must be true or false");
  const bool replace = force != request.end() && force->get<bool>();
  const ControlAnswer<> answer = host.backend.BackUpState(**file, replace);
  if (!answer) return Error(answer.error().error, answer.error().message);
  out_ += ToLine({{"file", **file}, {"saved", true}});
  Done();
}

void ControlClient::HandleGuid(const std::string& command, const Json& request, const Host& host) {
  const auto text = TextField(request, "guid");
  if (!text) return Error(EINVAL, text.error());
  const auto guid = text->has_value() ? ParseGuid(**text) : std::nullopt;
  if (!guid)
    return Error(EINVAL, "\"guid\" must be a GUID, 8-4-4-4-12 hexadecimal digits, and not the nil GUID");
  if (command == "fence") {
    fencing_ = true;
    return host.fence(id_, *guid);
  }
  const ControlAnswer<> answer = command == "reset" ? host.backend.Reset(*guid) : host.backend.Forget(*guid);
  if (!answer) return Error(answer.error().error, answer.error().message);
  out_ += ToLine({{"guid", ToString(*guid)}, {command == "reset" ? "reset" : "forgotten", true}});
  Done();
}

}  // namespace baton
