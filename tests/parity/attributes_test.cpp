// stat and its relatives, access, chmod, chown, times.
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

Outcome StatOutcome(const char* path) {
  struct stat attributes {};
  return Did(::stat(path, &attributes));
}

Outcome LstatOutcome(const char* path) {
  struct stat attributes {};
  return Did(::lstat(path, &attributes));
}

Outcome StatAt(int directory, const char* path, int flags) {
  struct stat attributes {};
  return Did(::fstatat(directory, path, &attributes, flags));
}

BATON_PARITY_TABLE(
    StatCalls,
    {
        {"File", [] { return StatOutcome("file"); }, kOk},
        {"Absent", [] { return StatOutcome("absent"); }, Fails(ENOENT)},
        {"Empty", [] { return StatOutcome(""); }, Fails(ENOENT)},
        {"Dangling", [] { return StatOutcome("dangling"); }, Fails(ENOENT)},
        {"DanglingItself", [] { return LstatOutcome("dangling"); }, kOk},
        {"Loop", [] { return StatOutcome("loop"); }, Fails(ELOOP)},
        {"LoopItself", [] { return LstatOutcome("loop"); }, kOk},
        {"LinkTrailingSlash", [] { return LstatOutcome("link/"); }, Fails(ENOTDIR)},
        {"DirectoryLinkTrailingSlash",
         [] {
           return LstatOutcome("dirlink/") == kOk ? Gives(S_ISDIR(Lstat("dirlink/").st_mode)) : Fails(errno);
         },
         Gives(1)},
        {"FileTrailingSlash", [] { return StatOutcome("file/"); }, Fails(ENOTDIR)},
        {"FileDot", [] { return StatOutcome("file/."); }, Fails(ENOTDIR)},
        {"FileDotDot", [] { return StatOutcome("file/.."); }, Fails(ENOTDIR)},
        {"AbsentDotDot", [] { return StatOutcome("absent/.."); }, Fails(ENOENT)},
        {"ManySlashes", [] { return StatOutcome("full///file"); }, kOk},
        {"BelowClosed", [] { return StatOutcome("closed/file"); }, Fails(EACCES), kAlice},
        {"SecretIsVisible", [] { return Gives(Stat("secret").st_size); }, Gives(6), kAlice},
        {"AtDescriptor", [] { return StatAt(Open("full", O_RDONLY), "file", 0); }, kOk},
        {"AtFileDescriptor", [] { return StatAt(Open("file", O_RDONLY), "file", 0); }, Fails(ENOTDIR)},
        {"EmptyPath", [] { return StatAt(Open("file", O_RDONLY), "", AT_EMPTY_PATH); }, kOk},
        {"EmptyPathWithoutFlag", [] { return StatAt(Open("file", O_RDONLY), "", 0); }, Fails(ENOENT)},
        {"NoFollow", [] { return StatAt(AT_FDCWD, "dangling", AT_SYMLINK_NOFOLLOW); }, kOk},
        {"UnknownFlag", [] { return StatAt(AT_FDCWD, "file", 0x40000); }, Fails(EINVAL)},
    });

class Attributes : public Parity {};

TEST_F(Attributes, OfAFile) {
  Make("file", "0123456789", 0640);
  const struct stat found = Stat("file");
  EXPECT_EQ(found.st_mode, S_IFREG | 0640u);
  EXPECT_EQ(found.st_nlink, 1u);
  EXPECT_EQ(found.st_uid, ::geteuid());
  EXPECT_EQ(found.st_gid, ::getegid());
  EXPECT_EQ(found.st_size, 10);
  EXPECT_EQ(found.st_rdev, 0u);
}

TEST_F(Attributes, OfADirectory) {
  MakeDir("dir", 0750);
  EXPECT_EQ(Stat("dir").st_mode, S_IFDIR | 0750u);
  EXPECT_EQ(Stat("dir").st_nlink, 2u);
  MakeDir("dir/one");
  MakeDir("dir/two");
  Make("dir/file");
  EXPECT_EQ(Stat("dir").st_nlink, 4u);
  Must(::rmdir("dir/one"));
  EXPECT_EQ(Stat("dir").st_nlink, 3u);
}

