// Sessions as the service keeps them: their connections, their silence, what is told again after a resume, and
// their bounds (rules S1, S2, S3, T7, T10, A4).
#include <fcntl.h>

#include <thread>

#include "unit/service/fixture.h"

namespace baton::server {
namespace {

using namespace std::chrono_literals;

protocol::CreateRequest CreateOf(Bench& bench, const std::string& name, const protocol::Caller& caller) {
  return {.directory = bench.Root(), .name = name, .flags = O_RDWR, .mode = 0644, .caller = caller};
}

TEST(SessionTest, LetsGoOfAConnectionThatClosedBeforeItsHelloWasAnswered) {
  Bench bench;
  TestMount mount(bench, "a");
  const auto gone = std::make_shared<FakeConnection>(bench.bell);
  gone->Close();
  bench.service->OnClosed(gone);
  ASSERT_EQ(mount.Hello("/mnt", gone), ENOTCONN);
  ASSERT_TRUE(bench.Until([&] { return bench.coordinator->Sessions().size() == 1; }));
  EXPECT_EQ(bench.coordinator->Sessions().front()->connection(), nullptr);
}

// The answer to what was under way, in the very moment in which the session gets a new connection.
TEST(SessionTest, RepliesStandBehindTheAnswerToHello) {
  Bell bell;
  const auto connection = std::make_shared<FakeConnection>(bell);
  Session session(SessionId{1}, {}, "a", false, Instant{});
  const protocol::FrameHeader request{
      .operation = static_cast<std::uint16_t>(Operation::kGetattr), .slot = 0, .sequence = 1};
  ASSERT_EQ(session.Begin(request), Session::Arrival::kNew);
  std::thread worker;
  session.Adopt(connection, [&](Connection& to) {
    worker = std::thread([&] { session.Complete(request, 0, {}, {}, {}); });
    to.Send({.operation = static_cast<std::uint16_t>(Operation::kHello)}, {}, {});
  });
  worker.join();
  const auto frames = connection->Frames();
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].header.operation, static_cast<std::uint16_t>(Operation::kHello));
}

// A disk that takes its time is no reason to think that nobody is there.
TEST(SessionTest, AnswersAPingWhileItsBeginIsWrittenDown) {
  Bench bench;
  for (int i = 0; i < 20; ++i) {
    const auto connection = std::make_shared<FakeConnection>(bench.bell);
    bench.connections.push_back(connection);
    protocol::HelloRequest hello{.magic = protocol::kMagic,
                                 .oldest_version = protocol::kProtocolVersion,
                                 .newest_version = protocol::kProtocolVersion,
                                 .node = "node" + std::to_string(i),
                                 .boot = "boot",
                                 .machine = "machine",
                                 .mount_point = "/mnt"};
    std::vector<std::byte> body;
    protocol::Encoder(body).Put(hello);
    bench.service->OnFrame(connection, {.operation = static_cast<std::uint16_t>(Operation::kHello)}, body, {});
    bench.service->OnFrame(connection, {.operation = static_cast<std::uint16_t>(Operation::kPing), .sequence = 1}, {}, {});
    ASSERT_TRUE(bench.Until([&] { return connection->ReplyTo(protocol::kNoSlot, 0).has_value(); })) << i;
    const auto pong = connection->ReplyTo(protocol::kNoSlot, 1);
    ASSERT_TRUE(pong) << i;
    EXPECT_EQ(pong->header.error, 0);
    EXPECT_FALSE(connection->IsClosed());
  }
}

TEST(SessionTest, IsNotSilentIfItWasHeardSinceTheWatchLooked) {
  Bench bench;
  TestMount mount(bench, "a");
  ASSERT_EQ(mount.Hello(), 0);
  const auto session = bench.coordinator->FindSession(mount.welcome.session);
  bench.clock.Advance(11s);
  bench.service->OnHeard(mount.connection);
  bench.coordinator->FallSilent(session, 10s);
  EXPECT_EQ(bench.StateOf(session->id()), "active");
  EXPECT_FALSE(session->silent.load());
}

TEST(SessionTest, FallsSilentWithItsLeaseAndIsHeardAgain) {
  Bench bench;
  TestMount mount(bench, "a");
  ASSERT_EQ(mount.Hello(), 0);
  for (int i = 0; i < 150; ++i) bench.Advance(100ms);
  EXPECT_EQ(bench.StateOf(mount.welcome.session), "silent");
  bench.service->OnHeard(mount.connection);
  EXPECT_EQ(bench.StateOf(mount.welcome.session), "active");
}

