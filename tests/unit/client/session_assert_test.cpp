// A session whose batond was started again: what it asserts and when, and what it does not. Rules D2, D3, D4,
// S1.
#include <chrono>

#include "session_fixture.h"

namespace baton::client {
namespace {

using protocol::LockKind;
using protocol::LockMode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t kOwner = 5;

class AssertTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    welcome_again_ = transport.welcome;
    welcome_again_.must_assert = true;
  }

  const SentFrame& Last() const { return transport.sent.at(transport.sent.size() - 1); }
  void Grant(std::uint64_t handle, const std::string& proof = "proof", std::uint64_t epoch = 0) {
    session.Call<Operation::kOpen>({}, [](auto&&) {});
    FrameHeader header = FakeTransport::ReplyTo(Last());
    header.epoch = epoch;
    transport.Deliver(header, Encoded(protocol::OpenReply{.handle = HandleId{handle}, .proof = proof}));
  }
  // A request for a lock; its answer is the test's.
  SentFrame Lock(std::uint64_t handle, LockMode mode, std::uint64_t start = 0, std::uint64_t last = 9,
                 LockKind kind = LockKind::kRecord) {
    CallOptions<Operation::kLock> options;
    options.token = last_token_ = session.NewToken();
    options.late = [](auto&&) {};
    session.Call<Operation::kLock>(
        {.handle = HandleId{handle},
         .kind = kind,
         .mode = mode,
         .owner = kOwner,
         .start = start,
         .last = last},
        [](auto&&) {}, std::move(options));
    return Last();
  }
  void Granted(std::uint64_t handle, LockMode mode, std::uint64_t start = 0, std::uint64_t last = 9,
               LockKind kind = LockKind::kRecord) {
    transport.Answer(Lock(handle, mode, start, last, kind), protocol::LockReply{});
  }

  // The server goes and comes back; the first ASSERT is on its way.
  void Restart() {
    transport.Down();
    transport.sent.clear();
    transport.welcome = welcome_again_;
    transport.Resume();
  }
  static std::string Text(const protocol::AssertRequest& request) {
    std::string text;
    for (const auto& held : request.handles) {
      text += (text.empty() ? "" : " ") + std::to_string(Raw(held.handle));
      for (const auto& lock : held.locks) {
        text += lock.mode == LockMode::kWrite ? "w" : "r";
        if (lock.kind == LockKind::kFlock) {
          text += "*";
        } else {
          text += std::to_string(lock.start) + "-" + std::to_string(lock.last);
        }
      }
    }
    return text;
  }
  // What the ASSERT that was sent last says.
  std::string Asserted() const {
    EXPECT_EQ(Last().Op(), Operation::kAssert);
    EXPECT_EQ(Last().header.slot, kNoSlot);
    const auto request = protocol::Decode<protocol::AssertRequest>(Last().body);
    return request ? Text(*request) + (request->is_last ? "." : "...") : "malformed";
  }
  std::string AssertedAfterRestart() {
    Restart();
    return Asserted();
  }
  std::vector<Operation> Sent() const {
    std::vector<Operation> operations;
    for (const SentFrame& frame : transport.sent) operations.push_back(frame.Op());
    return operations;
  }

  protocol::HelloReply welcome_again_;
  CallToken last_token_ = kNoToken;
};

TEST_F(AssertTest, WhatIsHeldComesFirstThenWhatWasOutstanding) {
  Grant(1);
  Grant(2);
  Granted(2, LockMode::kWrite);
  Fsync("sent");
  transport.Down();
  Fsync("queued");
  trace.clear();
  Restart();
  EXPECT_EQ(Asserted(), "1 2w0-9.");
  EXPECT_THAT(Sent(), ElementsAre(Operation::kAssert)) << "nothing else before the answer";
  Fsync("meanwhile");
  EXPECT_EQ(session.State().state, LinkState::kBroken);
  EXPECT_THAT(trace, IsEmpty());
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_THAT(trace, ElementsAre("resumed"));
  EXPECT_THAT(Sent(),
              ElementsAre(Operation::kAssert, Operation::kFsync, Operation::kFsync, Operation::kFsync));
  EXPECT_EQ(transport.sent[1].header.flags, protocol::kFrameResent);
  EXPECT_EQ(session.State().state, LinkState::kLive);
}

TEST_F(AssertTest, SessionThatHoldsNothingSaysSo) {
  EXPECT_EQ(AssertedAfterRestart(), ".");
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_EQ(session.State().state, LinkState::kLive);
}

TEST_F(AssertTest, ResumeByTheSameServerAssertsNothing) {
  Grant(1);
  welcome_again_.must_assert = false;
  Restart();
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(session.State().state, LinkState::kLive);
}

