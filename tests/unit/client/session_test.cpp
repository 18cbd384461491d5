// Session on a transport without sockets: slots, order, resume, abandon and settle, cancel, op_timeout, loss,
// notices. Rules S1, S4, S5, T6, T10, O6, A4.
#include "fuse/client/session.h"

#include <gmock/gmock.h>

#include <memory>

#include "session_fixture.h"

namespace baton::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(SessionTest, AnswersInAnyOrderReachTheirCallers) {
  for (const char* name : {"a", "b", "c"}) Fsync(name);
  ASSERT_EQ(transport.sent.size(), 3u);
  transport.Answer(transport.sent[2]);
  transport.Refuse(transport.sent[0], EIO);
  transport.Answer(transport.sent[1]);
  EXPECT_THAT(trace, ElementsAre("c ok", "a EIO", "b ok"));
}

TEST_F(SessionTest, ReplyCarriesEpochDataAndGeneration) {
  bool answered = false;
  session.Call<Operation::kRead>({.handle = HandleId{1}, .size = 3}, [&](Answer<Operation::kRead>&& answer) {
    answered = true;
    EXPECT_EQ(answer.epoch, Epoch{9});
    EXPECT_EQ(answer.data.size(), 3u);
    EXPECT_EQ(answer.generation, Generation{1});
    EXPECT_EQ(answer.origin, Origin::kServer);
  });
  FrameHeader header = FakeTransport::ReplyTo(transport.sent.at(0));
  header.epoch = 9;
  const std::vector<std::byte> data(3);
  transport.Deliver(header, {}, data);
  EXPECT_TRUE(answered);
}

TEST_F(SessionTest, SequencesRiseFromOneOnEachSlot) {
  for (std::uint32_t i = 1; i <= 3; ++i) {
    Fsync("x");
    EXPECT_EQ(transport.sent.back().header.slot, transport.sent.front().header.slot);
    EXPECT_EQ(transport.sent.back().header.sequence, i);
    transport.Answer(transport.sent.back());
  }
}

TEST_F(SessionTest, CallsBeyondTheSlotsStandInLineAndGoInOrder) {
  for (int i = 0; i < 11; ++i) Fsync(std::to_string(i));
  ASSERT_EQ(transport.sent.size(), 8u);
  for (std::size_t i = 0; i < 11; ++i) transport.Answer(transport.sent.at(i));
  EXPECT_EQ(transport.sent.size(), 11u);
  EXPECT_THAT(trace, ElementsAre("0 ok", "1 ok", "2 ok", "3 ok", "4 ok", "5 ok", "6 ok", "7 ok", "8 ok",
                                 "9 ok", "10 ok"));
}

TEST_F(SessionTest, ResumeSendsTheUnansweredAgainInOrderOnTheSameSlots) {
  for (const char* name : {"a", "b", "c"}) Fsync(name);
  transport.Answer(transport.sent[1]);
  const auto before = std::exchange(transport.sent, {});
  transport.Down();
  EXPECT_EQ(session.State().state, LinkState::kBroken);
  Fsync("d");
  EXPECT_THAT(transport.sent, IsEmpty());
  transport.Resume();
  EXPECT_EQ(transport.hellos.back().session, SessionId{7});
  EXPECT_EQ(transport.hellos.back().secret, (protocol::SessionSecret{1, 2}));
  ASSERT_EQ(transport.sent.size(), 3u);
  for (const auto& [now, then] : {std::pair(0, 0), std::pair(1, 2)}) {
    EXPECT_EQ(transport.sent[now].header.slot, before[then].header.slot);
    EXPECT_EQ(transport.sent[now].header.sequence, before[then].header.sequence);
    EXPECT_EQ(transport.sent[now].header.flags, protocol::kFrameResent);
  }
  EXPECT_EQ(transport.sent[2].header.flags, 0);
  for (const auto& frame : std::vector(transport.sent)) transport.Answer(frame);
  EXPECT_THAT(trace, ElementsAre("b ok", "resumed", "a ok", "c ok", "d ok"));
  EXPECT_EQ(session.State().state, LinkState::kLive);
}

