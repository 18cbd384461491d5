// The resolver over the kernel's own /proc, with real processes. The helper is this test program itself,
// started with
// --identity-helper (see RunAsHelper).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <boost/uuid/random_generator.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "fuse/identity/resolver.h"

namespace baton {
namespace {

using Kind = Resolution::Kind;
constexpr char kHelper[] = "--identity-helper";
char** helper_argv = nullptr;

void Say(long number) {
  if (::write(STDOUT_FILENO, &number, sizeof number) != sizeof number) ::_exit(3);
}

// False at the end of input: the test is over.
bool Hear() {
  char byte;
  return ::read(STDIN_FILENO, &byte, 1) == 1;
}

// Field 50 and 51 of stat: where the environment lies.
void DestroyEnvironment() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string word;
  unsigned long start = 0, end = 0;
  for (int field = 3; rest >> word; ++field) {
    if (field == 50) start = std::stoul(word);
    if (field == 51) end = std::stoul(word);
  }
  std::memset(reinterpret_cast<void*>(start), 0, end - start);
}

void DoubleFork() {
  if (::fork() != 0) return;
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  Say(::getpid());
  while (Hear()) continue;
  ::_exit(0);
}

void Serve(const std::string& order) {
  if (order == "double-fork") return DoubleFork();
  if (order == "thread") {
    std::thread([] {
      Say(::syscall(SYS_gettid));
      while (Hear()) continue;
    }).join();
    return;
  }
  if (order == "end-leader") {  // the first thread ends, another lives on
    std::thread([] {
      Say(::syscall(SYS_gettid));
      while (Hear()) continue;
      ::_exit(0);
    }).detach();
    ::syscall(SYS_exit, 0);
  }
  if (order == "block-term") {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, nullptr);
  }
  Say(::getpid());
  while (Hear()) {
    if (order == "destroy") DestroyEnvironment();
    if (order == "drop")
      ::execl("/usr/bin/env", "env", "-u", "APP_INSTANCE_ID", helper_argv[0], kHelper, "wait", nullptr);
    if (order == "fork-destroyed") {
      DestroyEnvironment();
      if (::fork() == 0) {
        Say(::getpid());
        while (Hear()) continue;
        ::_exit(0);
      }
      continue;
    }
    Say(::getpid());
  }
}

// Before main: the test framework must not see the helper's arguments.
__attribute__((constructor)) void RunAsHelper(int argc, char** argv, char**) {
  helper_argv = argv;
  if (argc != 3 || std::strcmp(argv[1], kHelper) != 0) return;
  Serve(argv[2]);
  ::_exit(0);
}

// A helper process; ends with its input.
class Helper {
 public:
  Helper(const char* order, std::vector<std::string> environment) {
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) std::abort();
    environment.insert(environment.begin(), "PATH=/usr/bin:/bin");
    std::vector<char*> variables;
    for (std::string& each : environment) variables.push_back(each.data());
    variables.push_back(nullptr);
    std::string program = std::filesystem::read_symlink("/proc/self/exe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      const char* argv[] = {program.c_str(), kHelper, order, nullptr};
      ::execve(program.c_str(), const_cast<char**>(argv), variables.data());
      ::_exit(9);
    }
    to_.Reset(in[1]);
    from_.Reset(out[0]);
    ::close(in[0]);
    ::close(out[1]);
  }
  ~Helper() {
    to_.Reset();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }
  // What it says next: a pid or tid. 0: it ended.
  pid_t Next() {
    long number = 0;
    return ::read(from_.Get(), &number, sizeof number) == sizeof number ? static_cast<pid_t>(number) : 0;
  }
  pid_t Go() {
    EXPECT_EQ(::write(to_.Get(), "x", 1), 1);
    return Next();
  }
  void Reap() {
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t Pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  UniqueFd to_, from_;
};

class RealProcess : public ::testing::Test {
 protected:
  LinuxProcReader proc_;
  BootClock clock_;
  ProgramXattrReader xattrs_{nullptr, nullptr};
  IdentityResolver resolver_{proc_, clock_, [this](pid_t pid) { return xattrs_.Read(pid); }, {}};
  Guid guid_ = boost::uuids::random_generator()();
  std::string variable_ = "APP_INSTANCE_ID=" + ToString(guid_);