TEST(SessionTest, TakesNothingThatMustHaveItsFirstReplyWithoutASlot) {
  Bench bench;
  TestMount mount(bench, "a");
  ASSERT_EQ(mount.Hello(), 0);
  mount.SendAgain<Operation::kCreate>(CreateOf(bench, "f", Anonymous()), protocol::kNoSlot, 0);
  EXPECT_TRUE(mount.connection->IsClosed());
  EXPECT_FALSE(std::filesystem::exists(bench.dir.Path() / "f"));
}

TEST(SessionTest, RefusesNamesThatAreTooLongOrWouldForgeALogLine) {
  Bench bench;
  TestMount forger(bench, "a\nb");
  EXPECT_EQ(forger.Hello(), EINVAL);
  TestMount endless(bench, "a");
  endless.boot = std::string(5000, 'x');
  EXPECT_EQ(endless.Hello(), EINVAL);
  EXPECT_TRUE(bench.coordinator->Sessions().empty());
}

TEST(SessionTest, IsToldAllFencesHoweverMany) {
  Bench bench({}, {}, Bench::Checks::kNone);
  TestMount mount(bench, "a");
  ASSERT_EQ(mount.Hello(), 0);
  const auto file = mount.Call<Operation::kCreate>(CreateOf(bench, "f", Anonymous())).reply.file;
  constexpr std::size_t kFences = 1100;
  std::size_t fenced = 0;
  for (std::size_t i = 0; i < kFences; ++i) {
    Guid guid = GuidOf(1);
    guid.data[0] = static_cast<std::uint8_t>(i >> 8);
    guid.data[1] = static_cast<std::uint8_t>(i);
    const auto open = mount.Call<Operation::kOpen>({.file = file, .flags = O_RDONLY, .caller = MemberOf(guid)});
    ASSERT_EQ(open.error, 0);
    mount.connection->Clear();
    bench.coordinator->FenceByHand(guid, [&](Coordinator::Answer& answer) { fenced += answer.error == 0; });
  }
  ASSERT_TRUE(bench.Until([&] { return fenced == kFences; }));
  TestMount second(bench, "a");
  ASSERT_EQ(second.Hello("/other"), 0);
  const auto notices = second.connection->Notices<protocol::FencedNotice>(Operation::kFenced);
  // A reply with all of them, however many, would pass a frame's bound one day, which ends the server.
  EXPECT_LE(second.welcome.fences.size(), 1024u);
  EXPECT_EQ(second.welcome.fences.size() + notices.size(), kFences);
}

TEST(SessionTest, IsToldAgainAfterAResumeWhatWasRevoked) {
  Bench bench({.scope = ReclaimScope::kFile});
  TestMount old(bench, "a");
  TestMount fresh(bench, "b");
  ASSERT_EQ(old.Hello(), 0);
  ASSERT_EQ(fresh.Hello(), 0);
  const auto made = old.Call<Operation::kCreate>(CreateOf(bench, "f", MemberOf(GuidOf(1))));
  ASSERT_EQ(made.error, 0);
  old.Disconnect();
  const auto taken = fresh.Call<Operation::kOpen>(
      {.file = made.reply.file, .flags = O_RDWR, .caller = MemberOf(GuidOf(1))});
  ASSERT_EQ(taken.error, 0);
  ASSERT_EQ(old.Hello(), 0);
  ASSERT_TRUE(old.welcome.resumed);
  const auto notices = old.connection->Notices<protocol::RevokedNotice>(Operation::kRevoked);
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_THAT(notices[0].handles, testing::ElementsAre(made.reply.handle));
  EXPECT_EQ(old.Call<Operation::kClose>({made.reply.handle}).error, ESTALE);
  ASSERT_EQ(old.Hello(), 0);
  EXPECT_TRUE(old.connection->Notices<protocol::RevokedNotice>(Operation::kRevoked).empty());
}

TEST(SessionTest, GivesWayToANewOneWhenItWasSilentLongestAndThereAreTooMany) {
  Bench bench({.limits = {.sessions = 3}});
  TestMount a(bench, "a"), b(bench, "b"), c(bench, "c"), d(bench, "d"), e(bench, "e");
  ASSERT_EQ(a.Hello(), 0);
  bench.Advance(1s);
  ASSERT_EQ(b.Hello(), 0);
  ASSERT_EQ(c.Hello(), 0);
  EXPECT_EQ(d.Hello(), EUSERS);  // all of them are there
  for (int i = 0; i < 150; ++i) {
    bench.service->OnHeard(c.connection);
    bench.Advance(100ms);
  }
  EXPECT_EQ(d.Hello(), 0);
  ASSERT_TRUE(bench.Until([&] { return bench.StateOf(a.welcome.session) == "gone"; }));
  EXPECT_EQ(bench.StateOf(b.welcome.session), "silent");
  EXPECT_EQ(bench.StateOf(c.welcome.session), "active");
  EXPECT_EQ(a.Hello(), ESTALE);
}

}  // namespace
}  // namespace baton::server
