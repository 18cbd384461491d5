// Issue 2, item 2: the mount's command line, as batonfs and as mount.batonfs.
#include "fuse/kernel/options.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace baton {
namespace {

using Words = std::vector<std::string>;

MountOptions Parsed(const Words& words) {
  auto options = ParseMountOptions(words);
  EXPECT_TRUE(options) << options.error();
  return options.value_or(MountOptions{});
}

std::string Refusal(const Words& words) {
  const auto options = ParseMountOptions(words);
  EXPECT_FALSE(options);
  return options ? "" : options.error();
}

bool Has(const MountOptions& options, const std::string& word) {
  return std::count(options.kernel_options.begin(), options.kernel_options.end(), word) == 1;
}

TEST(Options, PlainMount) {
  const MountOptions options = Parsed({"batonfs", "host:1,other", "/mnt"});
  EXPECT_EQ(options.servers, "host:1,other");
  EXPECT_EQ(options.mount_point, "/mnt");
  EXPECT_FALSE(options.foreground);
  EXPECT_EQ(options.claim_wait, std::chrono::seconds(1));
  EXPECT_EQ(options.op_timeout, Duration(0));
  EXPECT_EQ(options.instance_variable, "APP_INSTANCE_ID");
  EXPECT_EQ(options.attr_timeout, 1);
}

TEST(Options, EveryOptionWithAValue) {
  const MountOptions options =
      Parsed({"batonfs", "-f", "h", "/m", "-o",
              "node=n1,claim_wait=0.25,op_timeout=30,log=/"
              "l,log_level=debug,unidentified=anonymous,id_variable=A,version_variable=B,"
              "takeover_variable=C,attr_timeout=1.5,entry_timeout=2"});
  EXPECT_TRUE(options.foreground);
  EXPECT_EQ(options.node, "n1");
  EXPECT_EQ(options.claim_wait, std::chrono::milliseconds(250));
  EXPECT_EQ(options.op_timeout, std::chrono::seconds(30));
  EXPECT_EQ(options.log_file, "/l");
  EXPECT_EQ(options.log_level, log::Level::kDebug);
  EXPECT_TRUE(options.unidentified_anonymous);
  EXPECT_EQ(options.instance_variable, "A");
  EXPECT_EQ(options.version_variable, "B");
  EXPECT_EQ(options.takeover_variable, "C");
  EXPECT_EQ(options.attr_timeout, 1.5);
  EXPECT_EQ(options.entry_timeout, 2);
}

TEST(Options, KernelWordsArePassedOn) {
  const MountOptions options = Parsed({"batonfs", "h", "/m", "-oro,suid", "-o", "dev,noexec"});
  EXPECT_TRUE(Has(options, "ro"));
  EXPECT_TRUE(Has(options, "suid"));
  EXPECT_TRUE(Has(options, "dev"));
  EXPECT_TRUE(Has(options, "noexec"));
  EXPECT_TRUE(options.read_only);
  EXPECT_TRUE(options.suid);
}

TEST(Options, Flags) {
  EXPECT_FALSE(Parsed({"batonfs", "h", "/m"}).background_mount);
  const MountOptions options =
      Parsed({"mount.batonfs", "h", "/m", "-o", "rw,background_mount,allow_other,_netdev"});
  EXPECT_TRUE(options.background_mount);
  EXPECT_TRUE(options.allow_other);
}

TEST(Options, CommaInAValueIsEscaped) {
  EXPECT_EQ(Parsed({"batonfs", "h", "/m", "-o", "node=a\\,b"}).node, "a,b");
}

TEST(Options, WordsOfFstabAreIgnored) {
  const MountOptions options =
      Parsed({"mount.batonfs", "h", "/m", "-o",
              "rw,defaults,_netdev,nofail,noauto,user,x-systemd.automount,comment=c"});
  EXPECT_EQ(options.kernel_options, Words{"rw"});
}

TEST(Options, AsMountHelper) {
  const MountOptions options =
      Parsed({"/sbin/mount.batonfs", "h:7740", "/m", "-fnv", "-N", "ns", "-t", "fuse.batonfs", "-o", "ro"});
  EXPECT_TRUE(options.fake);
  EXPECT_TRUE(options.verbose);
  EXPECT_FALSE(options.foreground);
  EXPECT_EQ(options.mount_point, "/m");
}

TEST(Options, SloppyToleratesTheUnknownForTheHelperOnly) {
  EXPECT_EQ(Parsed({"mount.batonfs", "h", "/m", "-s", "-o", "nonsense=1"}).mount_point, "/m");
  EXPECT_NE(Refusal({"mount.batonfs", "h", "/m", "-o", "nonsense=1"}).find("nonsense=1"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-s"}).find("-s"), std::string::npos);
}

TEST(Options, ErrorsNameTheWord) {
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o", "claim_wait=soon"}).find("claim_wait=soon"),
            std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o", "claim_wait=-1"}).find("claim_wait=-1"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o", "op_timeout=nan"}).find("op_timeout=nan"),
            std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o", "node"}).find("node"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o", "log_level=loud"}).find("loud"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o", "unidentified=maybe"}).find("maybe"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "-o"}).find("-o"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h", "/m", "third"}).find("third"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs", "h"}).find("where to"), std::string::npos);
  EXPECT_NE(Refusal({"batonfs"}).find("which server"), std::string::npos);
}

TEST(Options, HelpAndVersionNeedNothingElse) {
  EXPECT_EQ(Parsed({"batonfs", "--help"}).task, MountOptions::Task::kHelp);
  EXPECT_EQ(Parsed({"batonfs", "--version"}).task, MountOptions::Task::kVersion);
}

}  // namespace
}  // namespace baton
