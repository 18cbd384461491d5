// POSIX access control lists, by their raw xattrs: enforcement, default lists, the umask beside them, chmod.
#include <fcntl.h>
#include <sys/xattr.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";

enum Tag : uint16_t { kOwner = 1, kUser = 2, kOwningGroup = 4, kGroup = 8, kMask = 16, kOther = 32 };

struct Entry {
  Tag tag;
  uint16_t permissions;
  uint32_t id = ~0u;
};

// As the kernel takes it: version 2, then 8 bytes each.
std::string Raw(const std::vector<Entry>& entries) {
  std::string raw("\x02\0\0\0", 4);
  for (const Entry& entry : entries) {
    for (const uint32_t half : {uint32_t{entry.tag}, uint32_t{entry.permissions}}) {
      raw += {static_cast<char>(half & 255), static_cast<char>(half >> 8)};
    }
    raw.append(reinterpret_cast<const char*>(&entry.id), 4);
  }
  return raw;
}

Outcome SetList(const char* path, const char* kind, const std::vector<Entry>& entries) {
  const std::string raw = Raw(entries);
  return Did(::setxattr(path, kind, raw.data(), raw.size(), 0));
}

std::string List(const char* path, const char* kind) {
  std::string raw(4096, '\0');
  raw.resize(Must(::getxattr(path, kind, raw.data(), raw.size())));
  return raw;
}

bool HasList(const char* path, const char* kind) {
  return ::getxattr(path, kind, nullptr, 0) >= 0;
}

// u::rw u:alice:<alice> g::r m::<mask> o::-
std::vector<Entry> ForAlice(uint16_t alice, uint16_t mask) {
  return {{kOwner, 6}, {kUser, alice, kAliceId}, {kOwningGroup, 4}, {kMask, mask}, {kOther, 0}};
}

class AccessList : public RootParity {};

TEST_F(AccessList, ReadBack) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 6)), kOk);
  EXPECT_EQ(List("file", kAccess), Raw(ForAlice(6, 6)));
}

TEST_F(AccessList, NamedUserMay) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 6)), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_RDWR); }), kOk);
  EXPECT_EQ(As(kBob, [] { return TryOpen("file", O_RDONLY); }), Fails(EACCES));
  EXPECT_EQ(As(kAlice, [] { return Did(::access("file", R_OK | W_OK)); }), kOk);
}

TEST_F(AccessList, NamedUserMayNot) {
  Make("file", "x", 0666);
  ASSERT_EQ(SetList("file", kAccess,
                    {{kOwner, 6}, {kUser, 0, kAliceId}, {kOwningGroup, 6}, {kMask, 6}, {kOther, 6}}),
            kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_RDONLY); }), Fails(EACCES));
  EXPECT_EQ(As(kBob, [] { return TryOpen("file", O_RDWR); }), kOk);
}

TEST_F(AccessList, MaskLimitsTheNamedUser) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 4)), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_RDONLY); }), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_WRONLY); }), Fails(EACCES));
}

TEST_F(AccessList, NamedGroup) {
  Make("file", "x", 0600);
  ASSERT_EQ(
      SetList("file", kAccess, {{kOwner, 6}, {kOwningGroup, 0}, {kGroup, 4, kTeam}, {kMask, 4}, {kOther, 0}}),
      kOk);
  EXPECT_EQ(As(kAliceInTeam, [] { return TryOpen("file", O_RDONLY); }), kOk);
  EXPECT_EQ(As(kAliceInTeam, [] { return TryOpen("file", O_WRONLY); }), Fails(EACCES));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_RDONLY); }), Fails(EACCES));
}

TEST_F(AccessList, OfADirectory) {
  MakeDir("dir", 0700);
  Make("dir/file", "x", 0666);
  ASSERT_EQ(SetList("dir", kAccess,
                    {{kOwner, 7}, {kUser, 7, kAliceId}, {kOwningGroup, 0}, {kMask, 7}, {kOther, 0}}),
            kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_RDWR); }), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/new", O_WRONLY | O_CREAT); }), kOk);
  EXPECT_EQ(As(kAlice, [] { return Did(::unlink("dir/file")); }), kOk);
  EXPECT_EQ(As(kBob, [] { return TryOpen("dir/new", O_RDONLY); }), Fails(EACCES));
}

