// LateHandles: whose handles a fence took, so that what their programs still send becomes an event (rule
// T13). Not what refuses it: a handle that is gone is refused anyway. Bounded: the oldest are forgotten, and
// their late requests are refused without a word. Not thread-safe; the coordinator's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/ids.h"
#include "server/arbiter/types.h"

namespace baton::server {

class LateHandles {
 public:
  static constexpr std::size_t kMost = 4096;

  // `event` is what a late request through the handle will be.
  void Add(HandleId handle, SessionId session, EventRecord event) {
    if (order_.size() == kMost) {
      entries_.erase(order_.front());
      order_.pop_front();
    }
    order_.push_back(Raw(handle));
    entries_.emplace(Raw(handle), Entry{session, std::move(event)});
  }

  // The event, once a handle; only for the session that had it.
  std::optional<EventRecord> Take(HandleId handle, SessionId session) {
    const auto at = entries_.find(Raw(handle));
    if (at == entries_.end() || at->second.session != session) return std::nullopt;
    EventRecord event = std::move(at->second.event);
    entries_.erase(at);
    return event;
  }

 private:
  struct Entry {
    SessionId session{};
    EventRecord event;
  };
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::deque<std::uint64_t> order_;  // also of those that were taken
};

}  // namespace baton::server