TEST_F(Attributes, OfALink) {
  Must(::symlink("somewhere", "link"));
  EXPECT_EQ(Lstat("link").st_mode, S_IFLNK | 0777u);
  EXPECT_EQ(Lstat("link").st_size, 9);
}

TEST_F(Attributes, AreTheSameHoweverAsked) {
  Make("file", "text");
  const Fd fd = Open("file", O_RDONLY);
  EXPECT_EQ(Stat("file").st_ino, Fstat(fd).st_ino);
  EXPECT_EQ(Stat("file").st_dev, Fstat(fd).st_dev);
  EXPECT_EQ(Stat("file").st_dev, Stat(".").st_dev);
  EXPECT_EQ(Stat("./../" + home_.substr(home_.rfind('/') + 1)).st_ino, Stat(".").st_ino);
}

TEST_F(Attributes, InodesDiffer) {
  Make("one");
  Make("two");
  EXPECT_NE(Stat("one").st_ino, Stat("two").st_ino);
}

TEST_F(Attributes, StatxBasics) {
  Make("file", "text", 0604);
  struct statx found {};
  ASSERT_EQ(Did(::statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &found)), kOk);
  EXPECT_EQ(found.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
  EXPECT_EQ(found.stx_mode, S_IFREG | 0604);
  EXPECT_EQ(found.stx_size, 4u);
  EXPECT_EQ(found.stx_ino, Stat("file").st_ino);
  EXPECT_EQ(found.stx_mtime.tv_nsec, Stat("file").st_mtim.tv_nsec);
}

TEST_F(Attributes, StatxSync) {
  Make("file", "text");
  struct statx found {};
  EXPECT_EQ(Did(::statx(AT_FDCWD, "file", AT_STATX_FORCE_SYNC, STATX_SIZE, &found)), kOk);
  EXPECT_EQ(found.stx_size, 4u);
  EXPECT_EQ(Did(::statx(AT_FDCWD, "file", AT_STATX_DONT_SYNC, STATX_SIZE, &found)), kOk);
  EXPECT_EQ(Did(::statx(AT_FDCWD, "file", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &found)),
            Fails(EINVAL));
}

TEST_F(Attributes, StatxBirthTime) {
  Make("file");
  struct statx found {};
  ASSERT_EQ(Did(::statx(AT_FDCWD, "file", 0, STATX_BTIME, &found)), kOk);
  EXPECT_EQ(found.stx_mask & STATX_BTIME, STATX_BTIME);
}

TEST_F(Attributes, FileSystem) {
  Make("file");
  struct statvfs named {
  }, opened{};
  ASSERT_EQ(Did(::statvfs("file", &named)), kOk);
  ASSERT_EQ(Did(::fstatvfs(Open("file", O_RDONLY), &opened)), kOk);
  EXPECT_EQ(named.f_namemax, 255u);
  EXPECT_EQ(named.f_blocks, opened.f_blocks);
  EXPECT_EQ(named.f_frsize, 4096u);
  EXPECT_GT(named.f_bfree, 0u);
  EXPECT_GE(named.f_bfree, named.f_bavail);
  EXPECT_GT(named.f_files, named.f_ffree);
  EXPECT_EQ(Did(::statvfs("absent", &named)), Fails(ENOENT));
}

TEST_F(Attributes, Limits) {
  EXPECT_EQ(::pathconf(".", _PC_NAME_MAX), 255);
  EXPECT_EQ(::pathconf(".", _PC_PATH_MAX), 4096);
}

std::function<Outcome()> Accessing(const char* path, int mode) {
  return [=] { return Did(::access(path, mode)); };
}