TEST_F(AccessList, SearchThroughADirectory) {
  MakeDir("dir", 0700);
  Make("dir/file", "x", 0666);
  ASSERT_EQ(SetList("dir", kAccess,
                    {{kOwner, 7}, {kUser, 1, kAliceId}, {kOwningGroup, 0}, {kMask, 1}, {kOther, 0}}),
            kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_RDONLY); }), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir", O_RDONLY); }), Fails(EACCES));
}

TEST_F(AccessList, GroupBitsShowTheMask) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 6)), kOk);
  EXPECT_EQ(Mode("file"), 0660u);
}

TEST_F(AccessList, ChmodChangesTheMask) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 6)), kOk);
  Must(::chmod("file", 0640));
  EXPECT_EQ(List("file", kAccess), Raw(ForAlice(6, 4)));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_WRONLY); }), Fails(EACCES));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_RDONLY); }), kOk);
}

TEST_F(AccessList, MinimalListIsTheMode) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, {{kOwner, 6}, {kOwningGroup, 4}, {kOther, 4}}), kOk);
  EXPECT_EQ(Mode("file"), 0644u);
  EXPECT_FALSE(HasList("file", kAccess));
}

TEST_F(AccessList, RemovedListLeavesTheMode) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 6)), kOk);
  EXPECT_EQ(Did(::removexattr("file", kAccess)), kOk);
  EXPECT_FALSE(HasList("file", kAccess));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("file", O_RDONLY); }), Fails(EACCES));
}

TEST_F(AccessList, IsListed) {
  Make("file", "x", 0600);
  ASSERT_EQ(SetList("file", kAccess, ForAlice(6, 6)), kOk);
  char names[4096];
  const long size = Must(::listxattr("file", names, sizeof names));
  EXPECT_NE(std::string(names, size).find(kAccess), std::string::npos);
}

TEST_F(AccessList, OnlyTheOwnerMaySetIt) {
  Make("file", "x", 0666);
  EXPECT_EQ(As(kAlice, [] { return SetList("file", kAccess, ForAlice(6, 6)); }), Fails(EPERM));
  Must(::chown("file", kAliceId, kAliceId));
  EXPECT_EQ(As(kAlice,
               [] {
                 return SetList(
                     "file", kAccess,
                     {{kOwner, 6}, {kUser, 4, kBobId}, {kOwningGroup, 0}, {kMask, 4}, {kOther, 0}});
               }),
            kOk);
  EXPECT_EQ(As(kBob, [] { return TryOpen("file", O_RDONLY); }), kOk);
}

TEST_F(AccessList, Malformed) {
  Make("file");
  EXPECT_EQ(Did(::setxattr("file", kAccess, "\x03\0\0\0", 4, 0)), Fails(EOPNOTSUPP)) << "another version";
  EXPECT_EQ(Did(::setxattr("file", kAccess, "\x02\0\0\0abc", 7, 0)), Fails(EINVAL)) << "part of an entry";
  EXPECT_EQ(SetList("file", kAccess, {{kOwner, 6}, {kUser, 6, kAliceId}, {kOwningGroup, 4}, {kOther, 0}}),
            Fails(EINVAL))
      << "no mask";
  EXPECT_EQ(SetList("file", kAccess, {{kOwner, 6}, {kOther, 0}}), Fails(EINVAL)) << "no group";
}

TEST_F(AccessList, OnALinkItself) {
  Must(::symlink("x", "link"));
  const std::string raw = Raw(ForAlice(6, 6));
  EXPECT_EQ(Did(::lsetxattr("link", kAccess, raw.data(), raw.size(), 0)), Fails(EOPNOTSUPP));
}