  void ExpectMember(pid_t tid, const Guid& guid) {
    Resolution answer = resolver_.Resolve(tid);
    EXPECT_EQ(answer.kind, Kind::kInstance);
    EXPECT_EQ(answer.member.guid, guid);
    EXPECT_EQ(answer.member.owner_uid, ::getuid());
  }
  template <class Condition>
  void Eventually(Condition condition) {
    Instant deadline = clock_.Now() + std::chrono::seconds(20);
    while (!condition()) {
      ASSERT_LT(clock_.Now(), deadline);
      std::this_thread::yield();
    }
  }
  // A start tick after which a process is later than anything so far.
  void PassTick() {
    Ticks now = proc_.TickOf(clock_.Now());
    while (proc_.TickOf(clock_.Now()) == now) std::this_thread::yield();
  }
};

TEST_F(RealProcess, ThreadIdInsteadOfTheProcess) {
  // Rule I5
  Helper helper("thread", {variable_});
  pid_t tid = helper.Next();
  ASSERT_NE(tid, helper.Pid());
  Resolution answer = resolver_.Resolve(tid);
  EXPECT_EQ(answer.pid, helper.Pid());
  EXPECT_EQ(answer.member.guid, guid_);
  EXPECT_TRUE(resolver_.TryResolve(tid));
  EXPECT_TRUE(resolver_.TryResolve(helper.Pid()));
}

TEST_F(RealProcess, ThreadWhoseLeaderHasEnded) {
  // Rule I5
  Helper helper("end-leader", {variable_});
  pid_t tid = helper.Next();
  ASSERT_GT(tid, 0);
  ExpectMember(tid, guid_);
  EXPECT_EQ(resolver_.TryResolve(tid)->pid, helper.Pid());
}

TEST_F(RealProcess, DestroyedEnvironmentAfterItWasSeen) {
  // Rule I2 (b)
  Helper helper("destroy", {variable_, "APP_INSTANCE_VERSION=3.1"});
  pid_t pid = helper.Next();
  EXPECT_TRUE(resolver_.Observe(pid));
  ExpectMember(pid, guid_);
  ASSERT_EQ(helper.Go(), pid);
  ASSERT_EQ(proc_.ReadEnviron(pid, 1 << 20).value().text.find("APP_INSTANCE_ID"), std::string::npos);
  EXPECT_FALSE(resolver_.Observe(pid));
  ExpectMember(pid, guid_);
  EXPECT_EQ(resolver_.TryResolve(pid)->member.version, (InstanceVersion{3, 1}));
}

TEST_F(RealProcess, DestroyedEnvironmentNeverSeenIsUnknown) {
  // Rule I2 (b)
  Helper helper("destroy", {variable_});
  pid_t pid = helper.Next();
  ASSERT_EQ(helper.Go(), pid);
  EXPECT_EQ(resolver_.Resolve(pid).kind, Kind::kUnknown);
}

TEST_F(RealProcess, ForkedChildWithADestroyedEnvironment) {
  // Rule I2 (b): PostgreSQL
  Helper helper("fork-destroyed", {variable_});
  ExpectMember(helper.Next(), guid_);
  pid_t child = helper.Go();
  ASSERT_NE(child, helper.Pid());
  ExpectMember(child, guid_);
}

TEST_F(RealProcess, ExecIsNoticedAndDroppingTheIdDoesNotHelp) {
  // Rule T7: env -u
  Helper helper("drop", {variable_});
  pid_t pid = helper.Next();
  ExpectMember(pid, guid_);
  resolver_.Pin({pid, resolver_.Resolve(pid).start}, guid_, Epoch{5});
  ASSERT_EQ(helper.Go(), pid);
  EXPECT_FALSE(resolver_.TryResolve(pid)) << "another image";
  ExpectMember(pid, guid_);
  EXPECT_EQ(resolver_.TryResolve(pid)->member.epoch, Epoch{5});
  resolver_.Fence(guid_, Epoch{5}, std::nullopt, clock_.Now());
  EXPECT_EQ(resolver_.TryResolve(pid)->kind, Kind::kFenced);
}

