// Extended attributes of every name space.
#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>

#include "parity/parity.h"

namespace baton::parity {
namespace {

Outcome Set(const char* path, const char* name, std::string_view value, int flags = 0) {
  return Did(::setxattr(path, name, value.data(), value.size(), flags));
}

std::string Get(const char* path, const char* name) {
  std::string value(70000, '\0');
  value.resize(Must(::getxattr(path, name, value.data(), value.size())));
  return value;
}

Outcome Size(const char* path, const char* name) {
  return Did(::getxattr(path, name, nullptr, 0));
}

// Names in the "user." name space; what a system adds of itself is none of ours.
std::vector<std::string> UserNames(const char* path) {
  std::string list(65536, '\0');
  list.resize(Must(::listxattr(path, list.data(), list.size())));
  std::vector<std::string> names;
  for (size_t at = 0; at < list.size(); at = list.find('\0', at) + 1) {
    const std::string name = list.c_str() + at;
    if (name.starts_with("user.")) {
      names.push_back(name);
    }
  }
  std::ranges::sort(names);
  return names;
}

BATON_PARITY_TABLE(
    SetXattr,
    {
        {"New", [] { return Set("file", "user.a", "value"); }, kOk},
        {"ReadBack",
         [] {
           Set("file", "user.a", "value");
           return Gives(Get("file", "user.a") == "value");
         },
         Gives(1)},
        {"AnyBytes",
         [] {
           const std::string value("\0\xff\n\0", 4);
           Set("file", "user.a", value);
           return Gives(Get("file", "user.a") == value);
         },
         Gives(1)},
        {"Empty",
         [] {
           Set("file", "user.a", "");
           return Size("file", "user.a");
         },
         Gives(0)},
        {"Over",
         [] {
           Set("file", "user.a", "long value");
           Set("file", "user.a", "x");
           return Gives(Get("file", "user.a") == "x");
         },
         Gives(1)},
        {"CreateNew", [] { return Set("file", "user.a", "x", XATTR_CREATE); }, kOk},
        {"CreateExisting",
         [] {
           Set("file", "user.a", "x");
           return Set("file", "user.a", "y", XATTR_CREATE);
         },
         Fails(EEXIST)},
        {"ReplaceExisting",
         [] {
           Set("file", "user.a", "x");
           return Set("file", "user.a", "y", XATTR_REPLACE);
         },
         kOk},
        {"ReplaceAbsent", [] { return Set("file", "user.a", "x", XATTR_REPLACE); }, Fails(ENODATA)},
        {"UnknownFlag", [] { return Set("file", "user.a", "x", 64); }, Fails(EINVAL)},
        {"UnknownNameSpace", [] { return Set("file", "other.a", "x"); }, Fails(EOPNOTSUPP)},
        {"NoNameSpace", [] { return Set("file", "name", "x"); }, Fails(EOPNOTSUPP)},
        {"NothingAfterNameSpace", [] { return Set("file", "user.", "x"); }, Fails(EINVAL)},
        {"EmptyName", [] { return Set("file", "", "x"); }, Fails(ERANGE)},
        {"LongestName", [] { return Set("file", ("user." + std::string(250, 'n')).c_str(), "x"); }, kOk},
        {"TooLongName", [] { return Set("file", ("user." + std::string(251, 'n')).c_str(), "x"); },
         Fails(ERANGE)},
        {"NameOfAnyBytes", [] { return Set("file", "user.\xff\x01 ", "x"); }, kOk},
        {"OneThousandBytes", [] { return Set("file", "user.a", std::string(1000, 'v')); }, kOk},
        {"ThreeThousandBytes",
         [] {
           const std::string value(3000, 'v');
           Set("file", "user.a", value);
           return Gives(Get("file", "user.a") == value);
         },
         Gives(1)},
        {"MoreThanTheKernelTakes", [] { return Set("file", "user.a", std::string(65537, 'v')); },
         Fails(E2BIG)},
        {"MoreThanTheStoreTakes", [] { return Set("file", "user.a", std::string(65536, 'v')); },
         Fails(ENOSPC)},
        {"Directory",
         [] {
           Set("dir", "user.a", "x");
           return Gives(Get("dir", "user.a") == "x");
         },
         Gives(1)},
        {"ThroughLink",
         [] {
           Set("link", "user.a", "x");
           return Gives(Get("file", "user.a") == "x");
         },
         Gives(1)},
        {"LinkItself", [] { return Did(::lsetxattr("link", "user.a", "x", 1, 0)); }, Fails(EPERM)},
        {"Fifo", [] { return Set("fifo", "user.a", "x"); }, Fails(EPERM)},
        {"Dangling", [] { return Set("dangling", "user.a", "x"); }, Fails(ENOENT)},
        {"Absent", [] { return Set("absent", "user.a", "x"); }, Fails(ENOENT)},
        {"BelowFile", [] { return Set("file/x", "user.a", "x"); }, Fails(ENOTDIR)},
        {"Descriptor", [] { return Did(::fsetxattr(Open("file", O_RDWR), "user.a", "x", 1, 0)); }, kOk},
        {"DescriptorForReading", [] { return Did(::fsetxattr(Open("file", O_RDONLY), "user.a", "x", 1, 0)); },
         kOk},
        {"DescriptorPathOnly", [] { return Did(::fsetxattr(Open("file", O_PATH), "user.a", "x", 1, 0)); },
         Fails(EBADF)},
        {"RemovedFile",
         [] {
           const Fd fd = Open("alices", O_RDWR);
           Must(::unlink("alices"));
           return Did(::fsetxattr(fd, "user.a", "x", 1, 0));
         },
         kOk},
        {"NoPermission", [] { return Set("file", "user.a", "x"); }, Fails(EACCES), kAlice},
        {"Own", [] { return Set("alices", "user.a", "x"); }, kOk, kAlice},
        {"OwnUnwritable",
         [] {
           Must(::chmod("alices", 0400));
           return Set("alices", "user.a", "x");
         },
         Fails(EACCES), kAlice},
        {"StickyDirectoryOfAnother", [] { return Set("sticky", "user.a", "x"); }, Fails(EPERM), kAlice},
        {"BelowClosed", [] { return Set("closed/file", "user.a", "x"); }, Fails(EACCES), kAlice},
        {"Trusted",
         [] {
           Set("file", "trusted.a", "x");
           return Gives(Get("file", "trusted.a") == "x");
         },
         Gives(1), kRoot},
        {"TrustedOfLinkItself", [] { return Did(::lsetxattr("link", "trusted.a", "x", 1, 0)); }, kOk, kRoot},
        {"TrustedNotRoot", [] { return Set("alices", "trusted.a", "x"); }, Fails(EPERM), kAlice},
        {"Security",
         [] {
           Set("file", "security.parity", "x");
           return Gives(Get("file", "security.parity") == "x");
         },
         Gives(1), kRoot},
        {"SecurityNotRoot", [] { return Set("alices", "security.parity", "x"); }, Fails(EPERM), kAlice},
        {"System", [] { return Set("file", "system.parity", "x"); }, Fails(EOPNOTSUPP)},
    });

BATON_PARITY_TABLE(
    GetXattr,
    {
        {"Absent", [] { return Size("file", "user.a"); }, Fails(ENODATA)},
        {"SizeOnly",
         [] {
           Set("file", "user.a", "value");
           return Size("file", "user.a");
         },
         Gives(5)},
        {"TooSmall",
         [] {
           Set("file", "user.a", "value");
           char part[4];
           return Did(::getxattr("file", "user.a", part, 4));
         },
         Fails(ERANGE)},
        {"ExactlyLargeEnough",
         [] {
           Set("file", "user.a", "value");
           char part[5];
           return Did(::getxattr("file", "user.a", part, 5));
         },
         Gives(5)},
        {"UnknownNameSpace", [] { return Size("file", "other.a"); }, Fails(EOPNOTSUPP)},
        {"EmptyName", [] { return Size("file", ""); }, Fails(ERANGE)},
        {"TooLongName", [] { return Size("file", ("user." + std::string(251, 'n')).c_str()); },
         Fails(ERANGE)},
        {"AbsentFile", [] { return Size("absent", "user.a"); }, Fails(ENOENT)},
        {"OfLinkItself", [] { return Did(::lgetxattr("link", "user.a", nullptr, 0)); }, Fails(ENODATA)},
        {"OfFifo", [] { return Size("fifo", "user.a"); }, Fails(ENODATA)},
        {"Readable",
         [] {
           Set("alices", "user.a", "x");
           return Size("alices", "user.a");
         },
         Gives(1), kAlice},
        {"Secret", [] { return Size("secret", "user.a"); }, Fails(EACCES), kAlice},
        {"TrustedNotRoot", [] { return Size("file", "trusted.a"); }, Fails(ENODATA), kAlice},
        {"SecurityByAnybody", [] { return Size("file", "security.parity"); }, Fails(ENODATA), kAlice},
        {"NoAccessList", [] { return Size("file", "system.posix_acl_access"); }, Fails(ENODATA)},
        {"NoCapabilities", [] { return Size("file", "security.capability"); }, Fails(ENODATA)},
        {"Descriptor",
         [] {
           Set("file", "user.a", "abc");
           return Did(::fgetxattr(Open("file", O_RDONLY), "user.a", nullptr, 0));
         },
         Gives(3)},
    });

BATON_PARITY_TABLE(
    RemoveXattr,
    {
        {"Existing",
         [] {
           Set("file", "user.a", "x");
           Must(::removexattr("file", "user.a"));
           return Size("file", "user.a");
         },
         Fails(ENODATA)},
        {"Absent", [] { return Did(::removexattr("file", "user.a")); }, Fails(ENODATA)},
        {"AbsentFile", [] { return Did(::removexattr("absent", "user.a")); }, Fails(ENOENT)},
        {"UnknownNameSpace", [] { return Did(::removexattr("file", "other.a")); }, Fails(EOPNOTSUPP)},
        {"NoPermission", [] { return Did(::removexattr("file", "user.a")); }, Fails(EACCES), kAlice},
        {"Descriptor",
         [] {
           Set("file", "user.a", "x");
           return Did(::fremovexattr(Open("file", O_RDONLY), "user.a"));
         },
         kOk},
        {"OneOfTwo",
         [] {
           Set("file", "user.a", "x");
           Set("file", "user.b", "y");
           Must(::removexattr("file", "user.a"));
           return Gives(Get("file", "user.b") == "y");
         },
         Gives(1)},
    });

class XattrList : public Parity {};

TEST_F(XattrList, AllNames) {
  Make("file");
  EXPECT_TRUE(UserNames("file").empty());
  for (const char* name : {"user.one", "user.two", "user.three"}) {
    EXPECT_EQ(Set("file", name, "x"), kOk);
  }
  EXPECT_EQ(UserNames("file"), (std::vector<std::string>{"user.one", "user.three", "user.two"}));
  Must(::removexattr("file", "user.two"));
  EXPECT_EQ(UserNames("file"), (std::vector<std::string>{"user.one", "user.three"}));
}

TEST_F(XattrList, SizeAndTooSmall) {
  Make("file");
  const long before = Must(::listxattr("file", nullptr, 0));
  Set("file", "user.name", "x");
  EXPECT_EQ(Did(::listxattr("file", nullptr, 0)), Gives(before + 10));
  char part[9];
  EXPECT_EQ(Did(::listxattr("file", part, 9)), Fails(ERANGE));
}

TEST_F(XattrList, SurvivesARenameAndBelongsToTheInode) {
  Make("file");
  Set("file", "user.a", "x");
  Must(::link("file", "hard"));
  Must(::rename("file", "moved"));
  EXPECT_EQ(Get("moved", "user.a"), "x");
  EXPECT_EQ(Get("hard", "user.a"), "x");
}

TEST_F(XattrList, MovesChangeTimeOnly) {
  Make("file");
  const timespec old[2] = {{100, 0}, {200, 0}};
  Must(::utimensat(AT_FDCWD, "file", old, 0));
  const timespec before = Stat("file").st_ctim;
  Set("file", "user.a", "x");
  const struct stat after = Stat("file");
  EXPECT_EQ(after.st_mtim.tv_sec, 200);
  EXPECT_GE(std::pair(after.st_ctim.tv_sec, after.st_ctim.tv_nsec), std::pair(before.tv_sec, before.tv_nsec));
}

class Capability : public RootParity {};

TEST_F(Capability, OfAFileIsClearedByAWrite) {
  Make("file", "x", 0777);
  // struct vfs_cap_data of revision 2: cap_net_bind_service, permitted and effective
  const std::string value("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  ASSERT_EQ(Set("file", "security.capability", value), kOk);
  EXPECT_EQ(Size("file", "security.capability"), Gives(20));
  EXPECT_EQ(As(kAlice, [] { return Did(::write(Open("file", O_WRONLY), "y", 1)); }), Gives(1));
  EXPECT_EQ(Size("file", "security.capability"), Fails(ENODATA));
}

TEST_F(Capability, OfAFileIsClearedByAChown) {
  Make("file", "x", 0777);
  const std::string value("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  ASSERT_EQ(Set("file", "security.capability", value), kOk);
  Must(::chown("file", kAliceId, kAliceId));
  EXPECT_EQ(Size("file", "security.capability"), Fails(ENODATA));
}

}  // namespace
}  // namespace baton::parity
