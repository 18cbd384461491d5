#include "fuse/net/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "protocol/operations.h"

namespace baton {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::kFrameHeaderSize;
using protocol::kNoSlot;
using protocol::Operation;

namespace {

constexpr Duration kRefreshInterval = std::chrono::seconds(10);  // of names, while there is no link
constexpr Duration kLeastPingAfter = std::chrono::milliseconds(20);
constexpr int kReceivesPerPoll = 8;  // then the output gets its turn

// A connect to a local port in the ephemeral range, where nobody listens, can meet itself.
bool IsConnectedToItself(int fd) {
  sockaddr_storage here{};
  sockaddr_storage there{};
  socklen_t here_size = sizeof here;
  socklen_t there_size = sizeof there;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&here), &here_size) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&there), &there_size) == 0 && here_size == there_size &&
         std::memcmp(&here, &there, here_size) == 0;
}

// The outcome of a non-blocking connect that poll(2) says is decided: 0 or an errno.
int ConnectOutcome(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error == 0 && IsConnectedToItself(fd)) return ECONNREFUSED;
  return error;
}

bool IsTry(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

Connection::Connection(std::vector<Endpoint> endpoints, const Clock& clock)
    : Connection(std::move(endpoints), clock, Limits{}) {}

Connection::Connection(std::vector<Endpoint> endpoints, const Clock& clock, const Limits& limits)
    : clock_(clock),
      limits_(limits),
      book_(std::move(endpoints)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      ping_after_(limits.ping_after) {
  BATON_CHECK(wake_);
}

Connection::~Connection() {
  Stop();
}

void Connection::Start(Handler& handler) {
  handler_ = &handler;
  thread_ = std::thread([this] { Run(); });
}

void Connection::Stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  Wake();
  thread_.join();
  const std::scoped_lock lock(out_mutex_);
  fd_.Reset();
  link_ = kNoLink;
}

void Connection::Wake() {
  if (woken_.exchange(true)) return;
  const std::uint64_t one = 1;
  // A full counter wakes as well, so the result does not matter.
  [[maybe_unused]] const auto ignored = ::write(wake_.Get(), &one, sizeof one);
}

// --- Sending
// ----------------------------------------------------------------------------------------------------------

bool Connection::Send(LinkId link, const FrameHeader& header, std::span<const std::byte> body,
                      std::span<const std::byte> data) {
  FrameHeader sized = header;
  sized.body_size = static_cast<std::uint32_t>(body.size());
  sized.data_size = static_cast<std::uint32_t>(data.size());
  std::array<std::byte, kFrameHeaderSize> head;
  EncodeFrameHeader(sized, head);

  const std::scoped_lock lock(out_mutex_);
  if (link != link_ || link == kNoLink || broken_) return false;
  const std::array<std::span<const std::byte>, 3> parts{head, body, data};
  std::size_t sent = 0;
  if (output_.empty()) {
    std::array<iovec, 3> vectors;
    std::ranges::transform(parts, vectors.begin(), [](std::span<const std::byte> part) {
      return iovec{const_cast<std::byte*>(part.data()), part.size()};
    });
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = vectors.size();
    const ssize_t taken = sendmsg(fd_.Get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0 && !IsTry(errno)) {
      BreakLocked(std::strerror(errno));
      return true;
    }
    sent = taken < 0 ? 0 : static_cast<std::size_t>(taken);
  }
  std::vector<std::byte> rest;
  for (const auto part : parts) {
    const std::size_t skip = std::min(sent, part.size());
    sent -= skip;
    rest.insert(rest.end(), part.begin() + static_cast<std::ptrdiff_t>(skip), part.end());
  }
  if (rest.empty()) return true;
  output_.push_back(std::move(rest));
  if (output_.size() == 1) Wake();
  return true;
}

void Connection::FlushOutput() {
  const std::scoped_lock lock(out_mutex_);
  while (!output_.empty() && !broken_) {
    const auto left = std::span(output_.front()).subspan(output_offset_);
    const ssize_t taken = send(fd_.Get(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0) {
      if (!IsTry(errno)) BreakLocked(std::strerror(errno));
      return;
    }
    output_offset_ += static_cast<std::size_t>(taken);
    if (output_offset_ < output_.front().size()) return;
    output_.pop_front();
    output_offset_ = 0;
  }
}

void Connection::Drop(LinkId link, std::string_view reason) {
  const std::scoped_lock lock(out_mutex_);
  if (link != link_ || link == kNoLink || broken_) return;
  dropped_ = true;
  BreakLocked(reason);
}

void Connection::Break(LinkId link, std::string_view reason) {
  const std::scoped_lock lock(out_mutex_);
  if (link == link_ && link != kNoLink) BreakLocked(reason);
}

void Connection::BreakLocked(std::string_view reason) {
  if (broken_) return;
  broken_ = reason;
  dead_ = true;
  Wake();
}

void Connection::Establish(LinkId link, Duration lease) {
  const std::scoped_lock lock(out_mutex_);
  if (link != link_) return;
  established_ = true;
  ping_after_ = std::clamp(lease / 4, std::min(kLeastPingAfter, limits_.ping_after), limits_.ping_after);
}

// --- The thread
// -------------------------------------------------------------------------------------------------------

void Connection::Run() {
  without_link_since_ = clock_.Now();
  while (!stopping_) {
    const Instant now = clock_.Now();
    if (link_ == kNoLink) StartAttempts(now);
    PollOnce();
    if (dead_) TakeDown();
    TickIfDue();
  }
}

void Connection::PollOnce() {
  polled_.clear();
  polled_.push_back({wake_.Get(), POLLIN, 0});
  const bool up = link_ != kNoLink;
  if (up) {
    const std::scoped_lock lock(out_mutex_);
    const short wanted = output_.empty() ? POLLIN : POLLIN | POLLOUT;
    polled_.push_back({fd_.Get(), wanted, 0});
  }
  if (!up) {
    for (const Attempt& attempt : attempts_) polled_.push_back({attempt.fd.Get(), POLLOUT, 0});
  }
  if (poll(polled_.data(), polled_.size(), PollTimeout(clock_.Now())) < 0) return;
  if (polled_[0].revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto ignored = ::read(wake_.Get(), &count, sizeof count);
    woken_ = false;
    tick_wanted_ = true;
  }
  if (!up) {
    CheckAttempts(clock_.Now());
    return;
  }
  if ((polled_[1].revents & POLLOUT) != 0) FlushOutput();
  if ((polled_[1].revents & (POLLIN | POLLERR | POLLHUP)) != 0) Receive();
  CheckSilence(clock_.Now());
}

int Connection::PollTimeout(Instant now) const {
  Duration wait = kTickInterval;
  if (link_ == kNoLink) {
    for (const Target& target : targets_) wait = std::min(wait, target.due - now);
  }
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(std::max(wait, Duration::zero()));
  return static_cast<int>(millis.count());
}

void Connection::TickIfDue() {
  const Instant now = clock_.Now();
  if (!tick_wanted_ && now - last_tick_ < kTickInterval) return;
  tick_wanted_ = false;
  last_tick_ = now;
  handler_->OnTick();
}

// --- Connecting
// -------------------------------------------------------------------------------------------------------

void Connection::PlanFrom(std::size_t first, Instant begin) {
  first_target_ = first;
  for (std::size_t turn = 0; turn < targets_.size(); ++turn) {
    Target& target = targets_[(first + turn) % targets_.size()];
    target.due = begin + static_cast<int>(turn) * limits_.attempt_interval;
    target.tried = false;
    target.failed = false;
  }
  round_error_ = 0;
}

void Connection::RefreshTargets(Instant now) {
  if (!last_refresh_ || now - *last_refresh_ >= kRefreshInterval) {
    book_.Refresh();
    last_refresh_ = now;
  }
  const AddressBook::Listing listing = book_.Get();
  const auto text = [](const Target& target) -> const std::string& { return target.socket.text; };
  if (!std::ranges::equal(targets_, listing.addresses, {}, text, &SocketAddress::text)) {
    targets_.clear();
    for (const SocketAddress& address : listing.addresses) targets_.push_back({address});
    attempts_.clear();
    PlanFrom(0, now);
  }
  if (!targets_.empty() || !listing.complete) return;
  if (last_empty_ && now - *last_empty_ < limits_.attempt_interval) return;
  last_empty_ = now;
  handler_->OnUnreachable(EHOSTUNREACH, listing.error);
}

void Connection::StartAttempts(Instant now) {
  RefreshTargets(now);
  for (std::size_t turn = 0; turn < targets_.size(); ++turn) {
    const std::size_t target = (first_target_ + turn) % targets_.size();
    if (targets_[target].due <= now) StartAttempt(target, now);
  }
}

void Connection::StartAttempt(std::size_t index, Instant now) {
  Target& target = targets_[index];
  target.tried = true;
  target.due = now + limits_.attempt_interval;
  const sockaddr_storage& address = target.socket.storage;
  UniqueFd fd(socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!fd || setsockopt(fd.Get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (connect(fd.Get(), reinterpret_cast<const sockaddr*>(&address), target.socket.size) != 0 &&
       errno != EINPROGRESS)) {
    const int error = errno;
    Failed(index, error, target.socket.text + ": " + std::strerror(error), RetryAfter(now), now);
    return;
  }
  attempts_.push_back({std::move(fd), index, now});
}

void Connection::CheckAttempts(Instant now) {
  // A failure is reported to the handler, which may not change attempts_; so they can be walked.
  std::vector<Attempt> waiting;
  std::optional<Attempt> connected;
  for (std::size_t i = 0; i < attempts_.size(); ++i) {
    Attempt& attempt = attempts_[i];
    const Target& target = targets_[attempt.target];
    const bool decided = polled_[i + 1].revents != 0;
    const int error = decided ? ConnectOutcome(attempt.fd.Get()) : 0;
    if (decided && error == 0 && !connected) {
      connected = std::move(attempt);
    } else if (decided && error != 0) {
      Failed(attempt.target, error, target.socket.text + ": " + std::strerror(error), RetryAfter(now), now);
    } else if (now - attempt.started >= limits_.attempt_limit) {
      Failed(attempt.target, ETIMEDOUT, target.socket.text + ": no answer", target.due - now, now);
    } else {
      waiting.push_back(std::move(attempt));
    }
  }
  attempts_ = std::move(waiting);
  if (connected) Adopt(std::move(*connected));
}

Duration Connection::RetryAfter(Instant now) const {
  constexpr int kShare = 200;
  return std::clamp<Duration>((now - without_link_since_) / kShare, limits_.retry_interval,
                              std::max(limits_.retry_interval, limits_.slowest_retry));
}

void Connection::Failed(std::size_t index, int error, const std::string& reason, Duration wait, Instant now) {
  targets_[index].failed = true;
  targets_[index].due = now + wait;
  // Silence of one address says less than the answer of another.
  if (round_error_ == 0 || error != ETIMEDOUT) {
    round_error_ = error;
    round_reason_ = reason;
  }
  for (std::size_t turn = 1; turn < targets_.size(); ++turn) {
    Target& next = targets_[(index + turn) % targets_.size()];
    if (next.tried) continue;
    next.due = std::min(next.due, now);
    break;
  }
  if (!std::ranges::all_of(targets_, &Target::failed)) return;
  for (Target& target : targets_) target.failed = false;
  handler_->OnUnreachable(std::exchange(round_error_, 0), std::exchange(round_reason_, {}));
}

void Connection::Adopt(Attempt attempt) {
  attempts_.clear();
  reader_.Reset();
  last_heard_ = clock_.Now();
  pinged_.reset();
  link_target_ = attempt.target;
  earlier_link_started_ = std::exchange(link_started_, attempt.started);
  LinkId link;
  {
    const std::scoped_lock lock(out_mutex_);
    fd_ = std::move(attempt.fd);
    link = link_ = LinkId{++links_};
    established_ = false;
    dropped_ = false;
    ping_after_ = limits_.ping_after;
  }
  handler_->OnUp(link, targets_[link_target_].socket.text);
}

void Connection::TakeDown() {
  std::string reason;
  bool established = false;
  bool dropped = false;
  {
    const std::scoped_lock lock(out_mutex_);
    reason = std::move(*broken_);
    established = established_;
    dropped = dropped_;
    broken_.reset();
    dead_ = false;
    fd_.Reset();
    link_ = kNoLink;
    output_.clear();
    output_offset_ = 0;
  }
  handler_->OnDown(reason, last_heard_);
  const Instant now = clock_.Now();
  if (established) {
    without_link_since_ = now;
    // At once, even if the link was short-lived (a session ended, and the next begins); but not for ever so.
    PlanFrom(link_target_, std::max(now, earlier_link_started_ + limits_.retry_interval));
    return;
  }
  // Who answers and refuses may do so for long.
  const Duration wait = dropped ? limits_.attempt_interval : RetryAfter(now);
  Failed(link_target_, EPROTO, targets_[link_target_].socket.text + ": " + reason, wait, now);
}

// --- Receiving
// --------------------------------------------------------------------------------------------------------

void Connection::Receive() {
  for (int i = 0; i < kReceivesPerPoll && !dead_; ++i) {
    const auto space = reader_.Space();
    const ssize_t size = recv(fd_.Get(), space.data(), space.size(), MSG_DONTWAIT);
    if (size < 0 && IsTry(errno)) return;
    if (size <= 0) {
      Break(link_, size == 0 ? "batond closed the connection" : std::strerror(errno));
      return;
    }
    last_heard_ = clock_.Now();
    pinged_.reset();
    reader_.Filled(static_cast<std::size_t>(size));
    DeliverFrames();
    if (static_cast<std::size_t>(size) < space.size()) return;
  }
}

void Connection::DeliverFrames() {
  FrameHeader header;
  std::span<const std::byte> body;
  std::span<const std::byte> data;
  while (!dead_) {
    switch (reader_.Take(header, body, data)) {
      case FrameReader::Next::kIncomplete:
        return;
      case FrameReader::Next::kMalformed:
        log::Error("{} sent bytes that are no frame of this protocol; closing the connection",
                   targets_[link_target_].socket.text);
        Break(link_, "malformed frame");
        return;
      case FrameReader::Next::kFrame:
        break;
    }
    const bool pong = header.kind == FrameKind::kReply && header.slot == kNoSlot &&
                      header.operation == static_cast<std::uint16_t>(Operation::kPing);
    if (!pong) handler_->OnFrame(header, body, data);
  }
}

void Connection::CheckSilence(Instant now) {
  if (dead_) return;
  if (pinged_ && now - *pinged_ >= limits_.silence) {
    Break(link_, "no answer");
  } else if (!pinged_ && now - last_heard_ >= ping_after_) {
    pinged_ = now;
    Send(link_, {.operation = static_cast<std::uint16_t>(Operation::kPing), .kind = FrameKind::kRequest}, {},
         {});
  }
}

}  // namespace baton