TEST_F(AssertTest, NewSessionAssertsNothing) {
  Grant(1);
  welcome_again_.session = SessionId{9};
  transport.Down();
  transport.sent.clear();
  transport.welcome = welcome_again_;
  transport.Connect();
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_THAT(trace, ElementsAre("lost", "new session 9 generation 2"));
  EXPECT_EQ(AssertedAfterRestart(), ".") << "what the lost one held is gone";
}

TEST_F(AssertTest, ManyHandlesGoInSeveralFramesOneAfterTheOther) {
  const std::string proof(protocol::kMaxProofSize, 'p');
  for (std::uint64_t handle = 1; handle <= 1500; ++handle) Grant(handle, proof);
  Restart();
  std::size_t told = 0;
  int frames = 0;
  for (bool is_last = false; !is_last; ++frames) {
    ASSERT_EQ(transport.sent.size(), static_cast<std::size_t>(frames + 1));
    ASSERT_LE(Last().body.size(), protocol::kMaxBodySize);
    const auto request = protocol::Decode<protocol::AssertRequest>(Last().body);
    ASSERT_TRUE(request);
    told += request->handles.size();
    is_last = request->is_last;
    transport.Answer(Last(), protocol::AssertReply{});
  }
  EXPECT_EQ(told, 1500u);
  EXPECT_GE(frames, 3);
  EXPECT_EQ(session.State().state, LinkState::kLive);
}

TEST_F(AssertTest, BreakInTheMiddleBeginsAnew) {
  const std::string proof(protocol::kMaxProofSize, 'p');
  for (std::uint64_t handle = 1; handle <= 1500; ++handle) Grant(handle, proof);
  Restart();
  const std::string first = Asserted();
  EXPECT_TRUE(first.ends_with("..."));
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_NE(Asserted(), first);
  EXPECT_EQ(AssertedAfterRestart(), first);
  EXPECT_EQ(session.State().state, LinkState::kBroken);
  EXPECT_THAT(trace, IsEmpty());
}

TEST_F(AssertTest, RefusedIsRevokedBeforeAnythingElseGoesOn) {
  for (const int handle : {1, 2, 3}) Grant(handle);
  Restart();
  transport.Answer(Last(), protocol::AssertReply{.refused = {HandleId{1}, HandleId{3}}});
  EXPECT_THAT(trace, ElementsAre("revoked 2", "resumed"));
  EXPECT_EQ(AssertedAfterRestart(), "2.");
}

TEST_F(AssertTest, SessionThatComesTooLateIsLost) {
  Grant(1);
  Fsync("sent");
  Restart();
  transport.Refuse(Last(), ESTALE);
  EXPECT_THAT(trace, ElementsAre("lost", "sent ESTALE"));
  EXPECT_EQ(session.State().state, LinkState::kLost);
  EXPECT_EQ(transport.drops.size(), 1u);
  transport.Down();
  transport.welcome.resumed = false;
  transport.welcome.session = SessionId{8};
  transport.Connect();
  EXPECT_EQ(session.State().state, LinkState::kLive);
}

TEST_F(AssertTest, NonsenseForAnAnswerClosesTheLinkAndIsAskedForAgain) {  // A4
  Grant(1);
  Restart();
  transport.Refuse(Last(), EIO);
  EXPECT_EQ(transport.drops.size(), 1u);
  Restart();
  transport.Deliver(FakeTransport::ReplyTo(Last()), std::vector<std::byte>(3));
  EXPECT_EQ(transport.drops.size(), 2u);
  Restart();
  FrameHeader out_of_turn = FakeTransport::ReplyTo(Last());
  out_of_turn.operation = static_cast<std::uint16_t>(Operation::kFsync);
  out_of_turn.slot = 0;
  transport.Deliver(out_of_turn);
  EXPECT_EQ(transport.drops.size(), 3u);
  EXPECT_EQ(AssertedAfterRestart(), "1.");
  transport.Answer(Last(), protocol::AssertReply{});
  transport.Deliver(FakeTransport::ReplyTo(transport.sent[0]));
  EXPECT_EQ(transport.drops.size(), 4u) << "an answer to nothing";
}

TEST_F(AssertTest, OpenWithoutAHandleOrWithTooLongAProofIsNoAnswer) {  // A4
  Grant(0);
  EXPECT_EQ(transport.drops.size(), 1u);
  Restart();
  Grant(1, std::string(protocol::kMaxProofSize + 1, 'p'));
  EXPECT_EQ(AssertedAfterRestart(), ".");
}

// --- What is not asserted
// -----------------------------------------------------------------------------------------------

TEST_F(AssertTest, HandleWhoseCloseWasSentIsNot) {
  Grant(1);
  Grant(2);
  Granted(1, LockMode::kWrite);
  session.Call<Operation::kClose>({HandleId{1}}, [](auto&&) {});
  EXPECT_EQ(AssertedAfterRestart(), "2.");
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_EQ(Last().Op(), Operation::kClose);
  transport.Refuse(Last(), EBADF);
  EXPECT_EQ(AssertedAfterRestart(), "2.");
}