class DefaultList : public RootParity {
 protected:
  void SetUp() override {
    RootParity::SetUp();
    if (IsRoot()) {
      MakeDir("dir", 0777);
      ASSERT_EQ(SetList("dir", kDefault, List_()), kOk);
    }
  }
  // u::rwx u:alice:rwx g::rx m::rwx o::-
  static std::vector<Entry> List_() {
    return {{kOwner, 7}, {kUser, 7, kAliceId}, {kOwningGroup, 5}, {kMask, 7}, {kOther, 0}};
  }
};

TEST_F(DefaultList, ReadBack) {
  EXPECT_EQ(List("dir", kDefault), Raw(List_()));
  EXPECT_EQ(Mode("dir"), 0777u);
}

TEST_F(DefaultList, ReplacesTheUmaskForFiles) {
  ::umask(077);
  Open("dir/file", O_WRONLY | O_CREAT, 0666).Close();
  EXPECT_EQ(Mode("dir/file"), 0660u);
  EXPECT_EQ(List("dir/file", kAccess),
            Raw({{kOwner, 6}, {kUser, 7, kAliceId}, {kOwningGroup, 5}, {kMask, 6}, {kOther, 0}}));
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_RDWR); }), kOk);
}

TEST_F(DefaultList, ModeOfCreateLimitsIt) {
  Open("dir/file", O_WRONLY | O_CREAT, 0640).Close();
  EXPECT_EQ(Mode("dir/file"), 0640u);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_RDONLY); }), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("dir/file", O_WRONLY); }), Fails(EACCES));
}

TEST_F(DefaultList, IsInheritedByDirectories) {
  ::umask(077);
  Must(::mkdir("dir/sub", 0777));
  EXPECT_EQ(Mode("dir/sub"), 0770u);
  EXPECT_EQ(List("dir/sub", kDefault), Raw(List_()));
  EXPECT_EQ(List("dir/sub", kAccess), Raw(List_()));
}

TEST_F(DefaultList, AppliesToFifosAndNodes) {
  ::umask(077);
  Must(::mkfifo("dir/fifo", 0666));
  Must(::mknod("dir/node", S_IFREG | 0666, 0));
  EXPECT_EQ(Mode("dir/fifo"), 0660u);
  EXPECT_EQ(Mode("dir/node"), 0660u);
}

TEST_F(DefaultList, AppliesToTemporaryFiles) {
  ::umask(077);
  const Fd fd = Open("dir", O_TMPFILE | O_RDWR, 0666);
  EXPECT_EQ(Fstat(fd).st_mode & 07777, 0660u);
}

TEST_F(DefaultList, NotForLinks) {
  Must(::symlink("x", "dir/link"));
  EXPECT_EQ(Mode("dir/link"), 0777u);
}

TEST_F(DefaultList, MinimalListReplacesTheUmask) {
  MakeDir("plain");
  ASSERT_EQ(SetList("plain", kDefault, {{kOwner, 7}, {kOwningGroup, 7}, {kOther, 5}}), kOk);
  ::umask(077);
  Open("plain/file", O_WRONLY | O_CREAT, 0666).Close();
  EXPECT_EQ(Mode("plain/file"), 0664u);
  EXPECT_FALSE(HasList("plain/file", kAccess));
}

TEST_F(DefaultList, RemovedListLeavesTheUmask) {
  Must(::removexattr("dir", kDefault));
  ::umask(077);
  Open("dir/file", O_WRONLY | O_CREAT, 0666).Close();
  EXPECT_EQ(Mode("dir/file"), 0600u);
}

TEST_F(DefaultList, OnlyOnDirectories) {
  Make("file");
  EXPECT_EQ(SetList("file", kDefault, List_()), Fails(EACCES));
}

TEST_F(DefaultList, NotAppliedToWhatIsMovedIn) {
  Make("file", "", 0600);
  Must(::rename("file", "dir/file"));
  EXPECT_FALSE(HasList("dir/file", kAccess));
  EXPECT_EQ(Mode("dir/file"), 0600u);
}

}  // namespace
}  // namespace baton::parity