TEST_F(RealProcess, StartBeforeAndAfterTheFence) {
  // Rule T7
  Helper old_one("wait", {variable_});
  pid_t old_pid = old_one.Next();
  resolver_.Fence(guid_, Epoch{1}, std::nullopt, clock_.Now());
  PassTick();
  Helper new_one("wait", {variable_});
  pid_t new_pid = new_one.Next();
  EXPECT_EQ(resolver_.Resolve(old_pid).kind, Kind::kFenced);
  ExpectMember(new_pid, guid_);
}

TEST_F(RealProcess, DoubleForkedChildOfAnOldProcessIsOld) {
  // Rule T7
  Helper member("wait", {variable_});
  ExpectMember(member.Next(), guid_);
  resolver_.Fence(guid_, Epoch{1}, std::nullopt, clock_.Now());
  PassTick();
  Helper forker("double-fork", {variable_});
  pid_t orphan = forker.Next();
  forker.Reap();
  // Its parents are gone once it has another one.
  Eventually([&] {
    TaskStat stat = proc_.ReadStat(orphan).value();
    return stat.sid != stat.ppid;
  });
  EXPECT_EQ(resolver_.Resolve(orphan).kind, Kind::kFenced);
}

TEST_F(RealProcess, SweepReportsTheIncarnationWhoseProcessIsGone) {
  // Rule T3
  ProcessKey process;
  {
    Helper helper("wait", {variable_});
    Resolution answer = resolver_.Resolve(helper.Next());
    process = {answer.pid, answer.start};
    resolver_.Pin(process, guid_, Epoch{4});
    EXPECT_TRUE(resolver_.Sweep().empty());
  }
  std::vector<std::pair<Guid, Epoch>> lost = resolver_.Sweep();
  EXPECT_EQ(lost, (std::vector<std::pair<Guid, Epoch>>{{guid_, Epoch{4}}}));
}