TEST_F(AssertTest, HandleWhoseCloseStandsInLineIsStillHeld) {
  Grant(1);
  transport.Down();
  session.Call<Operation::kClose>({HandleId{1}}, [](auto&&) {});
  EXPECT_EQ(AssertedAfterRestart(), "1.");
  transport.Answer(Last(), protocol::AssertReply{});
  transport.Answer(Last());
  EXPECT_EQ(AssertedAfterRestart(), ".");
}

TEST_F(AssertTest, OpenThatWasNotAnsweredIsNot) {
  session.Call<Operation::kOpen>({}, [](auto&&) {});
  EXPECT_EQ(AssertedAfterRestart(), ".");
  transport.Answer(Last(), protocol::AssertReply{});
  transport.Answer(Last(), protocol::OpenReply{.handle = HandleId{4}});
  EXPECT_EQ(AssertedAfterRestart(), "4.");
}

TEST_F(AssertTest, OpenThatWasGivenUpIsHeldUntilItIsClosed) {  // O6
  session.Abandon(Open("open"));
  transport.Answer(Last(), protocol::OpenReply{.handle = HandleId{4}});
  EXPECT_EQ(AssertedAfterRestart(), "4.");
}

TEST_F(AssertTest, LockThatWasNotAnsweredRunsAgainInstead) {
  Grant(1);
  Granted(1, LockMode::kRead);
  Lock(1, LockMode::kWrite, 0, 4);
  EXPECT_EQ(AssertedAfterRestart(), "1r0-9.");
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_EQ(Last().Op(), Operation::kLock);
  transport.Answer(Last(), protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1w0-4r5-9.");
}

TEST_F(AssertTest, WhatWasBeingGivenUpIsNot) {
  Grant(1);
  Granted(1, LockMode::kWrite, 0, 29);
  Lock(1, LockMode::kUnlock, 0, 9);
  Lock(1, LockMode::kRead, 10, 19);
  EXPECT_EQ(AssertedAfterRestart(), "1r10-19w20-29.");
  session.Call<Operation::kFlush>({HandleId{1}, kOwner}, [](auto&&) {});
  EXPECT_EQ(AssertedAfterRestart(), "1r10-19w20-29.") << "not sent yet";
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_EQ(Last().Op(), Operation::kFlush);
  EXPECT_EQ(AssertedAfterRestart(), "1.");
}

TEST_F(AssertTest, FlockThatWasBeingConvertedIsNot) {
  Grant(1);
  Granted(1, LockMode::kRead, 0, kRangeEnd, LockKind::kFlock);
  EXPECT_EQ(AssertedAfterRestart(), "1r*.");
  transport.Answer(Last(), protocol::AssertReply{});
  Lock(1, LockMode::kWrite, 0, kRangeEnd, LockKind::kFlock);
  EXPECT_EQ(AssertedAfterRestart(), "1.");
}

TEST_F(AssertTest, FencedAndRevokedAreNot) {  // T6
  for (const int handle : {1, 2, 3, 4}) Grant(handle, "proof", static_cast<std::uint64_t>(handle));
  transport.Notify(Operation::kFenced, protocol::FencedNotice{.fence = {.epoch = Epoch{1}}});
  transport.Notify(Operation::kRevoked, protocol::RevokedNotice{.handles = {HandleId{2}}});
  welcome_again_.fences = {protocol::Fence{.epoch = Epoch{3}}};
  EXPECT_EQ(AssertedAfterRestart(), "4.");
}

TEST_F(AssertTest, UnlockThatIsGivenUpMeanwhileStaysUndoneInBoth) {
  Grant(1);
  Granted(1, LockMode::kWrite);
  Lock(1, LockMode::kUnlock);
  EXPECT_EQ(AssertedAfterRestart(), "1.");
  session.Abandon(last_token_);
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_EQ(Last().Op(), Operation::kSettle);
  transport.Answer(Last());  // it never took effect there
  EXPECT_EQ(AssertedAfterRestart(), "1.") << "but the lock was not asserted";
}

TEST_F(AssertTest, UnlockThatWasGivenUpAndNeverTookEffectLeavesTheLock) {
  Grant(1);
  Granted(1, LockMode::kWrite);
  Lock(1, LockMode::kUnlock);
  session.Abandon(last_token_);
  transport.Pump();
  welcome_again_.must_assert = false;
  Restart();
  EXPECT_EQ(Last().Op(), Operation::kSettle);
  transport.Answer(Last());
  welcome_again_.must_assert = true;
  EXPECT_EQ(AssertedAfterRestart(), "1w0-9.");
}

TEST_F(AssertTest, LockThatWasGivenUpIsHeldUntilItIsUndone) {  // S5
  Grant(1);
  const SentFrame lock = Lock(1, LockMode::kWrite);
  session.Abandon(last_token_);
  transport.Answer(lock, protocol::LockReply{});
  const SentFrame undo = Lock(1, LockMode::kUnlock);
  EXPECT_EQ(AssertedAfterRestart(), "1.");
}

// --- Two threads of one owner
// -------------------------------------------------------------------------------------------

// batond answers a lock that had to wait on another thread: the order of the answers is not the order of the
// effects.
TEST_F(AssertTest, UnlockThatCrossedALockIsTakenToHaveComeLast) {
  Grant(1);
  const SentFrame lock = Lock(1, LockMode::kWrite, 0, 9);
  const SentFrame unlock = Lock(1, LockMode::kUnlock, 5, 20);
  transport.Answer(unlock, protocol::LockReply{});
  transport.Answer(lock, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1w0-4.");
}

TEST_F(AssertTest, CrossingAnswersInTheOtherOrder) {
  Grant(1);
  const SentFrame lock = Lock(1, LockMode::kWrite, 0, 9);
  const SentFrame unlock = Lock(1, LockMode::kUnlock, 5, 20);
  transport.Answer(lock, protocol::LockReply{});
  transport.Answer(unlock, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1w0-4.");
}

// A lock that was undone, and the next try.
TEST_F(AssertTest, LockThatWasSentBehindAnUnlockCameAfterIt) {
  Grant(1);
  Granted(1, LockMode::kWrite);
  const SentFrame unlock = Lock(1, LockMode::kUnlock);
  const SentFrame lock = Lock(1, LockMode::kWrite);
  transport.Answer(unlock, protocol::LockReply{});
  transport.Answer(lock, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1w0-9.");
}

TEST_F(AssertTest, DowngradeThatWaitedCrossesWhatWasSentBehindIt) {
  Grant(1);
  const SentFrame read = Lock(1, LockMode::kRead);
  const SentFrame write = Lock(1, LockMode::kWrite);
  transport.Answer(read, protocol::LockReply{});
  transport.Answer(write, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1r0-9.");
}

TEST_F(AssertTest, FlushOfTheSameOwnerCrossesItsLocksOnTheFile) {
  Grant(1);
  Grant(2);
  const SentFrame lock = Lock(1, LockMode::kWrite);
  session.Call<Operation::kFlush>({HandleId{2}, kOwner}, [](auto&&) {});
  transport.Answer(Last());
  transport.Answer(lock, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1 2.");
}

TEST_F(AssertTest, DowngradeThatCrossesAnUpgradeWins) {
  Grant(1);
  const SentFrame upgrade = Lock(1, LockMode::kWrite, 0, 9);
  const SentFrame downgrade = Lock(1, LockMode::kRead, 3, 5);
  transport.Answer(downgrade, protocol::LockReply{});
  transport.Answer(upgrade, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1w0-2r3-5w6-9.");
}

TEST_F(AssertTest, WhatDoesNotOverlapIsInNoDoubt) {
  Grant(1);
  const SentFrame waits = Lock(1, LockMode::kWrite, 0, 9);
  Granted(1, LockMode::kWrite, 10, 19);
  Granted(1, LockMode::kUnlock, 10, 19);
  Granted(1, LockMode::kWrite, 20, 29);
  transport.Answer(waits, protocol::LockReply{});
  EXPECT_EQ(AssertedAfterRestart(), "1w0-9w20-29.");
}

TEST_F(AssertTest, OneAfterTheOtherIsInNoDoubt) {
  Grant(1);
  Granted(1, LockMode::kUnlock);
  Granted(1, LockMode::kWrite);
  EXPECT_EQ(AssertedAfterRestart(), "1w0-9.");
  transport.Answer(Last(), protocol::AssertReply{});
  Granted(1, LockMode::kUnlock);
  EXPECT_EQ(AssertedAfterRestart(), "1.");
}

// --- The server's machine
// -----------------------------------------------------------------------------------------------

TEST_F(AssertTest, RebootOfTheMachineIsToldOnceAndAfterTheAssertion) {  // D3
  Restart();
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_THAT(trace, ElementsAre("resumed")) << "only the program was started again";
  trace.clear();
  welcome_again_.server_boot = 77;
  Restart();
  EXPECT_THAT(trace, IsEmpty());
  Restart();
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_THAT(trace, ElementsAre("rebooted", "resumed"));
  trace.clear();
  Restart();
  transport.Answer(Last(), protocol::AssertReply{});
  EXPECT_THAT(trace, ElementsAre("resumed"));
}

}  // namespace
}  // namespace baton::client
