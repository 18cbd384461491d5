// The load of bench/sessions: many sessions with many handles each, at the level of the protocol. One thread,
// blocking sockets; up to kInFlight requests of one session are in flight at a time, each on a slot of its
// own.
//
//   bench_sessions PORT SESSIONS HANDLES     opens files s<i>-<j> of the export's root, then locks each of
//   them.
// Says "connected", "open" and "locked" when that is true of all, and waits for a line on stdin after each.
// From then on, until its stdin ends, whenever batond has gone and come back: resumes all sessions at once,
// asserts what they hold, and says "resumed".
//
//   bench_sessions PORT SESSIONS HANDLES RATE    keeps them busy instead, until its stdin ends: RATE writes of 100 bytes a
//   second, one session after the other.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "protocol/codec.h"
#include "protocol/frame.h"
#include "protocol/operations.h"

namespace {

using namespace baton;
using namespace baton::protocol;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "bench_sessions: %s\n", what.c_str());
  std::exit(1);
}

struct Broken : std::runtime_error {
  Broken() : std::runtime_error("bench_sessions: batond closed a connection") {}
};

void Read(int fd, void* to, std::size_t size) {
  if (size > 0 && recv(fd, to, size, MSG_WAITALL) != static_cast<ssize_t>(size)) throw Broken();
}

constexpr std::size_t kInFlight = 16;

class Client {
 public:
  Client(std::uint16_t port, const std::string& name) : port_(port), name_(name) {
    if (!Connect()) Die("cannot connect");
    SayHello();
    root = HearHello();
  }

