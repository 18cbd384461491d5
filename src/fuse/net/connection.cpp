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
  Break(link, reason);
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
  if (link_ == kNoLink && last_attempt_)
    wait = std::min(wait, *last_attempt_ + limits_.attempt_interval - now);
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

void Connection::StartAttempts(Instant now) {
  if (last_attempt_ && now - *last_attempt_ < limits_.attempt_interval) return;
  if (!last_refresh_ || now - *last_refresh_ >= kRefreshInterval) {
    book_.Refresh();
    last_refresh_ = now;
  }
  AddressBook::Listing listing = book_.Get();
  if (!std::ranges::equal(addresses_, listing.addresses, {}, &SocketAddress::text, &SocketAddress::text)) {
    addresses_ = std::move(listing.addresses);
    attempts_.clear();
    failed_.assign(addresses_.size(), false);
  }
  if (addresses_.empty()) {
    if (!listing.complete) return;  // the poll's timeout looks again
    last_attempt_ = now;
    handler_->OnUnreachable(EHOSTUNREACH, listing.error);
    return;
  }
  // What is refused on the spot costs no interval, as long as the round has another address.
  for (std::size_t tried = 0; tried < addresses_.size(); ++tried) {
    last_attempt_ = now;
    if (StartAttempt(next_address_++ % addresses_.size(), now)) return;
  }
}

bool Connection::StartAttempt(std::size_t address, Instant now) {
  const SocketAddress& target = addresses_[address];
  UniqueFd fd(socket(target.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!fd || setsockopt(fd.Get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (connect(fd.Get(), reinterpret_cast<const sockaddr*>(&target.storage), target.size) != 0 &&
       errno != EINPROGRESS)) {
    CountFailure(address, errno, target.text + ": " + std::strerror(errno));
    return false;
  }
  attempts_.push_back({std::move(fd), address, now});
  return true;
}

void Connection::CheckAttempts(Instant now) {
  // A failure is reported to the handler, which may not change attempts_; so they can be walked.
  std::vector<Attempt> waiting;
  std::optional<Attempt> connected;
  for (std::size_t i = 0; i < attempts_.size(); ++i) {
    Attempt& attempt = attempts_[i];
    const bool decided = polled_[i + 1].revents != 0;
    const int error = decided ? ConnectOutcome(attempt.fd.Get()) : 0;
    if (decided && error == 0 && !connected) {
      connected = std::move(attempt);
    } else if (decided && error != 0) {
      const std::string reason = addresses_[attempt.address].text + ": " + std::strerror(error);
      if (!CountFailure(attempt.address, error, reason)) last_attempt_.reset();  // the next address at once
    } else if (now - attempt.started >= limits_.attempt_limit) {
      CountFailure(attempt.address, ETIMEDOUT, addresses_[attempt.address].text + ": no answer");
    } else {
      waiting.push_back(std::move(attempt));
    }
  }
  attempts_ = std::move(waiting);
  if (connected) Adopt(std::move(*connected));
}

bool Connection::CountFailure(std::size_t address, int error, const std::string& reason) {
  failed_[address] = true;
  // Silence of one address says less than the answer of another.
  if (round_error_ == 0 || error != ETIMEDOUT) {
    round_error_ = error;
    round_reason_ = reason;
  }
  if (!std::ranges::all_of(failed_, [](bool failed) { return failed; })) return false;
  failed_.assign(failed_.size(), false);
  handler_->OnUnreachable(std::exchange(round_error_, 0), std::exchange(round_reason_, {}));
  return true;
}

void Connection::Adopt(Attempt attempt) {
  attempts_.clear();
  reader_.Reset();
  last_heard_ = clock_.Now();
  pinged_.reset();
  link_address_ = attempt.address;
  LinkId link;
  {
    const std::scoped_lock lock(out_mutex_);
    fd_ = std::move(attempt.fd);
    link = link_ = LinkId{++links_};
    established_ = false;
    ping_after_ = limits_.ping_after;
  }
  handler_->OnUp(link, addresses_[link_address_].text);
}

void Connection::TakeDown() {
  std::string reason;
  bool established = false;
  {
    const std::scoped_lock lock(out_mutex_);
    reason = std::move(*broken_);
    established = established_;
    broken_.reset();
    dead_ = false;
    fd_.Reset();
    link_ = kNoLink;
    output_.clear();
    output_offset_ = 0;
  }
  handler_->OnDown(reason, last_heard_);
  if (established) {
    next_address_ = link_address_;
    failed_.assign(failed_.size(), false);
    round_error_ = 0;
    return;
  }
  next_address_ = link_address_ + 1;
  CountFailure(link_address_, EPROTO, addresses_[link_address_].text + ": " + reason);
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
                   addresses_[link_address_].text);
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
