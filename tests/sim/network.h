// Network: the links between the nodes of a simulation and its server. A link is one TCP connection: frames
// arrive whole and in order, later than they were sent. A path that is cut, in one direction or both, holds
// back what was sent on it, as TCP would, and brings it when the cut is mended: perhaps long after the node
// has given the link up and made another. Not simulated: bytes of frames, and what TCP's buffers refuse.
//
// Both ends are processes: each frame is handled by a fiber of the process that gets it.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fuse/net/transport.h"
#include "server/service/connection.h"
#include "sim/scheduler.h"

namespace baton::sim {

struct WireFrame {
  protocol::FrameHeader header;
  std::vector<std::byte> body;
  std::vector<std::byte> data;
};

// One node's way to the server and back.
struct Path {
  Duration delay = std::chrono::microseconds(100);
  Duration jitter = std::chrono::microseconds(200);
  bool up_is_cut = false;    // to the server
  bool down_is_cut = false;  // from it
  bool IsWhole() const { return !up_is_cut && !down_is_cut; }
};

class Link;

// What the server listens with: null while it is down.
class Listener {
 public:
  Process* process = nullptr;
  server::FrameHandler* handler = nullptr;
  std::vector<std::weak_ptr<Link>> links;        // of this life
  std::vector<std::weak_ptr<Link>> of_the_dead;  // of lives that ended without a word
};

class Link : public std::enable_shared_from_this<Link> {
 public:
  // The node's end.
  std::function<void(WireFrame)> on_frame;
  std::function<void(std::string)> on_broken;

  Link(Scheduler& scheduler, Path& path, Process& node, Listener& server, std::string peer);
  void Open();

  void SendUp(WireFrame frame);    // by the node
  void SendDown(WireFrame frame);  // by the server
  // The node gives it up: what it sent still arrives, then the server hears of it.
  void CloseByNode();
  void CloseByServer();
  // A process died, and its kernel says so where a path leads.
  void NodeDied() { CloseByNode(); }
  void ServerDied();
  // The path has changed: what was held back goes on.
  void PathChanged();

 private:
  class ServerEnd;
  struct OneWay {
    std::deque<std::function<void()>> held;  // while the path is cut
    Instant last{};
  };

  void Carry(OneWay& way, bool is_cut, Process& to, std::function<void()> arrival);
  void Arrive(OneWay& way, Process& to, std::function<void()> arrival);
  void FrameArrives(WireFrame frame);
  void RunFrames();

  Scheduler& scheduler_;
  Path& path_;
  Process& node_;
  Process& server_process_;
  server::FrameHandler& handler_;
  const std::string peer_;
  OneWay up_;
  OneWay down_;
  bool node_closed_ = false;
  bool server_closed_ = false;
  std::shared_ptr<ServerEnd> end_;
  std::deque<WireFrame> to_run_;
  bool ordered_runs_ = false;
};

// A mount's transport: one link after the other, as fuse/net/connection.h makes them, with its times.
class SimTransport final : public Transport {
 public:
  SimTransport(Scheduler& scheduler, Process& node, Path& path, Listener& server, const Clock& clock,
               std::string name);

  void Start(Handler& handler) override;
  void Stop() override { stopped_ = true; }
  bool Send(LinkId link, const protocol::FrameHeader& header, std::span<const std::byte> body,
            std::span<const std::byte> data) override;
  void Drop(LinkId link, std::string_view reason) override;
  void Establish(LinkId link, Duration lease) override;
  void Wake() override;

  void PathChanged();
  // As its kernel closes what a dead process had.
  void NodeDied();

 private:
  // On the transport's fiber, one after the other.
  void Post(std::function<void()> task);
  void Run();
  void Tick();
  void Connect();
  void Attempted();
  void TakeDown(std::string reason, Duration wait);

  Scheduler& scheduler_;
  Process& node_;
  Path& path_;
  Listener& server_;
  const Clock& clock_;
  const std::string name_;
  Handler* handler_ = nullptr;
  std::deque<std::function<void()>> tasks_;
  bool stopped_ = false;
  bool tick_is_posted_ = false;
  std::shared_ptr<Link> link_;
  std::vector<std::weak_ptr<Link>> all_links_;
  LinkId link_id_ = kNoLink;
  std::uint64_t links_ = 0;
  bool is_dropped_ = false;
  Duration ping_after_ = std::chrono::milliseconds(50);
  bool is_established_ = false;
  Instant last_heard_{};
  Instant pinged_{};
};

}  // namespace baton::sim
