// Who may: classes of owner, group and others, supplementary groups, umask, set-gid directories.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

struct Class {
  const char* name;
  Who who;
  mode_t mode;
  Outcome read, write, search;  // of a file / of a directory of kAliceId:kTeam
};

void PrintTo(const Class& row, std::ostream* out) {
  *out << row.name;
}

const Who kBobInTeam{Who::kUser, kBobId, kBobId, {kTeam}};
const Who kBobsFirstGroup{Who::kUser, kBobId, kTeam};
const Who kManyGroups{
    Who::kUser, kBobId, kBobId, {13000, 13001, 13002, 13003, 13004, 13005, 13006, 13007, 13008,
                                 13009, 13010, 13011, 13012, 13013, 13014, 13015, 13016, 13017,
                                 13018, 13019, 13020, 13021, 13022, 13023, 13024, 13025, 13026,
                                 13027, 13028, 13029, 13030, 13031, 13032, 13033, kTeam}};

class PermissionClass : public RootParity, public testing::WithParamInterface<Class> {};

TEST_P(PermissionClass, OfAFileAndADirectory) {
  const Class& row = GetParam();
  Make("file", "x", row.mode);
  MakeDir("dir", row.mode);
  Make("dir/name", "", 0666);
  for (const char* name : {"file", "dir"}) {
    Must(::chown(name, kAliceId, kTeam));
  }
  EXPECT_EQ(As(row.who, [] { return TryOpen("file", O_RDONLY); }), row.read);
  EXPECT_EQ(As(row.who, [] { return TryOpen("file", O_WRONLY); }), row.write);
  EXPECT_EQ(As(row.who, [] { return TryOpen("dir", O_RDONLY); }), row.read);
  EXPECT_EQ(As(row.who, [] { return TryOpen("dir/name", O_RDONLY); }), row.search);
  const Outcome create = row.search == kOk ? row.write : row.search;
  EXPECT_EQ(As(row.who, [] { return TryOpen("dir/new", O_WRONLY | O_CREAT); }), create);
  EXPECT_EQ(As(row.who, [] { return Did(::unlink("dir/name")); }), create);
}

const Outcome kNo = Fails(EACCES);

INSTANTIATE_TEST_SUITE_P(
    Table, PermissionClass,
    testing::Values(
        Class{"OwnerAll", kAlice, 0700, kOk, kOk, kOk}, Class{"OwnerNone", kAlice, 0077, kNo, kNo, kNo},
        Class{"OwnerRead", kAlice, 0400, kOk, kNo, kNo}, Class{"OwnerWrite", kAlice, 0200, kNo, kOk, kNo},
        Class{"OwnerSearch", kAlice, 0100, kNo, kNo, kOk},
        Class{"OwnerInGroupIsStillOwner", kAliceInTeam, 0077, kNo, kNo, kNo},
        Class{"GroupAll", kBobInTeam, 0070, kOk, kOk, kOk},
        Class{"GroupNone", kBobInTeam, 0707, kNo, kNo, kNo},
        Class{"GroupRead", kBobInTeam, 0040, kOk, kNo, kNo},
        Class{"GroupWrite", kBobInTeam, 0020, kNo, kOk, kNo},
        Class{"GroupSearch", kBobInTeam, 0010, kNo, kNo, kOk},
        Class{"FirstGroup", kBobsFirstGroup, 0070, kOk, kOk, kOk},
        Class{"LastOfManyGroups", kManyGroups, 0070, kOk, kOk, kOk},
        Class{"OthersAll", kBob, 0007, kOk, kOk, kOk}, Class{"OthersNone", kBob, 0770, kNo, kNo, kNo},
        Class{"OthersRead", kBob, 0004, kOk, kNo, kNo}, Class{"OthersWrite", kBob, 0002, kNo, kOk, kNo},
        Class{"OthersSearch", kBob, 0001, kNo, kNo, kOk}, Class{"RootAll", kRoot, 0, kOk, kOk, kOk}),
    [](const testing::TestParamInfo<Class>& row) { return std::string(row.param.name); });

