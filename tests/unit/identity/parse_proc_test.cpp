#include <gtest/gtest.h>

#include "fuse/identity/proc_reader.h"

namespace baton {
namespace {

TEST(ParseStat, NameMayHoldBracketsAndBlanks) {
  // Rule I5: the caller is found by what /proc says, whatever the program calls itself
  std::string text = "77 (a) S 1 (b) Z";
  for (int field = 4; field <= 52; ++field) text += " " + std::to_string(field == 9 ? 0x200040 : field);
  Result<TaskStat> stat = ParseStat(text + "\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->tid, 77);
  EXPECT_EQ(stat->comm, "a) S 1 (b");
  EXPECT_EQ(stat->ppid, 4);
  EXPECT_EQ(stat->sid, 6);
  EXPECT_TRUE(stat->forked_no_exec);
  EXPECT_TRUE(stat->kernel_thread);
  EXPECT_FALSE(stat->dead) << "its other threads live";
  EXPECT_EQ(stat->start, 22u);
  EXPECT_EQ(stat->image, (ImageId{28, 26, 47}));
  EXPECT_FALSE(ParseStat("77 (a"));
  EXPECT_FALSE(ParseStat(""));
  EXPECT_FALSE(ParseStat("77 (a) S 1 2 3"));
}

TEST(ParseStatus, TgidUidGroupsSignals) {
  // Rules I1, S5
  Result<TaskStatus> status = ParseStatus(
      "Name:\tx\nTgid:\t12\nUid:\t7\t8\t9\t10\nGroups:\t1 22 333 "
      "\nNStgid:\t12\t1\nSigPnd:\t0000000000000100\n"
      "ShdPnd:\t8000000000000000\nSigBlk:\t02\nSigIgn:\t4\nSigCgt:\t8\n");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->tgid, 12);
  EXPECT_EQ(status->real_uid, 7u);
  EXPECT_EQ(status->groups, (std::vector<gid_t>{1, 22, 333}));
  EXPECT_TRUE(status->is_reaper);
  EXPECT_EQ(status->signals.pending, 0x100u);
  EXPECT_EQ(status->signals.shared_pending, 1ull << 63);
  EXPECT_FALSE(ParseStatus("Name:\tx\n"));
}

}  // namespace
}  // namespace baton