BATON_PARITY_TABLE(
    Access, {
                {"Exists", Accessing("file", F_OK), kOk},
                {"Absent", Accessing("absent", F_OK), Fails(ENOENT)},
                {"Dangling", Accessing("dangling", F_OK), Fails(ENOENT)},
                {"Loop", Accessing("loop", F_OK), Fails(ELOOP)},
                {"BelowFile", Accessing("file/x", F_OK), Fails(ENOTDIR)},
                {"UnknownMode", Accessing("file", 8), Fails(EINVAL)},
                {"RootReadsAll", Accessing("secret", R_OK | W_OK), kOk, kRoot},
                {"RootExecutesNothingUnexecutable", Accessing("file", X_OK), Fails(EACCES), kRoot},
                {"RootEntersAll", Accessing("closed", X_OK), kOk, kRoot},
                {"Read", Accessing("file", R_OK), kOk, kAlice},
                {"Write", Accessing("file", W_OK), Fails(EACCES), kAlice},
                {"ReadSecret", Accessing("secret", R_OK), Fails(EACCES), kAlice},
                {"ExistsSecret", Accessing("secret", F_OK), kOk, kAlice},
                {"OwnWrite", Accessing("alices", R_OK | W_OK), kOk, kAlice},
                {"OwnExecute", Accessing("alices", X_OK), Fails(EACCES), kAlice},
                {"EnterDirectory", Accessing("dir", R_OK | X_OK), kOk, kAlice},
                {"WriteDirectory", Accessing("dir", W_OK), Fails(EACCES), kAlice},
                {"EnterClosed", Accessing("closed", X_OK), Fails(EACCES), kAlice},
                {"BelowClosed", Accessing("closed/file", F_OK), Fails(EACCES), kAlice},
                {"EffectiveIds", [] { return Did(::faccessat(AT_FDCWD, "file", R_OK, AT_EACCESS)); }, kOk},
                {"OfLinkItself",
                 [] { return Did(::faccessat(AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW)); }, kOk},
            });

std::function<Outcome()> Chmod(const char* path, mode_t mode) {
  return [=] { return ::chmod(path, mode) == 0 ? Gives(Stat(path).st_mode & 07777) : Fails(errno); };
}

BATON_PARITY_TABLE(ChangeMode,
                   {
                       {"File", Chmod("file", 0600), Gives(0600)},
                       {"AllBits", Chmod("file", 07777), Gives(07777), kRoot},
                       {"NoBits", Chmod("file", 0), Gives(0)},
                       {"Directory", Chmod("dir", 01777), Gives(01777)},
                       {"DirectorySetGroup", Chmod("dir", 02755), Gives(02755)},
                       {"ThroughLink",
                        [] {
                          Must(::chmod("link", 0600));
                          return Gives(Mode("file"));
                        },
                        Gives(0600)},
                       {"Absent", Chmod("absent", 0600), Fails(ENOENT)},
                       {"Dangling", Chmod("dangling", 0600), Fails(ENOENT)},
                       {"Loop", Chmod("loop", 0600), Fails(ELOOP)},
                       {"BelowFile", Chmod("file/x", 0600), Fails(ENOTDIR)},
                       {"Others", Chmod("file", 0777), Fails(EPERM), kAlice},
                       {"Own", Chmod("alices", 0600), Gives(0600), kAlice},
                       {"OwnSetUser", Chmod("alices", 04755), Gives(04755), kAlice},
                       {"OwnSetGroup", Chmod("alices", 02755), Gives(02755), kAlice},
                       {"BelowClosed", Chmod("closed/file", 0600), Fails(EACCES), kAlice},
                       {"Descriptor",
                        [] {
                          Must(::fchmod(Open("file", O_RDONLY), 0400));
                          return Gives(Mode("file"));
                        },
                        Gives(0400)},
                       {"OthersDescriptor", [] { return Did(::fchmod(Open("file", O_RDONLY), 0400)); },
                        Fails(EPERM), kAlice},
                       {"RemovedFile",
                        [] {
                          const Fd fd = Open("file", O_RDONLY);
                          Must(::unlink("file"));
                          Must(::fchmod(fd, 0400));
                          return Gives(Fstat(fd).st_mode & 07777);
                        },
                        Gives(0400)},
                       {"Fifo", Chmod("fifo", 0640), Gives(0640)},
                   });

class Owner : public RootParity {};

TEST_F(Owner, SetGroupBitOfAGroupOneIsNotInIsDropped) {
  Make("file");
  Must(::chown("file", kAliceId, kTeam));
  EXPECT_EQ(As(kAlice, Chmod("file", 02755)), Gives(0755));
  EXPECT_EQ(As(kAliceInTeam, Chmod("file", 02755)), Gives(02755));
}