  // False: nobody listens.
  bool Connect() {
    fd_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_.Get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return false;
    const int on = 1;
    setsockopt(fd_.Get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return true;
  }

  // A new session, or the one that it had.
  void SayHello() {
    HelloRequest hello;
    hello.magic = kMagic;
    hello.oldest_version = hello.newest_version = kProtocolVersion;
    hello.node = hello.boot = hello.machine = hello.run = name_;
    hello.mount_point = "/bench";
    hello.session = root.session;
    hello.secret = root.secret;
    Send<Operation::kHello>(hello, kNoSlot, 0);
  }

  HelloReply HearHello() { return *Receive<Operation::kHello>().reply; }

  // After it was resumed: all that it holds, in frames that are not too large.
  void Assert() {
    asserts_ = 0;
    AssertRequest request;
    std::size_t size = 0;
    for (const HeldHandle& handle : held) {
      const std::size_t more = handle.proof.size() + 64 * (1 + handle.locks.size());
      if (size + more > kMaxBodySize) {
        SendAssert(request);
        request.handles.clear();
        size = 0;
      }
      request.handles.push_back(handle);
      size += more;
    }
    request.is_last = true;
    SendAssert(request);
  }

  void HearAsserted() {
    for (; asserts_ > 0; --asserts_) {
      if (!Receive<Operation::kAssert>().reply->refused.empty()) Die("a handle was refused after a restart");
    }
  }

  int fd() const { return fd_.Get(); }

  // The replies in the order of the requests.
  template <Operation kOp>
  auto Batch(const std::vector<typename MessagesOf<kOp>::Request>& requests) {
    std::vector<typename MessagesOf<kOp>::Reply> replies(requests.size());
    for (std::size_t first = 0; first < requests.size(); first += kInFlight) {
      const auto count = static_cast<std::uint32_t>(std::min(kInFlight, requests.size() - first));
      for (std::uint32_t slot = 0; slot < count; ++slot) {
        Send<kOp>(requests[first + slot], slot, ++sequences_[slot]);
      }
      for (std::uint32_t i = 0; i < count; ++i) {
        auto got = Receive<kOp>();
        replies.at(first + got.slot) = *std::move(got.reply);
      }
    }
    return replies;
  }

  void Write(const HeldHandle& handle) {
    static constexpr std::array<std::byte, 100> kBytes{};
    WriteRequest write;
    write.handle = handle.handle;
    Send<Operation::kWrite>(write, 0, ++sequences_[0], kBytes);
    Receive<Operation::kWrite>();
  }

  HelloReply root;
  std::vector<HeldHandle> held;  // with its locks

 private:
  template <Operation kOp>
  struct Received {
    std::uint32_t slot = 0;
    std::optional<typename MessagesOf<kOp>::Reply> reply;
  };

  template <Operation kOp>
  void Send(const typename MessagesOf<kOp>::Request& request, std::uint32_t slot, std::uint32_t sequence,
            std::span<const std::byte> data = {}) {
    std::vector<std::byte> frame(kFrameHeaderSize);
    Encoder(frame).Put(request);
    FrameHeader header;
    header.data_size = static_cast<std::uint32_t>(data.size());
    header.body_size = static_cast<std::uint32_t>(frame.size() - kFrameHeaderSize);
    header.operation = static_cast<std::uint16_t>(kOp);
    header.slot = slot;
    header.sequence = sequence;
    EncodeFrameHeader(header, std::span(frame).template first<kFrameHeaderSize>());
    frame.insert(frame.end(), data.begin(), data.end());
    if (send(fd_.Get(), frame.data(), frame.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(frame.size())) {
      throw Broken();
    }
  }

  template <Operation kOp>
  Received<kOp> Receive() {
    std::array<std::byte, kFrameHeaderSize> head;
    FrameHeader header;
    std::vector<std::byte> body;
    do {  // there are notices, too: that what was watched is watched no more
      Read(fd_.Get(), head.data(), head.size());
      if (!DecodeFrameHeader(head, header)) Die("a malformed frame");
      body.resize(header.body_size);
      Read(fd_.Get(), body.data(), body.size());
    } while (header.kind != FrameKind::kReply);
    const std::string name(PropertiesOf(kOp)->name);
    if (header.error != 0) Die(name + ": " + std::strerror(header.error));
    auto reply = Decode<typename MessagesOf<kOp>::Reply>(body);
    if (!reply) Die(name + ": a malformed reply");
    return {header.slot, std::move(*reply)};
  }

  void SendAssert(const AssertRequest& request) {
    Send<Operation::kAssert>(request, kNoSlot, 0);
    ++asserts_;
  }

  std::uint16_t port_;
  std::string name_;
  UniqueFd fd_;
  int asserts_ = 0;  // not answered yet
  std::array<std::uint32_t, kInFlight> sequences_{};
};

Caller Anybody() {
  Caller caller;
  caller.pid = getpid();
  caller.program = "bench";
  return caller;
}

std::vector<LockRequest> LocksOf(Client& client) {
  std::vector<LockRequest> locks;
  for (HeldHandle& handle : client.held) {
    LockRequest lock;
    lock.handle = handle.handle;
    lock.mode = LockMode::kWrite;
    lock.owner = 1;
    lock.pid = getpid();
    locks.push_back(lock);
    handle.locks.push_back({lock.kind, lock.mode, lock.owner, lock.start, lock.last, lock.pid});
  }
  return locks;
}

void OpenAll(Client& client, int session, int handles) {
  std::vector<LookupRequest> lookups;
  for (int i = 0; i < handles; ++i) {
    lookups.push_back({client.root.root, "s" + std::to_string(session) + "-" + std::to_string(i), Anybody()});
  }
  std::vector<OpenRequest> opens;
  for (const NodeReply& node : client.Batch<Operation::kLookup>(lookups)) {
    opens.push_back({node.file, O_RDWR, Duration(0), Anybody()});
  }
  for (const OpenReply& open : client.Batch<Operation::kOpen>(opens)) {
    client.held.push_back({open.handle, open.proof, {}});
  }
}

// Waits until batond has closed the connections. False: stdin has ended.
bool ServerWent(const Client& client) {
  std::array<pollfd, 2> both{{{client.fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
  std::array<char, 4096> bytes;
  while (true) {
    poll(both.data(), both.size(), -1);
    if (both[1].revents != 0) return false;
    if (recv(client.fd(), bytes.data(), bytes.size(), 0) <= 0) return true;  // before that: notices
  }
}

void ResumeAll(std::vector<std::unique_ptr<Client>>& clients) {
  for (auto& client : clients) {
    while (!client->Connect()) usleep(2000);
  }
  for (auto& client : clients) client->SayHello();
  for (auto& client : clients) {
    const HelloReply reply = client->HearHello();
    if (!reply.resumed) Die("a session was not resumed after a restart");
    if (reply.must_assert) client->Assert();
  }
  for (auto& client : clients) client->HearAsserted();
}

// False: a connection broke meanwhile, as it does if it was made to a batond that was just ending.
bool Resumed(std::vector<std::unique_ptr<Client>>& clients) {
  try {
    ResumeAll(clients);
    return true;
  } catch (const Broken&) {
    return false;
  }
}

void SayAndWait(const char* what) {
  std::printf("%s\n", what);
  std::fflush(stdout);
  while (true) {
    const int got = std::getchar();
    if (got == '\n' || got == EOF) return;
  }
}

void KeepBusy(std::vector<std::unique_ptr<Client>>& clients, int rate) {
  using namespace std::chrono;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  auto next = steady_clock::now();
  for (std::size_t i = 0; poll(&input, 1, 0) == 0; i = (i + 1) % clients.size()) {
    clients[i]->Write(clients[i]->held.front());
    next = std::max(next + nanoseconds(1'000'000'000 / rate), steady_clock::now() - milliseconds(1));
    std::this_thread::sleep_until(next);
  }
}

}  // namespace

int main(int count, char** words) {
  if (count != 4 && count != 5) Die("see the head of bench/sessions.cpp");
  const int sessions = std::stoi(words[2]);
  const int handles = std::stoi(words[3]);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < sessions; ++i) {
    clients.push_back(std::make_unique<Client>(static_cast<std::uint16_t>(std::stoi(words[1])),
                                               "bench-" + std::to_string(i)));
  }
  SayAndWait("connected");
  for (int i = 0; i < sessions; ++i) OpenAll(*clients[static_cast<std::size_t>(i)], i, handles);
  SayAndWait("open");
  for (auto& client : clients) client->Batch<Operation::kLock>(LocksOf(*client));
  SayAndWait("locked");
  if (count == 5) {
    KeepBusy(clients, std::stoi(words[4]));
    return 0;
  }
  while (ServerWent(*clients.front())) {
    while (!Resumed(clients)) {
    }
    std::printf("resumed\n");
    std::fflush(stdout);
  }
}
