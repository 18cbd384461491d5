#include "server/control/control_loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"

namespace baton {
namespace {

constexpr std::size_t kMaxListings = 8;  // each may hold a copy of all opens of the server
constexpr std::size_t kFirstClient = 3;  // in the poll set, behind our own descriptors

void Drain(int event_fd) {
  std::uint64_t count = 0;
  (void)!::read(event_fd, &count, sizeof count);
}

}  // namespace

void ControlServer::Loop::Mailbox::Wake() const {
  const std::uint64_t one = 1;
  (void)!::write(woken.Get(), &one, sizeof one);
}

ControlServer::Loop::Loop(ControlBackend& backend, EventLog& events, Options options, UniqueFd listener,
                          UniqueFd woken, UniqueFd appended, std::filesystem::path path)
    : backend_(backend),
      events_(events),
      options_(options),
      listener_(std::move(listener)),
      appended_(std::move(appended)),
      path_(std::move(path)),
      mailbox_(std::make_shared<Mailbox>()),
      host_{backend,
            events,
            options.max_request,
            [this] { return MayList(); },
            [this](std::uint64_t id, const Guid& guid) { Fence(id, guid); },
            [this] {
              // Before the follower reads for the first time, so that nothing falls in between.
              if (!std::exchange(subscribed_, true)) events_.Subscribe(appended_.Get());
            }} {
  mailbox_->woken = std::move(woken);
  thread_ = std::thread([this] { Run(); });
}

ControlServer::Loop::~Loop() {
  ending_ = true;
  mailbox_->Wake();
  thread_.join();
  if (subscribed_) events_.Subscribe(-1);
  ::unlink(path_.c_str());
}

bool ControlServer::Loop::MayList() const {
  return static_cast<std::size_t>(std::ranges::count_if(
             clients_, [](const auto& entry) { return entry.second.Lists(); })) < kMaxListings;
}

std::vector<pollfd> ControlServer::Loop::Wanted() const {
  std::vector<pollfd> wanted{
      {mailbox_->woken.Get(), POLLIN, 0}, {appended_.Get(), POLLIN, 0}, {listener_.Get(), POLLIN, 0}};
  for (const auto& [id, client] : clients_) {
    const int events = (client.WantsInput(host_) ? POLLIN : 0) | (client.WantsOutput() ? POLLOUT : 0);
    wanted.push_back({client.Socket(), static_cast<short>(events), 0});
  }
  return wanted;
}

int ControlServer::Loop::Timeout(Time now) const {
  Time first = Time::max();
  for (const auto& [id, client] : clients_) first = std::min(first, client.Deadline(options_.patience));
  if (first == Time::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - now).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

void ControlServer::Loop::Run() {
  while (!ending_) {
    std::vector<pollfd> ready = Wanted();
    if (::poll(ready.data(), ready.size(), Timeout(std::chrono::steady_clock::now())) < 0) {
      if (errno == EINTR) continue;
      log::Error("control: poll failed, the baton command cannot be answered any more: {}",
                 std::strerror(errno));
      return;
    }
    const Time now = std::chrono::steady_clock::now();
    if (ready[0].revents != 0) Drain(mailbox_->woken.Get());
    if (ready[1].revents != 0) Drain(appended_.Get());
    Deliver();
    Serve(ready, now);
    if (ready[2].revents != 0) Accept(now);
    PumpAll(now);
  }
}

// `ready` was made from the clients as they still are.
void ControlServer::Loop::Serve(const std::vector<pollfd>& ready, Time now) {
  auto client = clients_.begin();
  for (std::size_t at = kFirstClient; at < ready.size(); ++at) {
    if ((ready[at].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
      client = clients_.erase(client);  // nobody would read the answer any more
      continue;
    }
    if ((ready[at].revents & POLLIN) != 0) client->second.Receive(host_, now);
    ++client;
  }
}

void ControlServer::Loop::PumpAll(Time now) {
  for (auto at = clients_.begin(); at != clients_.end();) {
    const bool keep = at->second.Pump(host_, now) && now < at->second.Deadline(options_.patience);
    at = keep ? std::next(at) : clients_.erase(at);
  }
  const bool followed =
      std::ranges::any_of(clients_, [](const auto& entry) { return entry.second.Follows(); });
  if (subscribed_ && !followed) {
    subscribed_ = false;
    events_.Subscribe(-1);
  }
}

void ControlServer::Loop::Accept(Time now) {
  while (true) {
    UniqueFd socket(::accept4(listener_.Get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      Admit(std::move(socket), now);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) {
      log::Error("control: cannot accept a client: {}", std::strerror(errno));
      // Out of descriptors: the client stays in the queue, and poll would say so again at once.
      timespec pause{0, 10'000'000};
      ::nanosleep(&pause, nullptr);
    }
    return;
  }
}

void ControlServer::Loop::Admit(UniqueFd socket, Time now) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const bool known = ::getsockopt(socket.Get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  const bool allowed = known && (peer.uid == 0 || peer.uid == ::geteuid());
  const bool full = clients_.size() >= options_.max_clients;
  ControlClient client(++last_id_, std::move(socket), now);
  if (!allowed) {
    log::Warn("control: uid {} (pid {}) may not use the control socket: refused", peer.uid, peer.pid);
    client.Reject(EACCES, "only root and the user of batond may use the control socket");
  } else if (full) {
    client.Reject(EAGAIN, "too many clients of the control socket already; try again later");
  }
  if (!allowed || full) {
    client.Pump(host_, now);  // an empty socket takes the line at once
    return;
  }
  clients_.emplace(last_id_, std::move(client));
}

void ControlServer::Loop::Fence(std::uint64_t id, const Guid& guid) {
  backend_.Fence(guid, [mailbox = mailbox_, id, guid](ControlAnswer<> answer) {
    {
      const std::scoped_lock lock(mailbox->mutex);
      mailbox->letters.push_back({id, guid, std::move(answer)});
    }
    mailbox->Wake();
  });
}

void ControlServer::Loop::Deliver() {
  std::vector<Mailbox::Letter> letters;
  {
    const std::scoped_lock lock(mailbox_->mutex);
    letters.swap(mailbox_->letters);
  }
  for (const auto& letter : letters) {
    if (const auto at = clients_.find(letter.client); at != clients_.end())
      at->second.Fenced(letter.guid, letter.answer);
  }
}

}  // namespace baton
