// What a session holds, call by call. Rules D2, D4, L1, L3, T6.
#include "fuse/client/holdings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <array>
#include <cstring>

#include "protocol/codec.h"
#include "protocol/frame.h"

namespace baton::client {
namespace {

using protocol::LockKind;
using protocol::LockMode;
using protocol::LockRequest;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr LockMode kNone = LockMode::kUnlock;
constexpr LockMode kR = LockMode::kRead;
constexpr LockMode kW = LockMode::kWrite;

FileRef Ref(unsigned char name) {
  return FileRef(std::array{std::byte{name}});
}

LockRequest Record(std::uint64_t handle, std::uint64_t owner, LockMode mode, std::uint64_t start = 0,
                   std::uint64_t last = kRangeEnd) {
  return {.handle = HandleId{handle}, .mode = mode, .owner = owner, .start = start, .last = last, .pid = 7};
}

LockRequest Flock(std::uint64_t handle, LockMode mode) {
  return {.handle = HandleId{handle},
          .kind = LockKind::kFlock,
          .mode = mode,
          .owner = 99,
          .last = kRangeEnd,
          .pid = 7};
}

class HoldingsTest : public ::testing::Test {
 protected:
  void Open(std::uint64_t handle, unsigned char file = 'f', std::uint64_t epoch = 0) {
    holdings.Opened({.handle = HandleId{handle}, .file = Ref(file), .proof = "p" + std::to_string(handle)},
                    Epoch{epoch});
  }
  // All that would be asserted: "handle: locks", as they come.
  std::vector<std::string> Told(std::size_t room = protocol::kMaxBodySize) {
    std::vector<std::string> told;
    auto assertion = holdings.Begin();
    for (bool is_last = false; !is_last;) {
      const auto request = holdings.Next(assertion, room);
      std::vector<std::byte> body;
      protocol::Encoder(body).Put(request);
      EXPECT_LE(body.size(), room);
      is_last = request.is_last;
      for (const auto& held : request.handles) {
        EXPECT_EQ(held.proof, "p" + std::to_string(Raw(held.handle)));
        std::string line = std::to_string(Raw(held.handle)) + ":";
        for (const auto& lock : held.locks) {
          line += lock.kind == LockKind::kFlock ? " flock " : " " + std::to_string(lock.owner) + " ";
          line += lock.mode == kW ? "W" : "R";
          if (lock.kind == LockKind::kRecord) {
            line += "[" + std::to_string(lock.start) + "," +
                    (lock.last == kRangeEnd ? std::string("end") : std::to_string(lock.last)) + "]";
          }
          EXPECT_EQ(lock.pid, 7);
        }
        told.push_back(line);
      }
    }
    return told;
  }

