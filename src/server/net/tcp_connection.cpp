#include "server/net/tcp_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "protocol/operations.h"
#include "server/net/server.h"

namespace baton::server {
namespace {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::Operation;

void SetOption(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

// A peer that vanished without a word is found in about half a minute, with or without output on its way to
// it.
void SetOptions(int fd, Duration stall_timeout) {
  using std::chrono::duration_cast;
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
            static_cast<int>(duration_cast<std::chrono::milliseconds>(stall_timeout).count()));
}

bool IsOrdered(const FrameHeader& header) {
  const auto properties = protocol::PropertiesOf(static_cast<Operation>(header.operation));
  return properties && properties->order == protocol::Order::kOrdered;
}

bool WouldBlock(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

}  // namespace

TcpConnection::TcpConnection(Server& server, UniqueFd fd, const SocketAddress& peer, std::uint64_t tag,
                             std::uint64_t arrival)
    : server_(server),
      peer_(peer),
      peer_name_(ToString(peer)),
      tag_(tag),
      arrival_(arrival),
      backlog_(std::min<std::size_t>(kMostBacklog, server.config_.max_unread / 2)),
      opened_(server.pool_.Now()),
      fd_(std::move(fd)),
      reader_(server.buffers_, kMaxHelloSize) {
  SetOptions(fd_.Get(), server.config_.stall_timeout);
}

TcpConnection::~TcpConnection() = default;

bool TcpConnection::Register() {
  return server_.pool_.Add(fd_.Get(), EPOLLIN | EPOLLONESHOT, tag_);
}

// --- Reading
// ------------------------------------------------------------------------------------------------------------

// Requires mutex_.
bool TcpConnection::MayRead() const {
  return executing_ < server_.config_.max_executing && executing_bytes_ < kMaxExecutingBytes &&
         !is_backlogged_ && !lacks_memory_;
}

// Asks for the events that somebody can act on. Requires mutex_. A complete frame in the buffer is announced
// by EPOLLOUT, which is true at once, so that a waiting thread takes it up.
void TcpConnection::Arm() {
  if (closed_.load()) return;
  std::uint32_t events = has_output_ ? std::uint32_t{EPOLLOUT} : 0;
  if (!reading_ && MayRead()) events |= EPOLLIN | (frame_ready_ ? std::uint32_t{EPOLLOUT} : 0);
  if (events != 0) server_.pool_.Modify(fd_.Get(), events | EPOLLONESHOT, tag_);
}

void TcpConnection::OnEvent(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if (TakeReading(events)) ReadAndRun();
}

bool TcpConnection::TakeReading(std::uint32_t events) {
  const std::lock_guard lock(mutex_);
  const bool something_to_read = frame_ready_ || (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
  if (closed_.load() || reading_ || !MayRead() || !something_to_read) {
    Arm();
    return false;
  }
  reading_ = true;
  Arm();
  return true;
}

void TcpConnection::ReadAndRun() {
  while (true) {
    Frame frame;
    const FrameReader::State state = reader_.Next(frame);
    if (state == FrameReader::State::kMalformed) {
      Fail("it sent no frame of this protocol");
      return StopReading();
    }
    const bool goes_on = state == FrameReader::State::kFrame ? Run(std::move(frame)) : Receive();
    if (!goes_on) return;
  }
}

// False: the reading side was given back.
bool TcpConnection::Receive() {
  const std::span<std::byte> room = reader_.Room();
  if (room.empty()) {
    {
      const std::lock_guard lock(mutex_);
      lacks_memory_ = true;
    }
    server_.WaitForMemory(weak_from_this());
    StopReading();
    return false;
  }
  const ssize_t received = ::recv(fd_.Get(), room.data(), room.size(), MSG_DONTWAIT);
  if (received > 0) {
    reader_.Received(static_cast<std::size_t>(received));
    server_.handler_.OnHeard(shared_from_this());
    return true;
  }
  if (received < 0 && errno == EINTR) return true;
  if (received == 0 || !WouldBlock(errno)) Close();
  StopReading();
  return false;
}

void TcpConnection::StopReading() {
  {
    const std::lock_guard lock(mutex_);
    reader_.Rest();
    if (!reader_.IsMidFrame()) {
      partial_since_ = Instant(0);
    } else if (partial_since_ == Instant(0)) {
      partial_since_ = server_.pool_.Now();
    }
    frame_ready_ = false;
    reading_ = false;
    Arm();
  }
  if (closed_.load()) Dispose();
}

bool TcpConnection::IsAcceptable(const FrameHeader& header) const {
  const bool is_hello = static_cast<Operation>(header.operation) == Operation::kHello;
  return header.kind == FrameKind::kRequest && (hello_seen_.load() || is_hello);
}

// Runs one frame; false: the reading side was given back. Requires: this thread owns it.
bool TcpConnection::Run(Frame frame) {
  if (!IsAcceptable(frame.header)) {
    Fail(hello_seen_.load() ? "it sent something that is no request" : "its first frame was no HELLO");
    StopReading();
    return false;
  }
  const bool is_ordered = IsOrdered(frame.header);
  if (!hello_seen_.load()) {
    hello_seen_.store(true);
    server_.Greeted(arrival_);
    reader_.SetMost(BufferPool::kLarge);
  }
  if (closed_.load() || !server_.FrameBegins()) {
    StopReading();
    return false;
  }
  {
    const std::lock_guard lock(mutex_);
    ++executing_;
    executing_bytes_ += frame.Size();
    partial_since_ = Instant(0);
    if (!is_ordered) {
      // Anything but "more is needed" is for the next thread to see, a malformed header too.
      frame_ready_ = reader_.Peek() != FrameReader::State::kNeedMore;
      if (!frame_ready_ && reader_.IsMidFrame()) partial_since_ = server_.pool_.Now();
      reading_ = false;
      Arm();
    }
  }
  if (!is_ordered && closed_.load()) Dispose();
  server_.handler_.OnFrame(shared_from_this(), frame.header, frame.body, frame.data);
  frame.buffer = {};
  {
    const std::lock_guard lock(mutex_);
    const bool could_read = MayRead();
    --executing_;
    executing_bytes_ -= frame.Size();
    if (!could_read && MayRead() && !reading_) Arm();
  }
  server_.FrameEnded();
  return is_ordered;
}

void TcpConnection::MemoryMayBeFree() {
  const std::lock_guard lock(mutex_);
  lacks_memory_ = false;
  if (!reading_) Arm();
}

// --- Sending
// ------------------------------------------------------------------------------------------------------------

void TcpConnection::Send(FrameHeader header, Bytes body, Bytes data) {
  BATON_CHECK(body.size() <= protocol::kMaxBodySize && data.size() <= protocol::kMaxDataSize);
  header.body_size = static_cast<std::uint32_t>(body.size());
  header.data_size = static_cast<std::uint32_t>(data.size());
  std::array<std::byte, protocol::kFrameHeaderSize> head;
  protocol::EncodeFrameHeader(header, head);
  const std::array<Bytes, 3> parts{Bytes(head), body, data};
  std::array<iovec, 3> vectors;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    vectors[i] = {const_cast<std::byte*>(parts[i].data()), parts[i].size()};
  }
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = vectors.size();

  const std::lock_guard lock(send_mutex_);
  if (closed_.load()) return;
  std::size_t sent = 0;
  if (queue_.empty()) {
    ssize_t result;
    do {
      result = ::sendmsg(fd_.Get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (result < 0 && errno == EINTR);
    if (result < 0 && !WouldBlock(errno)) return Close();
    sent = result < 0 ? 0 : static_cast<std::size_t>(result);
  }
  if (sent < head.size() + body.size() + data.size()) Queue(parts, sent);
}

// Keeps what the socket did not take. Requires send_mutex_.
void TcpConnection::Queue(std::span<const Bytes> parts, std::size_t sent) {
  std::vector<std::byte> rest;
  for (Bytes part : parts) {
    const std::size_t skipped = std::min(sent, part.size());
    sent -= skipped;
    rest.insert(rest.end(), part.begin() + static_cast<std::ptrdiff_t>(skipped), part.end());
  }
  if (queue_.empty()) output_since_ = server_.pool_.Now();
  queued_ += rest.size();
  server_.OutputQueued(rest.size());
  queue_.push_back(std::move(rest));
  if (queued_ > server_.config_.max_unread) return Fail("it does not read what it asked for", "max-unread-output");
  const std::lock_guard lock(mutex_);
  has_output_ = true;
  if (queued_ > backlog_) is_backlogged_ = true;
  Arm();
}

void TcpConnection::Flush() {
  constexpr std::size_t kMostParts = 16;
  const std::lock_guard lock(send_mutex_);
  if (closed_.load()) return;
  while (!queue_.empty()) {
    std::array<iovec, kMostParts> vectors;
    std::size_t count = 0;
    for (auto part = queue_.begin(); part != queue_.end() && count < kMostParts; ++part, ++count) {
      const std::size_t skipped = count == 0 ? queue_offset_ : 0;
      vectors[count] = {part->data() + skipped, part->size() - skipped};
    }
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    const ssize_t result = ::sendmsg(fd_.Get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0 && !WouldBlock(errno)) return Close();
    if (result <= 0) break;
    auto sent = static_cast<std::size_t>(result);
    output_since_ = server_.pool_.Now();
    queued_ -= sent;
    server_.OutputGone(sent);
    for (sent += queue_offset_; !queue_.empty() && sent >= queue_.front().size(); queue_.pop_front()) {
      sent -= queue_.front().size();
    }
    queue_offset_ = sent;
  }
  const std::lock_guard arm_lock(mutex_);
  has_output_ = !queue_.empty();
  if (queued_ < backlog_ / 2) is_backlogged_ = false;
}

// --- The end
// ------------------------------------------------------------------------------------------------------------

void TcpConnection::CheckDeadlines(Instant now) {
  const ServerConfig& config = server_.config_;
  if (!hello_seen_.load() && now - opened_ > config.hello_timeout) return Fail("it sent no HELLO in time");
  {
    const std::lock_guard lock(send_mutex_);
    if (!queue_.empty() && now - output_since_ > config.stall_timeout) {
      return Fail("it takes no output");
    }
  }
  bool is_late = false;
  {
    const std::lock_guard lock(mutex_);
    // Not the peer's fault as long as nobody reads.
    if (partial_since_ != Instant(0) && (reading_ || !MayRead())) partial_since_ = now;
    is_late = partial_since_ != Instant(0) && now - partial_since_ > config.stall_timeout;
  }
  if (is_late) Fail("the rest of a frame did not come");
}

void TcpConnection::GiveWay() {
  if (!hello_seen_.load()) Fail("it has sent no HELLO, and others come", "max-ungreeted");
}

std::size_t TcpConnection::Queued() {
  const std::lock_guard lock(send_mutex_);
  return queued_;
}

void TcpConnection::DropOutput() {
  const std::lock_guard lock(send_mutex_);
  Fail("it does not read what it asked for, and it is too much in all", "max-unread-output-in-all");
  server_.OutputGone(std::exchange(queued_, 0));
  queue_.clear();
  queue_offset_ = 0;
}

void TcpConnection::Fail(const std::string& why, const char* limit) {
  if (closed_.load()) return;
  const std::string what = "closed the connection of " + peer_name_ + ": " + why;
  if (limit != nullptr) {
    server_.AtLimit(limit, what, peer_, shared_from_this());
  } else {
    server_.LogLimited(peer_, what);
  }
  Close();
}

void TcpConnection::Close() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_.exchange(true)) return;
    ::shutdown(fd_.Get(), SHUT_RDWR);
  }
  server_.Closed(shared_from_this());
}

void TcpConnection::Dispose() {
  // Let go after the mutexes: memory that comes back lets other connections go on, under theirs.
  BufferPool::Buffer buffer;
  const std::scoped_lock lock(send_mutex_, mutex_);
  if (reading_ || !fd_) return;
  server_.OutputGone(queued_);
  queued_ = 0;
  queue_.clear();
  buffer = reader_.Clear();
  fd_.Reset();
}

}  // namespace baton::server