TEST_F(RealProcess, AnyThreadMayAskWhileOthersFenceRegisterAndSweep) {
  // Rules I6, T7: a fence is in force for everybody when Fence returns
  Helper member("wait", {variable_});
  Helper stranger("wait", {});
  pid_t pid = member.Next();
  pid_t other = stranger.Next();
  std::atomic<bool> fenced{false}, stop{false};
  std::atomic<int> wrong{0}, refused{0};
  auto ask = [&] {
    while (!stop || refused == 0) {
      bool was_fenced = fenced;
      std::optional<Resolution> fast = resolver_.TryResolve(pid);
      Resolution answer = fast ? *fast : resolver_.Resolve(pid);
      if (answer.kind == Kind::kFenced) ++refused;
      if (was_fenced ? answer.kind != Kind::kFenced : answer.member.guid != guid_) ++wrong;
      resolver_.Observe(other);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(ask);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(resolver_.Register(0, other, {guid_, {}, other}));
    resolver_.Sweep();
    EXPECT_TRUE(resolver_.Unregister(0, other, other));
    if (i == 10) {
      resolver_.Fence(guid_, Epoch{1}, std::nullopt, clock_.Now());
      fenced = true;
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(RealProcess, RegistrationOfALivingProcess) {
  // Rule I2 (a)
  Helper helper("wait", {});
  pid_t pid = helper.Next();
  EXPECT_EQ(resolver_.Resolve(pid).kind, Kind::kAnonymous);
  ASSERT_TRUE(resolver_.Register(::getuid(), ::getpid(), {guid_, {}, pid}));
  ExpectMember(pid, guid_);
  ASSERT_TRUE(resolver_.Unregister(::getuid(), ::getpid(), pid));
  EXPECT_EQ(resolver_.Resolve(pid).kind, Kind::kAnonymous);
}

TEST_F(RealProcess, BlockedSignalIsNotFatalYet) {
  // Rule S5
  Helper helper("block-term", {});
  pid_t pid = helper.Next();
  EXPECT_FALSE(FatalSignalPending(proc_, pid).value());
  ASSERT_EQ(::kill(pid, SIGTERM), 0);
  EXPECT_FALSE(FatalSignalPending(proc_, pid).value());
  Result<TaskStatus> status = proc_.ReadStatus(pid);
  EXPECT_EQ(status->signals.shared_pending, 1ull << (SIGTERM - 1));
  EXPECT_EQ(status->signals.blocked, 1ull << (SIGTERM - 1));
}

TEST_F(RealProcess, ReaderSeesThisProcess) {
  // Rule I1
  TaskStat stat = proc_.ReadStat(::getpid()).value();
  EXPECT_EQ(stat.ppid, ::getppid());
  EXPECT_EQ(stat.sid, ::getsid(0));
  EXPECT_TRUE(stat.image.Visible());
  EXPECT_LE(stat.start, proc_.TickOf(clock_.Now()));
  EXPECT_EQ(proc_.ReadStatus(::getpid()).value().real_uid, ::getuid());
  std::vector<gid_t> groups(static_cast<std::size_t>(::getgroups(0, nullptr)));
  ASSERT_GE(::getgroups(static_cast<int>(groups.size()), groups.data()), 0);
  EXPECT_EQ(SupplementaryGroups(proc_, ::getpid()).value(), groups);
  std::vector<pid_t> pids = proc_.ListProcesses().value();
  EXPECT_NE(std::find(pids.begin(), pids.end(), ::getpid()), pids.end());
  EXPECT_TRUE(proc_.CgroupMayHoldProcesses(proc_.ReadCgroup(::getpid()).value()));
  EXPECT_FALSE(proc_.CgroupMayHoldProcesses({"/no/such/group", 5}));
  EXPECT_TRUE(proc_.CgroupMayHoldProcesses({"/no/such/group", 0}));
  EXPECT_EQ(proc_.ReadStat(0x3fffffff).error(), Errno{ESRCH});
}

TEST_F(RealProcess, ProgramXattrOfTheMountIsAskedAndNotRead) {
  // Rule I2 (c)
  int asked = 0;
  ProgramXattrReader own([](std::uint64_t) { return true; },
                         [&](const ProgramFile& file) {
                           ++asked;
                           EXPECT_NE(file.inode, 0u);
                           return ProgramXattr{"answer"};
                         });
  EXPECT_EQ(own.Read(::getpid()).value, "answer");
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(xattrs_.Read(0x3fffffff).value, std::nullopt);
}

TEST_F(RealProcess, ProgramXattrIsReadFromTheFile) {
  // Rule I2 (c)
  char path[] = "/var/tmp/baton-identity-XXXXXX";
  UniqueFd target(::mkstemp(path));
  ASSERT_TRUE(target);
  ASSERT_EQ(::chmod(path, 0700), 0);
  std::ifstream source("/bin/sleep", std::ios::binary);
  std::string program((std::istreambuf_iterator<char>(source)), {});
  ASSERT_EQ(::write(target.Get(), program.data(), program.size()), static_cast<ssize_t>(program.size()));
  std::string value = ToString(guid_);
  bool supported = ::fsetxattr(target.Get(), "user.app_instance_id", value.data(), value.size(), 0) == 0;
  target.Reset();
  if (!supported) {
    ::unlink(path);
    GTEST_SKIP() << "no user xattrs in /var/tmp: " << std::strerror(errno);
  }
  pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(path, path, "600", nullptr);
    ::_exit(9);
  }
  Eventually([&] {  // the new image is there a moment after the old one is gone
    const TaskStat stat = proc_.ReadStat(pid).value();
    return !stat.forked_no_exec && stat.image.Visible();
  });
  Resolution answer = resolver_.Resolve(pid);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  ::unlink(path);
  EXPECT_EQ(answer.kind, Kind::kInstance);
  EXPECT_EQ(answer.member.guid, guid_);
  EXPECT_EQ(answer.member.source, IdentitySource::kProgram);
}

}  // namespace
}  // namespace baton
