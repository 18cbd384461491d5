// The poll loop behind ControlServer, private to it. Its thread owns everything but the mailbox.
#pragma once

#include <sys/poll.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/control/control_client.h"
#include "server/control/control_server.h"

namespace baton {

class ControlServer::Loop {
 public:
  Loop(ControlBackend& backend, EventLog& events, Options options, UniqueFd listener, UniqueFd woken,
       UniqueFd appended, std::filesystem::path path);
  ~Loop();

 private:
  using Time = ControlClient::Time;

  // What other threads have for the loop. It outlives the loop while a fence is under way.
  struct Mailbox {
    struct Letter {
      std::uint64_t client = 0;
      Guid guid{};
      ControlAnswer<> answer;
    };
    std::mutex mutex;
    std::vector<Letter> letters;
    UniqueFd woken;

    void Wake() const;
  };

  void Run();
  std::vector<pollfd> Wanted() const;
  int Timeout(Time now) const;
  void Accept(Time now);
  void Admit(UniqueFd socket, Time now);
  void Deliver();
  void Serve(const std::vector<pollfd>& ready, Time now);
  void PumpAll(Time now);
  void Fence(std::uint64_t id, const Guid& guid);
  bool MayList() const;

  ControlBackend& backend_;
  EventLog& events_;
  Options options_;
  UniqueFd listener_;
  UniqueFd appended_;
  std::filesystem::path path_;
  std::shared_ptr<Mailbox> mailbox_;
  ControlClient::Host host_;
  std::map<std::uint64_t, ControlClient> clients_;
  std::uint64_t last_id_ = 0;
  bool subscribed_ = false;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace baton