TEST_F(SessionTest, SecondAnswerToTheSameRequestIsIgnored) {
  Fsync("a");
  transport.Answer(transport.sent[0]);
  transport.Answer(transport.sent[0]);
  Fsync("b");
  transport.Answer(transport.sent[0]);
  EXPECT_THAT(trace, ElementsAre("a ok"));
  EXPECT_THAT(transport.drops, IsEmpty());
}

TEST_F(SessionTest, WriteDataIsKeptUntilAnsweredAndThenReleased) {
  auto freed = std::make_shared<bool>(false);
  static std::byte bytes[4] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  struct Guard {
    std::shared_ptr<bool> freed;
  };
  CallOptions<Operation::kWrite> options;
  options.data = {bytes, {new Guard{freed}, [](void* held) {
                            auto* guard = static_cast<Guard*>(held);
                            *guard->freed = true;
                            delete guard;
                          }}};
  session.Call<Operation::kWrite>(
      {}, [](auto&&) {}, std::move(options));
  transport.Down();
  transport.Resume();
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[1].data, std::vector(std::begin(bytes), std::end(bytes)));
  EXPECT_FALSE(*freed);
  transport.Answer(transport.sent[1], protocol::WriteReply{.written = 4});
  EXPECT_TRUE(*freed);
}

// --- Giving up
// --------------------------------------------------------------------------------------------------------

TEST_F(SessionTest, AbandonedBeforeItWasSentHasNoEffect) {
  transport.Down();
  const CallToken token = Open("open");
  EXPECT_TRUE(session.Abandon(token));
  EXPECT_THAT(trace, IsEmpty()) << "completions run on the transport's thread";
  EXPECT_TRUE(transport.woken);
  transport.Pump();
  EXPECT_THAT(trace, ElementsAre("open EINTR"));
  transport.Resume();
  EXPECT_THAT(transport.sent, IsEmpty());
  EXPECT_FALSE(session.Abandon(token));
}

TEST_F(SessionTest, LateReplyOfAnAbandonedOpenCanBeUndone) {
  const CallToken token = Open("open");
  EXPECT_TRUE(session.Abandon(token));
  transport.Answer(transport.sent.at(0), protocol::OpenReply{.handle = HandleId{42}});
  EXPECT_THAT(trace, ElementsAre("open EINTR fate-unknown", "late open ok"));
  EXPECT_EQ(late_handle, HandleId{42});
}

// The other call is given up while the frame with its answer is already being handled.
TEST_F(SessionTest, CompletionComesBeforeTheLateWordHoweverCloseTheyAre) {
  const CallToken open = Open("open");
  const CallToken first = session.NewToken();
  session.Call<Operation::kFsync>({}, [&](auto&&) { session.Abandon(open); }, {.token = first});
  session.Abandon(first);
  transport.Refuse(transport.sent.at(0), EBUSY);
  EXPECT_THAT(trace, ElementsAre("open EINTR fate-unknown", "late open EBUSY"));
}

TEST_F(SessionTest, AbandonedIsSettledNotSentAgain) {
  const CallToken token = Open("open");
  session.Abandon(token);
  transport.Pump();
  const SentFrame original = transport.sent.at(0);
  transport.Down();
  transport.Resume();
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[1].Op(), Operation::kSettle);
  EXPECT_EQ(transport.sent[1].header.slot, original.header.slot);
  EXPECT_EQ(transport.sent[1].header.sequence, original.header.sequence);
  transport.Answer(transport.sent[1]);
  EXPECT_THAT(trace, ElementsAre("open EINTR fate-unknown", "resumed", "late open ECANCELED"));
}

// batond would go on waiting for it.
TEST_F(SessionTest, AbandonedWaitForALockIsCancelled) {
  const CallToken token = session.NewToken();
  int late = 0;
  session.Call<Operation::kLock>({.mode = protocol::LockMode::kWrite, .wait = true}, [](auto&&) {},
                                 {.token = token, .late = [&](auto&& answer) { late = answer.reply.error().value; }});
  session.Abandon(token);
  transport.Pump();
  const SentFrame original = transport.sent.at(0);
  transport.Down();
  transport.Resume();
  ASSERT_EQ(transport.sent.size(), 3u);
  EXPECT_EQ(transport.sent[1].Op(), Operation::kSettle);
  EXPECT_EQ(transport.sent[2].Op(), Operation::kCancel);
  const auto cancel = protocol::Decode<protocol::CancelRequest>(transport.sent[2].body);
  ASSERT_TRUE(cancel);
  EXPECT_EQ(cancel->slot, original.header.slot);
  EXPECT_EQ(cancel->sequence, original.header.sequence);
  transport.Refuse(original, EINTR);
  EXPECT_EQ(late, EINTR);
}

