// KernelSession on a real mount, in a mount namespace of its own.
#include "fuse/kernel/kernel_session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "support/temp_dir.h"

namespace baton {
namespace {

constexpr long kTmpfsMagic = 0x01021994;

// Answers INIT and nothing else.
class KernelSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounts need root";
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    signal(SIGPIPE, SIG_IGN);  // as main does
    operations_.init = [](void* session, fuse_conn_info*) {
      static_cast<KernelSession*>(session)->SetUsable();
    };
    ASSERT_TRUE(
        session_->Mount(dir_.Path(), {"fsname=test", "subtype=batonfs"}, operations_, session_.get()));
    session_->StartThreads();
    ASSERT_TRUE(session_->WaitUsable(std::chrono::seconds(20)));
  }
  long FileSystem() const {
    struct statfs found {};
    return statfs(dir_.Path().c_str(), &found) == 0 ? found.f_type : 0;
  }

  test::TempDir dir_;
  fuse_lowlevel_ops operations_{};
  std::unique_ptr<KernelSession> session_ = std::make_unique<KernelSession>();
};

// Who is about to reply does not know: what is opened next must not get the number, and with it the reply's
// bytes.
TEST_F(KernelSessionTest, KeepsTheDevicesNumberUntilNobodyReplies) {
  const int device = fuse_session_fd(session_->Fuse());
  session_->Stop();
  EXPECT_GE(fcntl(device, F_GETFD), 0);
  EXPECT_EQ(write(device, "reply", 5), -1);
  EXPECT_EQ(errno, EPIPE);
}

// LeakSanitizer tells.
TEST_F(KernelSessionTest, LosesNoInterruptThatCameTooLate) {
  struct {
    fuse_in_header header{};
    fuse_interrupt_in interrupt{};
  } request;
  request.header.len = sizeof request;
  request.header.opcode = FUSE_INTERRUPT;
  fuse_buf buffer{};
  buffer.mem = &request;
  buffer.size = sizeof request;
  for (std::uint64_t unique = 1000; unique < 1003; ++unique) {
    request.interrupt.unique = unique;
    fuse_session_process_buf(session_->Fuse(), &buffer);
  }
  session_->Stop();
}

TEST_F(KernelSessionTest, LeavesAloneWhatIsMountedInItsPlace) {
  const UniqueFd keeps_it_busy(open(dir_.Path().c_str(), O_PATH | O_CLOEXEC));
  ASSERT_TRUE(keeps_it_busy);
  session_->Detach();
  ASSERT_EQ(mount("next", dir_.Path().c_str(), "tmpfs", 0, nullptr), 0);
  session_->Stop();
  EXPECT_EQ(FileSystem(), kTmpfsMagic);
  EXPECT_EQ(umount(dir_.Path().c_str()), 0);
}

TEST_F(KernelSessionTest, LeavesAloneWhatIsMountedInItsPlaceAfterItStopped) {
  session_->Stop();
  ASSERT_EQ(mount("next", dir_.Path().c_str(), "tmpfs", 0, nullptr), 0);
  session_.reset();
  EXPECT_EQ(FileSystem(), kTmpfsMagic);
  EXPECT_EQ(umount(dir_.Path().c_str()), 0);
}

}  // namespace
}  // namespace baton
