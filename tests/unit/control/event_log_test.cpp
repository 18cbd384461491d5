// Rule T13: every takeover, refusal and late request is an event, kept for `baton events` and written as one
// line.
#include "server/service/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/poll.h>
#include <unistd.h>

#include <future>
#include <set>

#include "base/unique_fd.h"
#include "server/control/json.h"

namespace baton {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using namespace std::chrono_literals;

const Guid kGuid = *ParseGuid("6f1c0000-0000-4000-8000-0000000000ab");

EventRecord Takeover() {
  EventRecord event;
  event.kind = EventKind::kTakeover;
  event.guid = kGuid;
  event.old_epoch = Epoch{3};
  event.new_epoch = Epoch{4};
  event.from_node = "alpha";
  event.to_node = "beta";
  event.uid = 999;
  event.pid = 4711;
  event.program = "redis-server";
  event.file = "/db/dump.rdb";
  event.handles = 5;
  event.locks = 2;
  event.took = 812us;
  event.detail = "higher version";
  return event;
}

EventRecord Numbered(std::uint64_t number) {
  EventRecord event;
  event.kind = EventKind::kStarted;
  event.handles = number;
  return event;
}

EventLog::Options Quiet() {
  EventLog::Options options;
  options.write = [](bool, const std::string&) {};
  return options;
}

TEST(EventJson, HasExactlyTheseKeys) {
  const WallTime time{std::chrono::sys_days(std::chrono::year(2026) / 11 / 3) + 4h + 5min + 6s + 78us};
  const Json json = ToJson(LoggedEvent{9, time, Takeover()});
  EXPECT_EQ(
      ToLine(json),
      R"({"time":"2026-11-03T04:05:06.000078Z","kind":"takeover","guid":"6f1c0000-0000-4000-8000-0000000000ab",)"
      R"("old_epoch":3,"new_epoch":4,"from_node":"alpha","to_node":"beta","uid":999,"pid":4711,)"
      R"("program":"redis-server","file":"/db/dump.rdb","handles":5,"locks":2,"micros":812,)"
      R"("detail":"higher version"})"
      "\n");
  EXPECT_TRUE(ToJson(LoggedEvent{1, time, Numbered(0)})["guid"].is_null());
}

TEST(EventJson, IsOneLineWhateverTheNames) {
  EventRecord event = Takeover();
  event.file = "/a\nb\xff\"";
  const std::string line = ToLine(ToJson(LoggedEvent{1, {}, event}));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(Json::parse(line)["file"], "/a\nb\xef\xbf\xbd\"");
}

TEST(EventKinds, HaveTheirWords) {
  std::vector<std::string> names;
  for (int kind = 0; kind <= static_cast<int>(EventKind::kSessionEnded); ++kind) {
    names.emplace_back(EventKindName(static_cast<EventKind>(kind)));
  }
  EXPECT_THAT(names,
              ElementsAre("started", "takeover", "fenced", "refused", "late", "owner-mismatch", "flapping",
                          "limit", "session-began", "session-silent", "session-heard", "session-ended"));
}

TEST(EventLine, SaysWhatHappenedAndHoldsTheValues) {
  const std::string line = DescribeEvent(Takeover());
  EXPECT_THAT(
      line, StartsWith(
                "takeover: instance 6f1c0000-0000-4000-8000-0000000000ab moved from alpha to beta in 812us"));
  for (const char* part : {"(higher version)", " old_epoch=3", " new_epoch=4", " from_node=\"alpha\"",
                           " to_node=\"beta\"", " uid=999 pid=4711", " program=\"redis-server\"",
                           " file=\"/db/dump.rdb\"", " handles=5 locks=2", " micros=812"}) {
    EXPECT_THAT(line, HasSubstr(part));
  }
}

TEST(EventLine, CannotBeForgedByAName) {
  EventRecord event = Takeover();
  event.kind = EventKind::kRefused;
  event.file = "/x\n<2>takeover: forged \x1b[2J";
  event.program = "a\" pid=1";
  EXPECT_THAT(DescribeEvent(event),
              AllOf(Not(HasSubstr("\n")), Not(HasSubstr("\x1b")), HasSubstr("program=\"a\\\" pid=1\"")));
}

TEST(EventLog, WritesEachEventAsOneLineOfItsLevel) {
  std::vector<std::pair<bool, std::string>> lines;
  {
    EventLog::Options options;
    options.write = [&](bool warning, const std::string& line) { lines.emplace_back(warning, line); };
    EventLog log(std::move(options));
    for (int kind = 0; kind <= static_cast<int>(EventKind::kSessionEnded); ++kind) {
      EventRecord event = Takeover();
      event.kind = static_cast<EventKind>(kind);
      log.Append(event);
    }
  }
  ASSERT_EQ(lines.size(), 12u);
  std::set<std::string> warnings;
  for (const auto& [warning, line] : lines) {
    if (warning) warnings.insert(line.substr(0, line.find(':')));
  }
  EXPECT_THAT(warnings, ElementsAre("flapping", "late", "limit", "owner-mismatch", "refused"));
}

TEST(EventLog, LimitsTheLinesOfOneKindAndSaysSo) {
  std::vector<std::string> lines;
  {
    EventLog::Options options;
    options.lines_per_second = 3;
    options.now = [] { return WallTime(1s); };
    options.write = [&](bool, const std::string& line) { lines.push_back(line); };
    EventLog log(std::move(options));
    for (int at = 0; at < 10; ++at) log.Append(Numbered(1));
    log.Append(Takeover());
  }
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_THAT(lines[3], StartsWith("takeover: "));
  EXPECT_THAT(lines[4], HasSubstr("7 more events of kind started"));
}

TEST(EventLog, LosesTheOldestAndCountsThem) {
  EventLog::Options options = Quiet();
  options.capacity = 10;
  EventLog log(std::move(options));
  for (std::uint64_t number = 1; number <= 25; ++number) log.Append(Numbered(number));
  const auto all = log.Read(0, 100);
  EXPECT_EQ(all.lost, 0u) << "who asks for the oldest has lost nothing";
  ASSERT_EQ(all.events.size(), 10u);
  EXPECT_EQ(all.events.front()->number, 16u);
  EXPECT_EQ(all.events.front()->event.handles, 16u);
  EXPECT_EQ(all.next, 26u);
  const auto slow = log.Read(11, 3);
  EXPECT_EQ(slow.lost, 5u);
  ASSERT_EQ(slow.events.size(), 3u);
  EXPECT_EQ(slow.next, 19u);
  EXPECT_TRUE(log.Read(26, 5).events.empty());
  EXPECT_EQ(log.Read(999, 5).next, 26u);
}

TEST(EventLog, IsBoundedInBytesToo) {
  EventLog::Options options = Quiet();
  options.max_bytes = 100'000;
  EventLog log(std::move(options));
  EventRecord event = Takeover();
  event.file = std::string(4096, 'x');
  for (int at = 0; at < 1000; ++at) log.Append(event);
  EXPECT_LT(log.Read(0, 1000).events.size(), 25u);
  event.file = std::string(1'000'000, 'x');
  log.Append(event);
  EXPECT_EQ(log.Read(0, 1000).events.size(), 1u) << "the newest stays";
}

TEST(EventLog, FindsTheFirstSinceATime) {
  EventLog::Options options = Quiet();
  auto now = std::make_shared<WallTime>();
  options.now = [now] { return *now; };
  EventLog log(std::move(options));
  for (int second = 1; second <= 5; ++second) {
    *now = WallTime(std::chrono::seconds(second));
    log.Append(Numbered(1));
  }
  EXPECT_EQ(log.FirstSince(WallTime(0s)), 1u);
  EXPECT_EQ(log.FirstSince(WallTime(3s)), 3u);
  EXPECT_EQ(log.FirstSince(WallTime(6s)), 6u);
}

TEST(EventLog, WakesItsSubscriber) {
  EventLog log(Quiet());
  const UniqueFd woken(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::uint64_t count = 0;
  log.Append(Numbered(1));
  EXPECT_EQ(::read(woken.Get(), &count, sizeof count), -1);
  log.Subscribe(woken.Get());
  log.Append(Numbered(2));
  EXPECT_EQ(::read(woken.Get(), &count, sizeof count), 8);
  log.Subscribe(-1);
  log.Append(Numbered(3));
  EXPECT_EQ(::read(woken.Get(), &count, sizeof count), -1);
}

// Append is called under the arbiter's lock.
TEST(EventLog, AppendsWhileTheLogIsStuck) {
  std::promise<void> stuck;
  std::promise<void> release;
  std::vector<std::string> lines;
  {
    EventLog::Options options;
    options.capacity = 10;
    options.write = [&, first = true](bool, const std::string& line) mutable {
      if (std::exchange(first, false)) {
        stuck.set_value();
        release.get_future().wait();
      }
      lines.push_back(line);
    };
    EventLog log(std::move(options));
    log.Append(Numbered(1));
    stuck.get_future().wait();
    for (std::uint64_t number = 2; number <= 31; ++number) log.Append(Numbered(number));
    EXPECT_EQ(log.Read(0, 100).events.back()->number, 31u);
    release.set_value();
  }
  ASSERT_EQ(lines.size(), 12u);
  EXPECT_THAT(lines[1], HasSubstr("20 events have no line here"));
}

}  // namespace
}  // namespace baton