class Inheritance : public RootParity {
 protected:
  void SetUp() override {
    RootParity::SetUp();
    if (IsRoot()) {
      MakeDir("team", 02777);
      Must(::chown("team", 0, kTeam));
      Must(::chmod("team", 02777));
    }
  }
};

TEST_F(Inheritance, FileTakesTheDirectorysGroup) {
  EXPECT_EQ(As(kAlice,
               [] {
                 Make("team/file", "", 0644);
                 return Gives(Stat("team/file").st_gid);
               }),
            Gives(kTeam));
  EXPECT_EQ(Mode("team/file"), 0644u);
}

TEST_F(Inheritance, DirectoryTakesGroupAndBit) {
  EXPECT_EQ(As(kAlice,
               [] {
                 Must(::mkdir("team/dir", 0755));
                 return Gives(Stat("team/dir").st_gid);
               }),
            Gives(kTeam));
  EXPECT_EQ(Mode("team/dir"), 02755u);
}

TEST_F(Inheritance, LinkAndFifoTakeTheGroup) {
  EXPECT_EQ(As(kAlice,
               [] {
                 Must(::symlink("x", "team/link"));
                 return Gives(Lstat("team/link").st_gid);
               }),
            Gives(kTeam));
  EXPECT_EQ(As(kAlice,
               [] {
                 Must(::mkfifo("team/fifo", 0600));
                 return Gives(Lstat("team/fifo").st_gid);
               }),
            Gives(kTeam));
}

TEST_F(Inheritance, SetGroupFileOfAForeignGroupLosesTheBit) {
  EXPECT_EQ(As(kAlice,
               [] {
                 ::umask(0);
                 const Fd fd = Open("team/file", O_WRONLY | O_CREAT, 02775);
                 return Gives(Fstat(fd).st_mode & 07777);
               }),
            Gives(0775));
}

TEST_F(Inheritance, SetGroupFileOfAnOwnGroupKeepsTheBit) {
  EXPECT_EQ(As(kAliceInTeam,
               [] {
                 ::umask(0);
                 const Fd fd = Open("team/file", O_WRONLY | O_CREAT, 02775);
                 return Gives(Fstat(fd).st_mode & 07777);
               }),
            Gives(02775));
}

TEST_F(Inheritance, WithoutTheBitTheCreatorsGroup) {
  MakeDir("open", 0777);
  Must(::chown("open", 0, kTeam));
  EXPECT_EQ(As(kAlice,
               [] {
                 Make("open/file");
                 return Gives(Stat("open/file").st_gid);
               }),
            Gives(kAliceId));
}

TEST_F(Inheritance, RenamedIntoItKeepsItsGroup) {
  Make("file");
  Must(::rename("file", "team/file"));
  EXPECT_EQ(Stat("team/file").st_gid, 0u);
}

struct Mask {
  mode_t mask, wish, file, directory;
};

class Umask : public Parity, public testing::WithParamInterface<Mask> {};

TEST_P(Umask, OfEveryKindOfFile) {
  const Mask& row = GetParam();
  ::umask(row.mask);
  Open("file", O_WRONLY | O_CREAT, row.wish).Close();
  Must(::mkdir("dir", row.wish));
  Must(::mkfifo("fifo", row.wish));
  Must(::mknod("node", S_IFREG | row.wish, 0));
  Must(::symlink("x", "link"));
  ::umask(022);
  EXPECT_EQ(Mode("file"), row.file);
  EXPECT_EQ(Mode("dir"), row.directory);
  EXPECT_EQ(Mode("fifo"), row.file);
  EXPECT_EQ(Mode("node"), row.file);
  EXPECT_EQ(Mode("link"), 0777u);
  Must(::chmod("dir", 0700));  // or its owner could not remove it
}