std::function<Outcome()> Chown(const char* path, uid_t uid, gid_t gid) {
  return [=] {
    if (::chown(path, uid, gid) != 0) {
      return Fails(errno);
    }
    const struct stat found = Stat(path);
    return Gives(found.st_uid * 100'000L + found.st_gid);
  };
}

constexpr uid_t kSame = -1;

BATON_PARITY_TABLE(
    ChangeOwner,
    {
        {"Both", Chown("file", kAliceId, kTeam), Gives(kAliceId * 100'000L + kTeam), kRoot},
        {"OnlyUser", Chown("file", kAliceId, kSame), Gives(kAliceId * 100'000L), kRoot},
        {"OnlyGroup", Chown("file", kSame, kTeam), Gives(kTeam), kRoot},
        {"Neither", Chown("file", kSame, kSame), Gives(0), kRoot},
        {"Directory", Chown("dir", kAliceId, kTeam), Gives(kAliceId * 100'000L + kTeam), kRoot},
        {"LinkFollowed",
         [] {
           Must(::chown("link", kAliceId, kSame));
           return Gives(Stat("file").st_uid);
         },
         Gives(kAliceId), kRoot},
        {"LinkItself",
         [] {
           Must(::lchown("link", kAliceId, kSame));
           return Gives(Lstat("link").st_uid + Stat("file").st_uid);
         },
         Gives(kAliceId), kRoot},
        {"DanglingItself", [] { return Did(::lchown("dangling", kAliceId, kSame)); }, kOk, kRoot},
        {"Dangling", Chown("dangling", kAliceId, kSame), Fails(ENOENT), kRoot},
        {"Absent", Chown("absent", kAliceId, kSame), Fails(ENOENT), kRoot},
        {"Descriptor",
         [] {
           Must(::fchown(Open("file", O_RDONLY), kAliceId, kSame));
           return Gives(Stat("file").st_uid);
         },
         Gives(kAliceId), kRoot},
        {"EmptyPath",
         [] { return Did(::fchownat(Open("file", O_PATH), "", kAliceId, kSame, AT_EMPTY_PATH)); }, kOk,
         kRoot},
        {"GiveAway", Chown("alices", kBobId, kSame), Fails(EPERM), kAlice},
        {"Take", Chown("file", kAliceId, kSame), Fails(EPERM), kAlice},
        {"OwnToSelf", Chown("alices", kAliceId, kAliceId), Gives(kAliceId * 100'000L + kAliceId), kAlice},
        {"OwnToForeignGroup", Chown("alices", kSame, kTeam), Fails(EPERM), kAlice},
        {"OwnToOwnGroup", Chown("alices", kSame, kTeam), Gives(kAliceId * 100'000L + kTeam), kAliceInTeam},
        {"OthersToOwnGroup", Chown("file", kSame, kTeam), Fails(EPERM), kAliceInTeam},
        {"BelowClosed", Chown("closed/file", kSame, kSame), Fails(EACCES), kAlice},
        {"OthersNothing", Chown("file", kSame, kSame), Gives(0), kAlice},
    });

struct Clearing {
  const char* name;
  mode_t before, after;
  Who who;
};

void PrintTo(const Clearing& row, std::ostream* out) {
  *out << row.name;
}

class ChownClears : public RootParity, public testing::WithParamInterface<Clearing> {};

TEST_P(ChownClears, SetIdBits) {
  Make("file");
  Must(::chown("file", kAliceId, kTeam));
  Must(::chmod("file", GetParam().before));
  EXPECT_EQ(As(GetParam().who, [] { return Did(::chown("file", kSame, kTeam)); }), kOk);
  EXPECT_EQ(Mode("file"), GetParam().after);
}

INSTANTIATE_TEST_SUITE_P(Table, ChownClears,
                         testing::Values(Clearing{"SetUserByOwner", 04755, 0755, kAliceInTeam},
                                         Clearing{"SetGroupByOwner", 02755, 0755, kAliceInTeam},
                                         Clearing{"BothByOwner", 06711, 0711, kAliceInTeam},
                                         Clearing{"BothByRoot", 06755, 0755, kRoot},
                                         Clearing{"WithoutGroupExecute", 02644, 02644, kAliceInTeam},
                                         Clearing{"StickyStays", 01755, 01755, kAliceInTeam}),
                         [](const testing::TestParamInfo<Clearing>& row) {
                           return std::string(row.param.name);
                         });

TEST_F(Owner, ChownOfADirectoryKeepsSetGroup) {
  MakeDir("dir", 02755);
  Must(::chown("dir", kAliceId, kTeam));
  EXPECT_EQ(Mode("dir"), 02755u);
}

class Times : public Parity {
 protected:
  void SetUp() override {
    Parity::SetUp();
    Make("file", "text");
    const timespec old[2] = {{1000, 1}, {2000, 2}};
    Must(::utimensat(AT_FDCWD, "file", old, 0));
  }
};

using Moment = std::pair<long, long>;

Moment AccessOf(const std::string& path) {
  const struct stat found = Lstat(path);
  return {found.st_atim.tv_sec, found.st_atim.tv_nsec};
}

Moment ModificationOf(const std::string& path) {
  const struct stat found = Lstat(path);
  return {found.st_mtim.tv_sec, found.st_mtim.tv_nsec};
}

TEST_F(Times, Nanoseconds) {
  const timespec wish[2] = {{1'234'567'890, 123'456'789}, {1'500'000'000, 999'999'999}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_EQ(AccessOf("file"), Moment(1'234'567'890, 123'456'789));
  EXPECT_EQ(ModificationOf("file"), Moment(1'500'000'000, 999'999'999));
}

TEST_F(Times, OmitAccess) {
  const timespec wish[2] = {{0, UTIME_OMIT}, {3000, 3}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_EQ(AccessOf("file"), Moment(1000, 1));
  EXPECT_EQ(ModificationOf("file"), Moment(3000, 3));
}

TEST_F(Times, OmitModification) {
  const timespec wish[2] = {{3000, 3}, {0, UTIME_OMIT}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_EQ(AccessOf("file"), Moment(3000, 3));
  EXPECT_EQ(ModificationOf("file"), Moment(2000, 2));
}

TEST_F(Times, OmitBothChangesNothing) {
  const timespec wish[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}}, changed = Stat("file").st_ctim;
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_EQ(AccessOf("file"), Moment(1000, 1));
  EXPECT_EQ(Moment(Stat("file").st_ctim.tv_sec, Stat("file").st_ctim.tv_nsec),
            Moment(changed.tv_sec, changed.tv_nsec));
}

TEST_F(Times, NowForOne) {
  const timespec wish[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_GT(AccessOf("file").first, 1'600'000'000);
  EXPECT_EQ(ModificationOf("file"), Moment(2000, 2));
}

TEST_F(Times, NowForBoth) {
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", nullptr, 0)), kOk);
  EXPECT_GT(AccessOf("file").first, 1'600'000'000);
  EXPECT_EQ(AccessOf("file"), ModificationOf("file"));
}

TEST_F(Times, BeforeTheEpoch) {
  const timespec wish[2] = {{-1, 0}, {-86400, 5}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_EQ(AccessOf("file"), Moment(-1, 0));
  EXPECT_EQ(ModificationOf("file"), Moment(-86400, 5));
}

TEST_F(Times, After2038) {
  const timespec wish[2] = {{1L << 33, 7}, {1L << 32, 8}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "file", wish, 0)), kOk);
  EXPECT_EQ(AccessOf("file"), Moment(1L << 33, 7));
  EXPECT_EQ(ModificationOf("file"), Moment(1L << 32, 8));
}

TEST_F(Times, OfALinkItself) {
  Must(::symlink("file", "link"));
  const timespec wish[2] = {{3000, 3}, {4000, 4}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "link", wish, AT_SYMLINK_NOFOLLOW)), kOk);
  EXPECT_EQ(ModificationOf("link"), Moment(4000, 4));
  EXPECT_EQ(ModificationOf("file"), Moment(2000, 2));
}

TEST_F(Times, OfADescriptor) {
  const timespec wish[2] = {{3000, 3}, {4000, 4}};
  EXPECT_EQ(Did(::futimens(Open("file", O_RDONLY), wish)), kOk);
  EXPECT_EQ(ModificationOf("file"), Moment(4000, 4));
}

TEST_F(Times, OfADirectory) {
  MakeDir("dir");
  const timespec wish[2] = {{3000, 3}, {4000, 4}};
  EXPECT_EQ(Did(::utimensat(AT_FDCWD, "dir", wish, 0)), kOk);
  EXPECT_EQ(ModificationOf("dir"), Moment(4000, 4));
  Make("dir/name");
  EXPECT_GT(ModificationOf("dir").first, 1'600'000'000);
}

TEST_F(Times, ChangesOfNamesMoveTheDirectorys) {
  MakeDir("dir");
  const timespec old[2] = {{1000, 1}, {2000, 2}};
  const auto moved = [&](auto change) {
    Must(::utimensat(AT_FDCWD, "dir", old, 0));
    Must(change());
    return ModificationOf("dir").first != 2000;
  };
  EXPECT_TRUE(moved([] { return ::link("file", "dir/a"); }));
  EXPECT_TRUE(moved([] { return ::rename("dir/a", "dir/b"); }));
  EXPECT_TRUE(moved([] { return ::symlink("x", "dir/c"); }));
  EXPECT_TRUE(moved([] { return ::unlink("dir/b"); }));
  EXPECT_TRUE(moved([] { return ::mkdir("dir/d", 0700); }));
  EXPECT_TRUE(moved([] { return ::rmdir("dir/d"); }));
  EXPECT_FALSE(moved([] { return ::chmod("dir", 0700); }));
}

TEST_F(Times, ChangeTimeMovesWithAttributesAndLinks) {
  const auto moved = [](auto change) {
    const timespec before = Stat("file").st_ctim;
    Must(change());
    const timespec after = Stat("file").st_ctim;
    return Moment(after.tv_sec, after.tv_nsec) >= Moment(before.tv_sec, before.tv_nsec);
  };
  EXPECT_TRUE(moved([] { return ::chmod("file", 0600); }));
  EXPECT_TRUE(moved([] { return ::link("file", "other"); }));
  EXPECT_TRUE(moved([] { return ::rename("file", "again") + ::rename("again", "file"); }));
  EXPECT_TRUE(moved([] { return ::unlink("other"); }));
  EXPECT_EQ(ModificationOf("file"), Moment(2000, 2));
}

Outcome SetTimes(const char* path, long nanoseconds, int flags = 0) {
  const timespec wish[2] = {{5, nanoseconds}, {6, nanoseconds}};
  return Did(::utimensat(AT_FDCWD, path, wish, flags));
}

BATON_PARITY_TABLE(
    TimesErrors,
    {
        {"TooManyNanoseconds", [] { return SetTimes("file", 1'000'000'000); }, Fails(EINVAL)},
        {"Negative", [] { return SetTimes("file", -1); }, Fails(EINVAL)},
        {"Absent", [] { return SetTimes("absent", 0); }, Fails(ENOENT)},
        {"DanglingFollowed", [] { return SetTimes("dangling", 0); }, Fails(ENOENT)},
        {"UnknownFlag", [] { return SetTimes("file", 0, 0x40000); }, Fails(EINVAL)},
        {"Others", [] { return SetTimes("open/file", 0); }, Fails(EPERM), kAlice},
        {"OthersNowUnwritable", [] { return SetTimes("file", UTIME_NOW); }, Fails(EACCES), kAlice},
        {"OthersNowWritable", [] { return SetTimes("sticky/roots", UTIME_NOW); }, kOk, kAlice},
        {"OthersSetWritable", [] { return SetTimes("sticky/roots", 0); }, Fails(EPERM), kAlice},
        {"OthersOmitBoth", [] { return SetTimes("file", UTIME_OMIT); }, kOk, kAlice},
        {"Own", [] { return SetTimes("alices", 0); }, kOk, kAlice},
        {"OwnUnwritable",
         [] {
           Must(::chmod("alices", 0));
           return SetTimes("alices", UTIME_NOW);
         },
         kOk, kAlice},
        {"BelowClosed", [] { return SetTimes("closed/file", UTIME_NOW); }, Fails(EACCES), kAlice},
    });

}  // namespace
}  // namespace baton::parity