TEST_F(SessionTest, SettleMayBringTheFirstReply) {
  session.Abandon(Open("open"));
  const SentFrame original = transport.sent.at(0);
  transport.Down();
  transport.Resume();
  transport.Answer(original, protocol::OpenReply{.handle = HandleId{5}});
  EXPECT_THAT(trace, ElementsAre("open EINTR fate-unknown", "resumed", "late open ok"));
  Fsync("next");
  EXPECT_EQ(transport.sent.back().header.sequence, original.header.sequence + 1) << "the slot goes on";
}

TEST_F(SessionTest, AbandonedKeepsItsSlotUntilItsFateIsKnown) {
  for (int i = 0; i < 7; ++i) Fsync("f");
  session.Abandon(Open("open"));
  transport.Pump();
  Fsync("waits");
  EXPECT_EQ(transport.sent.size(), 8u);
  transport.Refuse(transport.sent[7], EBUSY);
  EXPECT_EQ(transport.sent.size(), 9u);
  EXPECT_THAT(trace, ElementsAre("open EINTR fate-unknown", "late open EBUSY"));
}

TEST_F(SessionTest, OpTimeoutCountsOnlyWhileBatondCannotBeReached) {
  Open("sent", seconds(3));
  clock.now += seconds(60);
  transport.Pump();
  EXPECT_THAT(trace, IsEmpty()) << "a live server may take its time";
  transport.Down();
  Open("unsent", seconds(3));
  clock.now += milliseconds(2999);
  transport.Pump();
  EXPECT_THAT(trace, IsEmpty());
  clock.now += milliseconds(1);
  transport.Pump();
  EXPECT_THAT(trace, ElementsAre("unsent ETIMEDOUT", "sent ETIMEDOUT fate-unknown"));
}

TEST_F(SessionTest, CancelAsksTheServer) {
  const CallToken token = Fsync("lock");
  EXPECT_TRUE(session.Cancel(token));
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[1].Op(), Operation::kCancel);
  EXPECT_EQ(transport.sent[1].header.slot, kNoSlot);
  const auto cancel = protocol::Decode<protocol::CancelRequest>(transport.sent[1].body);
  ASSERT_TRUE(cancel);
  EXPECT_EQ(cancel->slot, transport.sent[0].header.slot);
  EXPECT_EQ(cancel->sequence, transport.sent[0].header.sequence);
  transport.Answer(transport.sent[1]);
  EXPECT_THAT(trace, IsEmpty());
  transport.Refuse(transport.sent[0], EINTR);
  EXPECT_THAT(trace, ElementsAre("lock EINTR"));
  EXPECT_FALSE(session.Cancel(token));
}

TEST_F(SessionTest, CancelLeavesWhatIsNotSentYet) {
  const CallToken unborn = session.NewToken();
  EXPECT_FALSE(session.Cancel(unborn));
  for (int i = 0; i < 8; ++i) Fsync("f");
  const CallToken queued = Open("open");
  EXPECT_FALSE(session.Cancel(queued)) << "it waits for a slot, and not for a claim";
  transport.Pump();
  EXPECT_THAT(trace, IsEmpty());
  transport.Refuse(transport.sent[0], EIO);
  EXPECT_EQ(transport.sent.size(), 9u);
  EXPECT_TRUE(session.Cancel(queued));
}

TEST_F(SessionTest, CancelIsNothingWhileTheLinkIsDown) {
  const CallToken token = Open("open");
  EXPECT_TRUE(session.Cancel(token));
  transport.Down();
  EXPECT_FALSE(session.Cancel(token));
  transport.Pump();
  EXPECT_THAT(trace, IsEmpty());
  transport.sent.clear();
  transport.Resume();
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_EQ(transport.sent[0].Op(), Operation::kOpen) << "it goes on as if there had been no signal";
  EXPECT_TRUE(session.Cancel(token));
}

// --- Loss
// -------------------------------------------------------------------------------------------------------------