INSTANTIATE_TEST_SUITE_P(Table, Umask,
                         testing::Values(Mask{0, 0777, 0777, 0777}, Mask{022, 0666, 0644, 0644},
                                         Mask{077, 0777, 0700, 0700}, Mask{0777, 0777, 0, 0},
                                         Mask{0133, 0777, 0644, 0644}, Mask{0, 01666, 01666, 01666}),
                         [](const testing::TestParamInfo<Mask>& row) {
                           char name[32];
                           snprintf(name, sizeof name, "Mask%03oWish%04o", row.param.mask, row.param.wish);
                           return std::string(name);
                         });

class Credentials : public RootParity {};

TEST_F(Credentials, EffectiveIdsDecideOpens) {
  Make("secret", "x", 0600);
  EXPECT_EQ(Apart([] {
              Must(::setegid(kAliceId));
              Must(::seteuid(kAliceId));
              return TryOpen("secret", O_RDONLY);
            }),
            Fails(EACCES));
}

TEST_F(Credentials, RealIdsDecideAccess) {
  Make("secret", "x", 0600);
  EXPECT_EQ(Apart([] {
              Must(::setresuid(kAliceId, 0, 0));
              return TryOpen("secret", O_RDONLY) == kOk ? Did(::access("secret", R_OK)) : Gives(-1);
            }),
            Fails(EACCES));
}

TEST_F(Credentials, FileSystemIdsDecideOpensAndOwners) {
  MakeDir("open", 0777);
  Make("secret", "x", 0600);
  EXPECT_EQ(Apart([] {
              ::setfsgid(kAliceId);
              ::setfsuid(kAliceId);
              return TryOpen("secret", O_RDONLY) == Fails(EACCES)
                         ? Gives(Fstat(Open("open/new", O_WRONLY | O_CREAT)).st_uid)
                         : Gives(-1);
            }),
            Gives(kAliceId));
}

TEST_F(Credentials, DescriptorPassedToAnotherUserStaysOpen) {
  Make("secret", "x", 0600);
  const Fd fd = Open("secret", O_RDWR);
  EXPECT_EQ(As(kAlice, [&] { return Did(::pwrite(fd, "y", 1, 0)); }), Gives(1));
  EXPECT_EQ(As(kAlice, [&] { return Gives(At(fd, 0, 1) == "y"); }), Gives(1));
  EXPECT_EQ(As(kAlice, [&] { return Did(::ftruncate(fd, 0)); }), kOk);
  EXPECT_EQ(As(kAlice, [&] { return Did(::fchmod(fd, 0666)); }), Fails(EPERM));
}

TEST_F(Credentials, WriteThroughADescriptorOfRootClearsSetId) {
  Make("program", "x", 04755);
  const Fd fd = Open("program", O_RDWR);
  EXPECT_EQ(As(kAlice, [&] { return Did(::pwrite(fd, "y", 1, 0)); }), Gives(1));
  EXPECT_EQ(Mode("program"), 0755u);
}

TEST_F(Credentials, RootWithoutItsCapabilitiesIsAUserLikeOthers) {
  Make("alices", "x", 0600);
  Must(::chown("alices", kAliceId, kAliceId));
  EXPECT_EQ(Apart([] {
              __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
              __user_cap_data_struct none[2] = {};
              Must(::syscall(SYS_capset, &header, none));
              return TryOpen("alices", O_RDONLY);
            }),
            Fails(EACCES));
}

TEST_F(Credentials, PermissionChangedUnderAnOpenDirectory) {
  MakeDir("dir", 0755);
  Make("dir/file", "x");
  EXPECT_EQ(As(kAlice,
               [] {
                 const Fd fd = Open("dir", O_RDONLY);
                 return As(kCaller, [&] { return Did(::faccessat(fd, "file", R_OK, 0)); });
               }),
            kOk);
  Must(::chmod("dir", 0700));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_RDONLY); }), Fails(EACCES));
  Must(::chmod("dir", 0711));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_RDONLY); }), kOk);
}

}  // namespace
}  // namespace baton::parity
