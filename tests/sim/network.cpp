#include "sim/network.h"

#include <algorithm>
#include <utility>

#include "protocol/operations.h"

namespace baton::sim {

using protocol::FrameHeader;
using protocol::FrameKind;
using protocol::Operation;

namespace {

// As Connection::Limits, for leases of a second and not of ten.
constexpr Duration kRetryAfter = std::chrono::milliseconds(20);
constexpr Duration kAttemptAgain = std::chrono::milliseconds(50);
constexpr Duration kSilence = std::chrono::milliseconds(250);

bool IsOrdered(const FrameHeader& header) {
  const auto properties = protocol::PropertiesOf(static_cast<Operation>(header.operation));
  return properties && properties->order == protocol::Order::kOrdered;
}

bool IsPing(const FrameHeader& header) {
  return header.operation == static_cast<std::uint16_t>(Operation::kPing) && header.slot == protocol::kNoSlot;
}

}  // namespace

// --- A link

class Link::ServerEnd final : public server::Connection {
 public:
  ServerEnd(std::weak_ptr<Link> link, std::string peer) : link_(std::move(link)), peer_(std::move(peer)) {}

  void Send(FrameHeader header, std::span<const std::byte> body, std::span<const std::byte> data) override {
    if (const auto link = link_.lock(); link && !closed_) {
      link->SendDown({header, {body.begin(), body.end()}, {data.begin(), data.end()}});
    }
  }
  void Close() override {
    if (std::exchange(closed_, true)) return;
    if (const auto link = link_.lock()) link->CloseByServer();
  }
  bool IsClosed() const override { return closed_; }
  const std::string& PeerName() const override { return peer_; }