  Holdings holdings;
};

TEST_F(HoldingsTest, NothingIsHeldAtFirst) {
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(HoldingsTest, OpensInTheOrderOfTheirNumbersUntilClosed) {
  for (const int handle : {3, 1, 2}) Open(handle);
  EXPECT_THAT(Told(), ElementsAre("1:", "2:", "3:"));
  holdings.Closed(HandleId{2});
  holdings.Closed(HandleId{2});
  EXPECT_THAT(Told(), ElementsAre("1:", "3:"));
}

TEST_F(HoldingsTest, RecordLocksSplitMergeAndBelongToTheHandleThatSetThemLast) {
  Open(1);
  Open(2);
  holdings.Locked(Record(1, 5, kW, 0, 99));
  holdings.Locked(Record(1, 5, kNone, 40, 59));
  EXPECT_THAT(Told(), ElementsAre("1: 5 W[0,39] 5 W[60,99]", "2:"));
  holdings.Locked(Record(2, 5, kR, 30, 69));
  EXPECT_THAT(Told(), ElementsAre("1: 5 W[0,29] 5 W[70,99]", "2: 5 R[30,69]"));
  holdings.Locked(Record(2, 5, kW, 0, kRangeEnd));
  EXPECT_THAT(Told(), ElementsAre("1:", "2: 5 W[0,end]"));
}

TEST_F(HoldingsTest, OwnersAndFilesAreApart) {
  Open(1, 'f');
  Open(2, 'g');
  holdings.Locked(Record(1, 5, kR, 0, 9));
  holdings.Locked(Record(1, 6, kR, 5, 20));
  holdings.Locked(Record(2, 5, kW, 0, 9));
  holdings.Locked(Record(1, 5, kNone));
  EXPECT_THAT(Told(), ElementsAre("1: 6 R[5,20]", "2: 5 W[0,9]"));
}

TEST_F(HoldingsTest, FlushDropsItsOwnersLocksOnTheFileThroughWhicheverHandle) {
  for (const int handle : {1, 2}) Open(handle);
  Open(3, 'g');
  holdings.Locked(Record(1, 5, kW, 0, 9));
  holdings.Locked(Record(1, 6, kW, 10, 19));
  holdings.Locked(Record(3, 5, kW, 0, 9));
  holdings.Locked(Flock(1, kR));
  holdings.Locked(AsUnlock({.handle = HandleId{2}, .lock_owner = 5}));
  EXPECT_THAT(Told(), ElementsAre("1: flock R 6 W[10,19]", "2:", "3: 5 W[0,9]"));
}

TEST_F(HoldingsTest, CloseTakesWhatWasSetThroughTheHandle) {
  for (const int handle : {1, 2}) Open(handle);
  holdings.Locked(Record(1, 5, kW, 0, 9));
  holdings.Locked(Record(2, 5, kR, 20, 29));
  holdings.Locked(Flock(1, kW));
  holdings.Closed(HandleId{1});
  EXPECT_THAT(Told(), ElementsAre("2: 5 R[20,29]"));
}

TEST_F(HoldingsTest, FlockIsConvertedByLettingGoFirst) {
  Open(1);
  holdings.Locked(Flock(1, kR));
  holdings.Refused(Flock(1, kR));
  EXPECT_THAT(Told(), ElementsAre("1: flock R"));
  holdings.Refused(Flock(1, kW));
  EXPECT_THAT(Told(), ElementsAre("1:"));
  holdings.Locked(Flock(1, kW));
  holdings.Locked(Flock(1, kNone));
  EXPECT_THAT(Told(), ElementsAre("1:"));
}

TEST_F(HoldingsTest, RefusedRecordLockLeavesWhatThereWas) {
  Open(1);
  holdings.Locked(Record(1, 5, kR, 0, 9));
  holdings.Refused(Record(1, 5, kW, 0, 9));
  EXPECT_THAT(Told(), ElementsAre("1: 5 R[0,9]"));
}

// A lock, or its weakening, of which nobody knows whether it happened.
TEST_F(HoldingsTest, WhatMayHaveHappenedWeakensAndNeverGrants) {
  Open(1);
  holdings.Locked(Record(1, 5, kW, 0, 99));
  holdings.MayHaveDone(Record(1, 5, kNone, 0, 9));
  holdings.MayHaveDone(Record(1, 5, kR, 50, 199));
  holdings.MayHaveDone(Record(1, 5, kW, 300, 400));
  holdings.MayHaveDone(Record(1, 6, kR, 300, 400));
  EXPECT_THAT(Told(), ElementsAre("1: 5 W[10,49] 5 R[50,99]"));
  holdings.Locked(Flock(1, kR));
  holdings.MayHaveDone(Flock(1, kR));
  EXPECT_THAT(Told(), ElementsAre("1: flock R 5 W[10,49] 5 R[50,99]"));
  holdings.MayHaveDone(Flock(1, kW));
  EXPECT_THAT(Told(), ElementsAre("1: 5 W[10,49] 5 R[50,99]"));
}

TEST_F(HoldingsTest, CrossingRequestsAreOfOneOwnerAndOverlap) {
  for (const int handle : {1, 2}) Open(handle);
  Open(3, 'g');
  EXPECT_TRUE(holdings.Cross(Record(1, 5, kW, 0, 9), Record(2, 5, kNone, 9, 20)));
  EXPECT_FALSE(holdings.Cross(Record(1, 5, kW, 0, 9), Record(2, 5, kNone, 10, 20)));
  EXPECT_FALSE(holdings.Cross(Record(1, 5, kW), Record(2, 6, kNone)));
  EXPECT_FALSE(holdings.Cross(Record(1, 5, kW), Record(3, 5, kNone)));
  EXPECT_FALSE(holdings.Cross(Record(1, 99, kW), Flock(1, kNone)));
  EXPECT_TRUE(holdings.Cross(Flock(1, kW), Flock(1, kNone)));
  EXPECT_FALSE(holdings.Cross(Flock(1, kW), Flock(2, kNone)));
}

TEST_F(HoldingsTest, RevokedAndFencedAreNotTold) {  // T6
  Open(1, 'f', 4);
  Open(2, 'f', 5);
  Open(3, 'f');
  Open(4, 'f');
  for (const int handle : {1, 2, 3, 4}) holdings.Locked(Record(handle, handle, kR, 0, 9));
  holdings.Fenced(std::array{protocol::Fence{.epoch = Epoch{4}}, protocol::Fence{.epoch = Epoch{9}}});
  holdings.Revoked(std::array{HandleId{3}, HandleId{77}});
  EXPECT_THAT(Told(), ElementsAre("2: 2 R[0,9]", "4: 4 R[0,9]"));
  holdings.Locked(Record(3, 3, kW, 0, 9));  // granted, and the answer crossed the notice
  EXPECT_THAT(Told(), ElementsAre("2: 2 R[0,9]", "4: 4 R[0,9]"));
}

TEST_F(HoldingsTest, RangesOfDifferentIncarnationsStayApart) {  // I7
  Open(1, 'f', 4);
  Open(2, 'f');
  holdings.Locked(Record(1, 5, kR, 0, 9));
  holdings.Locked(Record(2, 5, kR, 10, 19));
  EXPECT_THAT(Told(), ElementsAre("1: 5 R[0,9]", "2: 5 R[10,19]"));
}

TEST_F(HoldingsTest, ManyHandlesComeInManyRequests) {
  for (std::uint64_t handle = 1; handle <= 1000; ++handle) Open(handle);
  const auto told = Told(500);
  ASSERT_EQ(told.size(), 1000u);
  EXPECT_EQ(told.front(), "1:");
  EXPECT_EQ(told.back(), "1000:");
}

TEST_F(HoldingsTest, OneHandleWithVeryManyLocksComesInParts) {
  for (const int handle : {1, 2}) Open(handle);
  holdings.Locked(Flock(1, kW));
  for (std::uint64_t i = 0; i < 100; ++i) holdings.Locked(Record(1, 5, kW, 10 * i, 10 * i));
  const auto parts = Told(200);
  ASSERT_GT(parts.size(), 20u);
  EXPECT_EQ(parts.back(), "2:");
  std::string together = "1:";
  for (const std::string& part : std::span(parts).first(parts.size() - 1)) {
    ASSERT_TRUE(part.starts_with("1: ")) << part;
    together += part.substr(2);
  }
  EXPECT_EQ(together, Told().front());
}

TEST_F(HoldingsTest, WhatGoesInTheMiddleOfAnAssertionIsNotToldAnyMore) {
  for (std::uint64_t handle = 1; handle <= 10; ++handle) Open(handle);
  for (std::uint64_t i = 0; i < 100; ++i) holdings.Locked(Record(3, 5, kW, 10 * i, 10 * i));
  auto assertion = holdings.Begin();
  EXPECT_FALSE(holdings.Next(assertion, 300).is_last);
  holdings.Revoked(std::array{HandleId{3}, HandleId{9}});
  std::vector<std::uint64_t> told;
  const auto rest = holdings.Next(assertion, protocol::kMaxBodySize);
  for (const auto& held : rest.handles) told.push_back(Raw(held.handle));
  EXPECT_THAT(told, ElementsAre(4, 5, 6, 7, 8, 10));
  EXPECT_TRUE(rest.is_last);
}

TEST_F(HoldingsTest, MemoryIsBounded) {
  const std::string proof(150, 'p');
  const auto used = [] { return mallinfo2().uordblks; };
  constexpr std::uint64_t kMany = 10000;
  const auto before = used();
  for (std::uint64_t i = 1; i <= kMany; ++i) {
    std::array<std::byte, 8> name;
    std::memcpy(name.data(), &i, sizeof i);
    holdings.Opened({.handle = HandleId{i}, .file = FileRef(name), .proof = proof}, Epoch{});
  }
  const auto opened = used();
  for (std::uint64_t i = 1; i <= kMany; ++i) holdings.Locked(Record(1, i, kR, i, i));
  const auto locked = used();
  RecordProperty("bytes_a_handle", static_cast<int>((opened - before) / kMany));
  RecordProperty("bytes_a_lock", static_cast<int>((locked - opened) / kMany));
#ifndef __SANITIZE_ADDRESS__
  EXPECT_GT(opened, before);
  EXPECT_LT((opened - before) / kMany, 600u);
  EXPECT_LT((locked - opened) / kMany, 200u);
#endif
}

}  // namespace
}  // namespace baton::client
