// EventLog: what happened, for people: the last events in memory for `baton events`, and each of them as one
// line of the server's log (rule T13). What it is not: a record that survives the server; the journal is.
//
// Append is called under the arbiter's lock: it takes a short mutex and never waits for a log line to be
// written or for a reader. Lines are written by a thread of its own. A reader that is slower than the events
// loses the oldest and is told how many. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/arbiter/types.h"
#include "server/state/state_store.h"

namespace baton {

struct LoggedEvent {
  std::uint64_t number = 0;  // counts up by one from 1, in the order of Append
  WallTime time;
  EventRecord event;
};

// The event as a sentence with key=value behind it. Names that came from a peer are quoted and escaped.
std::string DescribeEvent(const EventRecord& event);
// True for what somebody should look at: refused, late, flapping, owner mismatch, limit.
bool IsWarning(EventKind kind);

// How many of each since the start.
struct EventCounts {
  std::uint64_t takeovers = 0;
  std::uint64_t refused = 0;
  std::uint64_t late = 0;
};

class EventLog {
 public:
  struct Options {
    std::size_t capacity = 65'536;             // events
    std::size_t max_bytes = 64 * 1024 * 1024;  // names are long at times: the oldest go earlier then
    std::size_t lines_per_second = 200;        // log lines of one kind; beyond it one line says how many more
    std::function<WallTime()> now;             // default: the system's clock
    std::function<void(bool warning, const std::string& line)> write;  // default: base/log.h
  };
  struct Batch {
    std::vector<std::shared_ptr<const LoggedEvent>> events;
    std::uint64_t lost = 0;  // events between `from` and the first one still there
    std::uint64_t next = 0;  // where to read on
  };

  EventLog();
  explicit EventLog(Options options);
  ~EventLog();  // writes the lines that are still to be written

  void Append(EventRecord event);
  EventCounts Counts() const;

  // Up to `limit` events from number `from` on; 0 means the oldest that is there, without counting losses.
  Batch Read(std::uint64_t from, std::size_t limit) const;
  // The number of the first event at or after `time`; the next number to come if there is none.
  std::uint64_t FirstSince(WallTime time) const;

  // From now on each Append writes to this eventfd(2), which must not block. One subscriber; -1 ends it.
  void Subscribe(int event_fd);

 private:
  struct Limit {
    std::int64_t second = 0;
    std::size_t lines = 0;
    std::uint64_t more = 0;
  };

  static std::size_t SizeOf(const EventRecord& event);
  Batch ReadLocked(std::uint64_t from, std::size_t limit) const;
  void WriteLines();
  void WriteLine(const LoggedEvent& logged);
  void SayOmitted(EventKind kind, Limit& limit);
  void SayAllOmitted();

  Options options_;
  mutable std::mutex mutex_;
  std::condition_variable appended_;
  std::deque<std::shared_ptr<const LoggedEvent>> events_;
  std::size_t bytes_ = 0;
  std::uint64_t next_ = 1;
  EventCounts counts_;
  int subscriber_ = -1;
  bool ending_ = false;

  std::vector<Limit> limits_;  // by kind; only the writer, as is the next
  bool omitted_ = false;       // lines were left out since it was last said
  std::thread writer_;
};

}  // namespace baton