 private:
  const std::weak_ptr<Link> link_;
  const std::string peer_;
  bool closed_ = false;
};

Link::Link(Scheduler& scheduler, Path& path, Process& node, Listener& server, std::string peer)
    : scheduler_(scheduler),
      path_(path),
      node_(node),
      server_process_(*server.process),
      handler_(*server.handler),
      peer_(std::move(peer)) {}

void Link::Open() {
  end_ = std::make_shared<ServerEnd>(weak_from_this(), peer_);
}

void Link::Carry(OneWay& way, bool is_cut, Process& to, std::function<void()> arrival) {
  if (is_cut || !way.held.empty()) {
    way.held.push_back(std::move(arrival));
  } else {
    Arrive(way, to, std::move(arrival));
  }
}

void Link::Arrive(OneWay& way, Process& to, std::function<void()> arrival) {
  const Duration delay = path_.delay + scheduler_.random().Between({}, path_.jitter);
  way.last = std::max(way.last + Duration(1), scheduler_.Now() + delay);
  scheduler_.At(way.last, to, std::move(arrival));
}

void Link::PathChanged() {
  while (!path_.up_is_cut && !up_.held.empty()) {
    Arrive(up_, server_process_, std::move(up_.held.front()));
    up_.held.pop_front();
  }
  while (!path_.down_is_cut && !down_.held.empty()) {
    Arrive(down_, node_, std::move(down_.held.front()));
    down_.held.pop_front();
  }
}

void Link::SendUp(WireFrame frame) {
  if (node_closed_) return;
  Carry(up_, path_.up_is_cut, server_process_,
        [self = shared_from_this(), frame = std::move(frame)]() mutable {
          self->FrameArrives(std::move(frame));
        });
}

void Link::SendDown(WireFrame frame) {
  Carry(down_, path_.down_is_cut, node_, [self = shared_from_this(), frame = std::move(frame)]() mutable {
    if (!self->node_closed_) self->on_frame(std::move(frame));
  });
}

void Link::CloseByNode() {
  if (std::exchange(node_closed_, true)) return;
  Carry(up_, path_.up_is_cut, server_process_, [self = shared_from_this()] {
    if (std::exchange(self->server_closed_, true)) return;
    self->end_->Close();
    self->handler_.OnClosed(self->end_);
    self->end_->Attach(nullptr);
  });
}

// No further frame begins; the service hears of it on another thread.
void Link::CloseByServer() {
  if (std::exchange(server_closed_, true)) return;
  to_run_.clear();
  scheduler_.After(Duration(1000), server_process_, [self = shared_from_this()] {
    self->handler_.OnClosed(self->end_);
    self->end_->Attach(nullptr);
  });
  Carry(down_, path_.down_is_cut, node_, [self = shared_from_this()] {
    if (!self->node_closed_) self->on_broken("batond closed the connection");
  });
}

void Link::ServerDied() {
  if (std::exchange(server_closed_, true)) return;
  Carry(down_, path_.down_is_cut, node_, [self = shared_from_this()] {
    if (!self->node_closed_) self->on_broken("Connection reset by peer");
  });
}

void Link::FrameArrives(WireFrame frame) {
  if (server_closed_) return;
  handler_.OnHeard(end_);
  to_run_.push_back(std::move(frame));
  RunFrames();
}

// Side by side, except that nothing overtakes what is ordered (server/service/connection.h).
void Link::RunFrames() {
  while (!ordered_runs_ && !to_run_.empty()) {
    auto frame = std::make_shared<WireFrame>(std::move(to_run_.front()));
    to_run_.pop_front();
    const bool is_ordered = ordered_runs_ = IsOrdered(frame->header);
    const Duration delay{static_cast<std::int64_t>(scheduler_.random().Below(20'000))};
    scheduler_.After(delay, server_process_, [self = shared_from_this(), frame, is_ordered] {
      self->handler_.OnFrame(self->end_, frame->header, frame->body, frame->data);
      if (!is_ordered) return;
      self->ordered_runs_ = false;
      self->RunFrames();
    });
  }
}

// --- The node's transport

SimTransport::SimTransport(Scheduler& scheduler, Process& node, Path& path, Listener& server,
                           const Clock& clock, std::string name)
    : scheduler_(scheduler),
      node_(node),
      path_(path),
      server_(server),
      clock_(clock),
      name_(std::move(name)) {}

void SimTransport::Start(Handler& handler) {
  handler_ = &handler;
  scheduler_.After({}, node_, [this] { Run(); });
  Post([this] { Connect(); });
  Tick();
}

void SimTransport::Run() {
  for (;;) {
    while (tasks_.empty()) scheduler_.Park(this);
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    if (!stopped_) task();
  }
}

void SimTransport::Post(std::function<void()> task) {
  tasks_.push_back(std::move(task));
  scheduler_.Wake(this);
}

void SimTransport::Tick() {
  scheduler_.After(kTickInterval, node_, [this] {
    Wake();
    Tick();
  });
  if (!link_ || is_dropped_) return;
  const Instant now = clock_.Now();
  if (pinged_ != Instant{} && now - pinged_ >= kSilence) {
    Drop(link_id_, "no answer");
  } else if (pinged_ == Instant{} && now - last_heard_ >= ping_after_) {
    pinged_ = now;
    Send(link_id_, {.operation = static_cast<std::uint16_t>(Operation::kPing), .kind = FrameKind::kRequest},
         {}, {});
  }
}

void SimTransport::Wake() {
  if (std::exchange(tick_is_posted_, true)) return;
  Post([this] {
    tick_is_posted_ = false;
    handler_->OnTick();
  });
}

bool SimTransport::Send(LinkId link, const FrameHeader& header, std::span<const std::byte> body,
                        std::span<const std::byte> data) {
  if (!link_ || is_dropped_ || link != link_id_) return false;
  link_->SendUp({header, {body.begin(), body.end()}, {data.begin(), data.end()}});
  // Another thread may come in between here, with a call or with the answer to this one.
  if (header.slot != protocol::kNoSlot && scheduler_.random().Chance(0.05)) scheduler_.Sleep(Duration(1));
  return true;
}

void SimTransport::Drop(LinkId link, std::string_view reason) {
  if (!link_ || link != link_id_ || std::exchange(is_dropped_, true)) return;
  const Duration wait = is_established_ ? Duration{} : kAttemptAgain;
  Post([this, link, why = std::string(reason), wait] {
    if (link_ && link == link_id_) TakeDown(why, wait);
  });
}

void SimTransport::Establish(LinkId link, Duration lease) {
  if (link != link_id_) return;
  is_established_ = true;
  ping_after_ = lease / 20;
}

void SimTransport::TakeDown(std::string reason, Duration wait) {
  link_->CloseByNode();
  link_.reset();
  link_id_ = kNoLink;
  handler_->OnDown(reason, last_heard_);
  scheduler_.After(std::max(wait, kRetryAfter), node_, [this] { Post([this] { Connect(); }); });
}

void SimTransport::Connect() {
  if (link_ || stopped_) return;
  const Duration trip = path_.delay + scheduler_.random().Between({}, path_.jitter);
  scheduler_.After(2 * trip, node_, [this] { Post([this] { Attempted(); }); });
}

void SimTransport::Attempted() {
  if (link_) return;
  if (!path_.IsWhole() || server_.process == nullptr || server_.process->frozen) {
    const bool is_refused = path_.IsWhole() && server_.process == nullptr;
    handler_->OnUnreachable(is_refused ? ECONNREFUSED : ETIMEDOUT, "no answer");
    scheduler_.After(is_refused ? kRetryAfter : kAttemptAgain, node_,
                     [this] { Post([this] { Connect(); }); });
    return;
  }
  is_dropped_ = is_established_ = false;
  last_heard_ = clock_.Now();
  pinged_ = Instant{};
  link_id_ = LinkId{++links_};
  link_ = std::make_shared<Link>(scheduler_, path_, node_, server_, name_ + ":" + std::to_string(links_));
  const LinkId id = link_id_;
  link_->on_frame = [this, id](WireFrame frame) {
    Post([this, id, frame = std::move(frame)] {
      if (id != link_id_ || is_dropped_) return;
      last_heard_ = clock_.Now();
      pinged_ = Instant{};
      if (!IsPing(frame.header)) handler_->OnFrame(frame.header, frame.body, frame.data);
    });
  };
  link_->on_broken = [this, id](const std::string& reason) { Drop(id, reason); };
  link_->Open();
  std::erase_if(all_links_, [](const auto& link) { return link.expired(); });
  all_links_.push_back(link_);
  server_.links.push_back(link_);
  handler_->OnUp(link_id_, "server");
}

void SimTransport::PathChanged() {
  for (const auto& weak : all_links_) {
    if (const auto link = weak.lock()) link->PathChanged();
  }
}

void SimTransport::NodeDied() {
  for (const auto& weak : all_links_) {
    if (const auto link = weak.lock()) link->NodeDied();
  }
}

}  // namespace baton::sim