TEST_F(SessionTest, LossAnswersEverythingOutstandingAndBeginsAnew) {
  Fsync("sent");
  session.Abandon(Open("given up"));
  transport.Pump();
  transport.Down();
  Fsync("queued");
  trace.clear();
  transport.Up();
  transport.Hello(ESTALE);
  EXPECT_THAT(trace, ElementsAre("lost", "sent ESTALE", "late given up ESTALE", "queued ESTALE"));
  EXPECT_EQ(session.State().state, LinkState::kLost);
  EXPECT_EQ(session.CurrentGeneration(), Generation{2});
  EXPECT_EQ(transport.drops.size(), 1u);

  trace.clear();
  transport.Down();
  transport.sent.clear();
  transport.welcome.session = SessionId{8};
  transport.Connect();
  EXPECT_EQ(transport.hellos.back().session, SessionId{});
  EXPECT_THAT(trace, ElementsAre("new session 8 generation 2"));
  Fsync("x");
  EXPECT_EQ(transport.sent.at(0).header.sequence, 1u) << "slots begin anew";
}

TEST_F(SessionTest, HandlesOfALostSessionAreNeverSentToTheNext) {
  transport.Down();
  transport.Up();
  transport.Hello(ESTALE);
  transport.Down();
  transport.Connect();
  trace.clear();
  transport.sent.clear();
  Fsync("old", {.generation = Generation{1}});
  Fsync("new", {.generation = Generation{2}});
  EXPECT_EQ(transport.sent.size(), 1u);
  transport.Pump();
  EXPECT_THAT(trace, ElementsAre("old ESTALE"));
}

TEST_F(SessionTest, NewSessionInAnswerToAResumeIsALoss) {
  Fsync("sent");
  transport.Down();
  transport.welcome.session = SessionId{9};
  transport.Connect();
  EXPECT_THAT(trace, ElementsAre("lost", "sent ESTALE", "new session 9 generation 2"));
}

TEST_F(SessionTest, AcknowledgementsOutliveTheSession) {
  transport.Down();
  session.AcknowledgeFence(Guid{}, Epoch{3}, Instant{5});
  session.InstanceGone(Guid{}, Epoch{4});
  transport.Up();
  transport.Hello(ESTALE);
  transport.Down();
  transport.Connect();
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[0].Op(), Operation::kFenceAcknowledged);
  EXPECT_EQ(transport.sent[1].Op(), Operation::kInstanceGone);
  transport.Answer(transport.sent[0]);
  transport.Refuse(transport.sent[1], ESTALE);
  EXPECT_EQ(transport.sent.size(), 2u) << "batond's own answer is final";
}

// --- Notices
// ----------------------------------------------------------------------------------------------------------

TEST_F(SessionTest, NoticesComeInOrderWithReplies) {
  Fsync("a");
  Fsync("b");
  transport.Answer(transport.sent[0]);
  transport.Notify(Operation::kFenced, protocol::FencedNotice{.fence = {.epoch = Epoch{3}}});
  transport.Notify(Operation::kRevoked, protocol::RevokedNotice{.handles = {HandleId{1}, HandleId{2}}});
  transport.Notify(Operation::kChanged,
                   protocol::ChangedNotice{{.kind = protocol::ChangeKind::kData, .ino = 5, .name = {}}});
  transport.Refuse(transport.sent[1], ESTALE);
  EXPECT_THAT(trace, ElementsAre("a ok", "fenced 3", "revoked 2", "changed 5", "b ESTALE"));
}

TEST_F(SessionTest, FencesAndDistrustOfAResumeComeBeforeAnythingIsSentAgain) {
  Fsync("a");
  transport.Down();
  transport.welcome.fences.resize(2);
  transport.sent.clear();
  transport.on_send = [&] {
    const bool resuming = transport.hellos.size() == 2;
    if (resuming) {
      EXPECT_THAT(trace, ElementsAre("fences 2", "resumed"));
    }
  };
  transport.Resume();
  EXPECT_EQ(transport.sent.size(), 1u);
}

// --- What a server must not say (rule A4)
// -------------------------------------------------------------------------------

