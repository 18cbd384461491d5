// Deadlocks among waiting locks. L2.
#include "server/arbiter/wait_graph.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

Lock Want(std::uint64_t owner, LockType type, std::uint64_t byte) {
  return {.owner = LockOwner(SessionId{owner % 2 + 1}, owner),
          .range = {byte, byte},
          .handle = HandleId{owner},
          .type = type};
}
Lock Write(std::uint64_t owner, std::uint64_t byte) {
  return Want(owner, LockType::kWrite, byte);
}
Lock Read(std::uint64_t owner, std::uint64_t byte) {
  return Want(owner, LockType::kRead, byte);
}

TEST(WaitGraph, ACircleOfTwoAcrossFilesAndSessions) {
  LockTable a;
  LockTable b;
  WaitGraph graph;
  a.Apply(Write(1, 0));
  b.Apply(Write(2, 0));
  EXPECT_FALSE(graph.WouldDeadlock(b, Write(1, 0)));
  graph.Add(RequestId{1}, b, Write(1, 0));
  EXPECT_TRUE(graph.WouldDeadlock(a, Write(2, 0)));
  graph.Remove(RequestId{1});
  EXPECT_FALSE(graph.WouldDeadlock(a, Write(2, 0)));
  EXPECT_EQ(graph.size(), 0u);
}

TEST(WaitGraph, TwoReadersThatBothUpgrade) {
  LockTable table;
  WaitGraph graph;
  table.Apply(Read(1, 0));
  table.Apply(Read(2, 0));
  EXPECT_FALSE(graph.WouldDeadlock(table, Write(1, 0)));
  graph.Add(RequestId{1}, table, Write(1, 0));
  EXPECT_TRUE(graph.WouldDeadlock(table, Write(2, 0)));
}

TEST(WaitGraph, ALongCircleIsFoundAndAChainIsNone) {
  constexpr std::uint64_t kOwners = 2'000;
  LockTable table;
  WaitGraph graph;
  for (std::uint64_t n = 0; n < kOwners; ++n) table.Apply(Write(n, n));
  for (std::uint64_t n = 0; n + 1 < kOwners; ++n) {
    ASSERT_FALSE(graph.WouldDeadlock(table, Write(n, n + 1)));
    graph.Add(RequestId{n + 1}, table, Write(n, n + 1));
  }
  EXPECT_TRUE(graph.WouldDeadlock(table, Write(kOwners - 1, 0)));
  EXPECT_FALSE(graph.WouldDeadlock(table, Write(kOwners, 0))) << "an outsider closes no circle";
}

TEST(WaitGraph, ACircleThroughTheSecondBlocker) {
  LockTable table;
  WaitGraph graph;
  table.Apply(Read(1, 0));
  table.Apply(Read(2, 0));
  table.Apply(Write(3, 5));
  graph.Add(RequestId{1}, table, Write(3, 0));  // behind 1 and 2
  EXPECT_TRUE(graph.WouldDeadlock(table, Write(2, 5)));
  EXPECT_FALSE(graph.WouldDeadlock(table, Write(4, 5)));
}

TEST(WaitGraph, FollowsTheTablesAsTheyAreNow) {
  LockTable a;
  LockTable b;
  WaitGraph graph;
  a.Apply(Write(1, 0));
  b.Apply(Write(2, 0));
  graph.Add(RequestId{1}, b, Write(1, 0));
  b.Unlock(Write(2, 0).owner, ByteRange{});
  b.Apply(Write(3, 0));
  EXPECT_FALSE(graph.WouldDeadlock(a, Write(2, 0))) << "1 waits for 3 by now";
  EXPECT_TRUE(graph.WouldDeadlock(a, Write(3, 0)));
}

TEST(WaitGraph, AnOwnerMayWaitTwice) {
  LockTable table;
  WaitGraph graph;
  table.Apply(Write(1, 0));
  table.Apply(Write(2, 2));
  table.Apply(Write(3, 3));
  graph.Add(RequestId{1}, table, Write(1, 2));
  graph.Add(RequestId{2}, table, Write(1, 3));
  graph.Remove(RequestId{1});
  EXPECT_FALSE(graph.WouldDeadlock(table, Write(2, 0)));
  EXPECT_TRUE(graph.WouldDeadlock(table, Write(3, 0)));
}

}  // namespace
}  // namespace baton
