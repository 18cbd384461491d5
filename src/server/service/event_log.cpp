#include "server/service/event_log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace baton {
namespace {

constexpr std::size_t kKinds = static_cast<std::size_t>(EventKind::kSessionEnded) + 1;
constexpr std::size_t kLinesAtOnce = 256;

WallTime SystemNow() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

void WriteToLog(bool warning, const std::string& line) {
  if (warning) {
    log::Warn("{}", line);
  } else {
    log::Info("{}", line);
  }
}

}  // namespace

EventLog::EventLog() : EventLog(Options()) {}

EventLog::EventLog(Options options) : options_(std::move(options)), limits_(kKinds) {
  if (!options_.now) options_.now = SystemNow;
  if (!options_.write) options_.write = WriteToLog;
  writer_ = std::thread([this] { WriteLines(); });
}

EventLog::~EventLog() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  appended_.notify_all();
  writer_.join();
}

std::size_t EventLog::SizeOf(const EventRecord& event) {
  return sizeof(LoggedEvent) + event.from_node.size() + event.to_node.size() + event.program.size() +
         event.file.size() + event.detail.size();
}

EventCounts EventLog::Counts() const {
  const std::scoped_lock lock(mutex_);
  return counts_;
}

void EventLog::Append(EventRecord event) {
  auto logged = std::make_shared<LoggedEvent>();
  const std::size_t size = SizeOf(event);
  logged->time = options_.now();
  logged->event = std::move(event);
  std::vector<std::shared_ptr<const LoggedEvent>> dropped;  // freed without the mutex
  {
    const std::scoped_lock lock(mutex_);
    logged->number = next_++;
    counts_.takeovers += logged->event.kind == EventKind::kTakeover;
    counts_.refused += logged->event.kind == EventKind::kRefused;
    counts_.late += logged->event.kind == EventKind::kLate;
    events_.push_back(std::move(logged));
    bytes_ += size;
    while (events_.size() > options_.capacity || (bytes_ > options_.max_bytes && events_.size() > 1)) {
      bytes_ -= SizeOf(events_.front()->event);
      dropped.push_back(std::move(events_.front()));
      events_.pop_front();
    }
    if (subscriber_ >= 0) {
      const std::uint64_t one = 1;
      // EAGAIN: the counter is full, so the subscriber is awake already.
      (void)!::write(subscriber_, &one, sizeof one);
    }
  }
  appended_.notify_one();
}

EventLog::Batch EventLog::ReadLocked(std::uint64_t from, std::size_t limit) const {
  Batch batch;
  const std::uint64_t first = next_ - events_.size();
  if (from != 0 && from < first) batch.lost = first - from;
  const std::uint64_t begin = std::clamp(from, first, next_);
  const std::size_t count = std::min<std::size_t>(limit, next_ - begin);
  const auto at = events_.begin() + static_cast<std::ptrdiff_t>(begin - first);
  batch.events.assign(at, at + static_cast<std::ptrdiff_t>(count));
  batch.next = begin + count;
  return batch;
}

EventLog::Batch EventLog::Read(std::uint64_t from, std::size_t limit) const {
  const std::scoped_lock lock(mutex_);
  return ReadLocked(from, limit);
}

std::uint64_t EventLog::FirstSince(WallTime time) const {
  const std::scoped_lock lock(mutex_);
  // Not a binary search: the wall clock may have been set back in between.
  const auto at = std::ranges::find_if(events_, [&](const auto& logged) { return logged->time >= time; });
  return at == events_.end() ? next_ : (*at)->number;
}

void EventLog::Subscribe(int event_fd) {
  const std::scoped_lock lock(mutex_);
  subscriber_ = event_fd;
}

void EventLog::WriteLines() {
  std::uint64_t next = 1;
  while (true) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      const auto due = [&] { return ending_ || next < next_; };
      if (!omitted_) {
        appended_.wait(lock, due);
      } else if (!appended_.wait_for(lock, std::chrono::seconds(1), due)) {
        omitted_ = false;
      }
      if (ending_ && next == next_) break;
      batch = ReadLocked(next, kLinesAtOnce);
    }
    if (batch.events.empty()) SayAllOmitted();
    if (batch.lost > 0) {
      options_.write(
          true,
          fmt::format("events: {} events have no line here: the log was slower than they came", batch.lost));
    }
    for (const auto& logged : batch.events) WriteLine(*logged);
    next = batch.next;
  }
  SayAllOmitted();
}

void EventLog::SayAllOmitted() {
  for (std::size_t kind = 0; kind < limits_.size(); ++kind)
    SayOmitted(static_cast<EventKind>(kind), limits_[kind]);
}

void EventLog::WriteLine(const LoggedEvent& logged) {
  const EventKind kind = logged.event.kind;
  Limit& limit = limits_[static_cast<std::size_t>(kind)];
  const std::int64_t second =
      std::chrono::floor<std::chrono::seconds>(logged.time).time_since_epoch().count();
  if (second != limit.second) {
    SayOmitted(kind, limit);
    limit = {second, 0, 0};
  }
  if (limit.lines >= options_.lines_per_second) {
    ++limit.more;
    omitted_ = true;
    return;
  }
  ++limit.lines;
  options_.write(IsWarning(kind), DescribeEvent(logged.event));
}

void EventLog::SayOmitted(EventKind kind, Limit& limit) {
  if (limit.more == 0) return;
  options_.write(IsWarning(kind),
                 fmt::format("events: {} more events of kind {} in that second have no line here; `baton "
                             "events` lists them",
                             limit.more, EventKindName(kind)));
  limit.more = 0;
}

}  // namespace baton