TEST_F(SessionTest, NonsenseClosesTheLinkAndHarmsNoCall) {
  Fsync("a");
  const SentFrame request = transport.sent.at(0);
  const auto deliver = [&](auto change) {
    FrameHeader header = FakeTransport::ReplyTo(request);
    change(header);
    transport.drops.clear();
    transport.Deliver(header);
    return transport.drops.size();
  };
  EXPECT_EQ(deliver([](FrameHeader& h) { h.sequence += 1; }), 1u);
  EXPECT_EQ(deliver([](FrameHeader& h) { h.slot = 900; }), 1u);
  EXPECT_EQ(deliver([](FrameHeader& h) { h.operation = 35; }), 1u);
  EXPECT_EQ(deliver([](FrameHeader& h) { h.operation = 5; }), 1u) << "SETTLE of what was not given up";
  EXPECT_EQ(deliver([](FrameHeader& h) { h.kind = FrameKind::kRequest; }), 1u);
  EXPECT_EQ(deliver([](FrameHeader& h) { h.kind = FrameKind::kNotice; }), 1u);
  EXPECT_EQ(deliver([](FrameHeader& h) { h.slot = kNoSlot; }), 1u);
  EXPECT_EQ(deliver([](FrameHeader& h) { h.operation = 1, h.slot = kNoSlot; }), 1u) << "HELLO twice";
  EXPECT_THAT(trace, IsEmpty());
  transport.Answer(request);
  EXPECT_THAT(trace, ElementsAre("a ok"));
}

TEST_F(SessionTest, ReplyThatDoesNotDecodeIsAskedForOnceMoreThenEio) {
  Fsync("a");
  const std::vector<std::byte> excess(1);
  transport.Deliver(FakeTransport::ReplyTo(transport.sent[0]), excess);
  EXPECT_EQ(transport.drops.size(), 1u);
  EXPECT_THAT(trace, IsEmpty());
  transport.Down();
  transport.Resume();
  transport.Deliver(FakeTransport::ReplyTo(transport.sent.at(1)), excess);
  EXPECT_THAT(trace, ElementsAre("resumed", "a EIO"));
}

TEST_F(SessionTest, OversizedRequestIsRefusedHere) {
  session.Call<Operation::kSetxattr>({.value = std::string(protocol::kMaxBodySize, 'x')},
                                     [this](auto&& answer) { trace.push_back(Text("x", answer)); });
  transport.Pump();
  EXPECT_THAT(trace, ElementsAre("x EMSGSIZE"));
  EXPECT_THAT(transport.sent, IsEmpty());
}

// --- The end
// ------------------------------------------------------------------------------------------------------------

TEST_F(SessionTest, EndSaysByeAndFailsWhatIsOutstanding) {
  Fsync("outstanding");
  session.End(milliseconds(1));  // this transport has no thread that could bring the answer
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[1].Op(), Operation::kBye);
  EXPECT_TRUE(transport.stopped);
  EXPECT_THAT(trace, ElementsAre("outstanding ENOTCONN"));
  Fsync("later");
  EXPECT_THAT(trace, ElementsAre("outstanding ENOTCONN", "later ENOTCONN"));
  EXPECT_EQ(session.State().state, LinkState::kEnded);
}

// --- The beginning
// ------------------------------------------------------------------------------------------------------

struct StartTest : ::testing::Test {
  ManualClock clock;
  Trace trace;
  TracingListener listener{trace};

  struct RefusingTransport final : Transport {
    std::function<void(Handler&)> script;
    void Start(Handler& handler) override { script(handler); }
    void Stop() override {}
    bool Send(LinkId, const FrameHeader&, std::span<const std::byte>, std::span<const std::byte>) override {
      return true;
    }
    void Drop(LinkId, std::string_view) override {}
    void Establish(LinkId, Duration) override {}
    void Wake() override {}
  } transport;

  tl::expected<void, ConnectError> Start(std::function<void(Transport::Handler&)> script) {
    transport.script = std::move(script);
    return Session(transport, clock, {.node = "n1"}, listener).Start(milliseconds(1));
  }
  auto Refused(int error) {
    return Start([error](Transport::Handler& handler) {
      handler.OnUp(LinkId{1}, "host:1");
      handler.OnFrame({.operation = 1, .kind = FrameKind::kReply, .error = error}, {}, {});
      handler.OnDown("refused", {});
      handler.OnUnreachable(EPROTO, "host:1: refused");
    });
  }
};

