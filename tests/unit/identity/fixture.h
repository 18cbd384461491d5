// A resolver over a FakeProc.
#pragma once

#include <gtest/gtest.h>

#include "fake_proc.h"
#include "fuse/identity/resolver.h"

namespace baton::testing {

inline const std::string kX = "APP_INSTANCE_ID=11111111-1111-1111-1111-111111111111";
inline const std::string kY = "APP_INSTANCE_ID=22222222-2222-2222-2222-222222222222";
inline const Guid kGuidX = *ParseGuid("11111111-1111-1111-1111-111111111111");
inline const Guid kGuidY = *ParseGuid("22222222-2222-2222-2222-222222222222");
inline std::string Version(const std::string& text) {
  return "APP_INSTANCE_VERSION=" + text;
}

using Kind = Resolution::Kind;

class ResolverTest : public ::testing::Test {
 protected:
  FakeProc proc_;
  FakeClock clock_;
  std::map<pid_t, std::string> xattrs_;
  IdentityResolver resolver_{proc_,
                             clock_,
                             [this](pid_t pid) {
                               auto found = xattrs_.find(pid);
                               return found == xattrs_.end() ? ProgramXattr{} : ProgramXattr{found->second};
                             },
                             {}};

  ProcessKey Key(pid_t pid) { return {pid, proc_.tasks.at(pid).start}; }
  Resolution Resolve(pid_t tid) { return resolver_.Resolve(tid); }
  void Pin(pid_t pid, std::uint64_t epoch, const Guid& guid = kGuidX) {
    resolver_.Pin(Key(pid), guid, Epoch{epoch});
  }
  void Fence(std::uint64_t epoch, Ticks acked_at, std::optional<InstanceVersion> version = std::nullopt) {
    resolver_.Fence(kGuidX, Epoch{epoch}, version, AtTick(acked_at));
  }
  void ExpectMember(pid_t tid, const Guid& guid, std::uint64_t epoch = 0) {
    Resolution answer = Resolve(tid);
    EXPECT_EQ(answer.kind, Kind::kInstance) << "tid " << tid;
    EXPECT_EQ(answer.member.guid, guid) << "tid " << tid;
    EXPECT_EQ(Raw(answer.member.epoch), epoch) << "tid " << tid;
  }
  void ExpectFenced(pid_t tid) {
    EXPECT_EQ(Resolve(tid).kind, Kind::kFenced) << "tid " << tid;
    std::optional<Resolution> again = resolver_.TryResolve(tid);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->kind, Kind::kFenced) << "tid " << tid;
  }
  void ExpectKind(pid_t tid, Kind kind) { EXPECT_EQ(Resolve(tid).kind, kind) << "tid " << tid; }
};

}  // namespace baton::testing