TEST_F(StartTest, BackgroundGoesOnTryingAndSaysWhy) {  // S5
  Transport::Handler* server = nullptr;
  transport.script = [&](Transport::Handler& handler) {
    server = &handler;
    handler.OnUnreachable(ECONNREFUSED, "host:1: Connection refused");
  };
  Session session(transport, clock, {.node = "n1"}, listener);
  session.StartInBackground(milliseconds(1));
  EXPECT_EQ(session.Describe().status.state, LinkState::kConnecting);
  EXPECT_THAT(session.Describe().trouble, HasSubstr("Connection refused"));
  EXPECT_FALSE(session.Describe().refusal);

  server->OnUp(LinkId{1}, "host:1");
  server->OnFrame({.operation = 1, .kind = FrameKind::kReply, .error = EPROTO}, {}, {});
  server->OnDown("refused", {});
  server->OnUnreachable(EPROTO, "host:1: refused");
  EXPECT_EQ(session.Describe().refusal, ConnectError::Kind::kNoCommonVersion);
  EXPECT_THAT(session.Describe().trouble, HasSubstr("no protocol version"));

  server->OnUnreachable(ECONNREFUSED, "host:1: Connection refused");  // whoever refused is gone
  EXPECT_FALSE(session.Describe().refusal);
  EXPECT_THAT(session.Describe().trouble, HasSubstr("Connection refused"));
}

TEST_F(StartTest, WhoAwaitsASessionIsGivenUpAsACallIs) {  // S5
  Transport::Handler* server = nullptr;
  transport.script = [&](Transport::Handler& handler) { server = &handler; };
  Session session(transport, clock, {.node = "n1"}, listener);
  const auto await = [&](const std::string& name, Duration op_timeout) {
    const CallToken token = session.NewToken();
    session.AwaitSession(token, op_timeout, [this, name](Result<> there) {
      trace.push_back(name + (there ? " ok" : " " + std::string(strerrorname_np(there.error().value))));
    });
    return token;
  };
  const CallToken given_up = await("before the start", {});
  session.StartInBackground({});
  await("patient", {});
  await("impatient", seconds(1));
  EXPECT_TRUE(session.Abandon(given_up));
  clock.now += seconds(2);
  server->OnTick();
  EXPECT_THAT(trace, ElementsAre("before the start EINTR", "impatient ETIMEDOUT"));
  server->OnUp(LinkId{1}, "host:1");
  const auto welcome = Encoded(protocol::HelloReply{
      .version = protocol::kProtocolVersion, .session = SessionId{7}, .slots = 1, .lease = seconds(10)});
  server->OnFrame({.operation = 1, .kind = FrameKind::kReply}, welcome, {});
  await("late", {});
  server->OnTick();
  EXPECT_THAT(trace, ElementsAre("before the start EINTR", "impatient ETIMEDOUT",
                                 "new session 7 generation 1", "patient ok", "late ok"));
  EXPECT_EQ(session.Describe().server, "host:1");
  EXPECT_EQ(session.Describe().trouble, "");
  session.End({});
  await("after the end", {});
  EXPECT_EQ(trace.back(), "after the end ENOTCONN");
}

TEST_F(StartTest, FirstFailureIsReportedClearly) {
  const auto in_use = Refused(EBUSY);
  ASSERT_FALSE(in_use);
  EXPECT_EQ(in_use.error().kind, ConnectError::Kind::kNodeInUse);
  EXPECT_THAT(in_use.error().text, HasSubstr("\"n1\" is in use"));
  const auto version = Refused(EPROTO);
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().kind, ConnectError::Kind::kNoCommonVersion);
  const auto refused =
      Start([](Transport::Handler& h) { h.OnUnreachable(ECONNREFUSED, "host:1: Connection refused"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ConnectError::Kind::kUnreachable);
  EXPECT_EQ(refused.error().error, ECONNREFUSED);
  const auto silent = Start([](Transport::Handler& h) { h.OnUnreachable(ETIMEDOUT, "host:1: no answer"); });
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().kind, ConnectError::Kind::kTimeout);
  EXPECT_THAT(silent.error().text, HasSubstr("host:1"));
}

}  // namespace
}  // namespace baton::client
