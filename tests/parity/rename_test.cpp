// rename and renameat2.
#include <fcntl.h>
#include <stdio.h>

#include "parity/parity.h"

namespace baton::parity {
namespace {

std::function<Outcome()> Renaming(const char* from, const char* to, unsigned flags = 0) {
  return [=] { return Did(::renameat2(AT_FDCWD, from, AT_FDCWD, to, flags)); };
}

BATON_PARITY_TABLE(Rename,
                   {
                       {"ToNew",
                        [] {
                          Must(::rename("file", "new"));
                          return Gives(!Exists("file") && Content("new") == "0123456789");
                        },
                        Gives(1)},
                       {"OverFile",
                        [] {
                          Must(::rename("secret", "file"));
                          return Gives(Content("file") == "secret");
                        },
                        Gives(1)},
                       {"OverFileKeepsOtherName",
                        [] {
                          Must(::rename("secret", "file"));
                          return Gives(Stat("hard").st_nlink);
                        },
                        Gives(1)},
                       {"KeepsInode",
                        [] {
                          const ino_t before = Stat("file").st_ino;
                          Must(::rename("file", "dir/new"));
                          return Gives(Stat("dir/new").st_ino == before);
                        },
                        Gives(1)},
                       {"ToItself",
                        [] {
                          Must(::rename("file", "file"));
                          return Gives(Exists("file"));
                        },
                        Gives(1)},
                       {"ToItsOtherName",
                        [] {
                          Must(::rename("file", "hard"));
                          return Gives(Exists("file") && Exists("hard"));
                        },
                        Gives(1)},
                       {"IntoDirectory", Renaming("file", "dir/file"), kOk},
                       {"OutOfDirectory", Renaming("full/file", "new"), kOk},
                       {"Absent", Renaming("absent", "new"), Fails(ENOENT)},
                       {"AbsentToItself", Renaming("absent", "absent"), Fails(ENOENT)},
                       {"IntoAbsentDirectory", Renaming("file", "absent/new"), Fails(ENOENT)},
                       {"EmptyFrom", Renaming("", "new"), Fails(ENOENT)},
                       {"EmptyTo", Renaming("file", ""), Fails(ENOENT)},
                       {"FileOverDirectory", Renaming("file", "dir"), Fails(EISDIR)},
                       {"FileOverFullDirectory", Renaming("file", "full"), Fails(EISDIR)},
                       {"DirectoryOverFile", Renaming("dir", "file"), Fails(ENOTDIR)},
                       {"DirectoryOverEmpty", Renaming("full", "dir"), kOk},
                       {"DirectoryOverFull", Renaming("dir", "full"), Fails(ENOTEMPTY)},
                       {"DirectoryOverLink", Renaming("dir", "dirlink"), Fails(ENOTDIR)},
                       {"DirectoryToNew", Renaming("full", "new"), kOk},
                       {"DirectoryToNewTrailingSlash", Renaming("full", "new/"), kOk},
                       {"DirectoryFromTrailingSlash", Renaming("full/", "new"), kOk},
                       {"DirectoryMovesLinkCount",
                        [] {
                          Must(::rename("full/sub", "dir/sub"));
                          return Gives(Stat("full").st_nlink * 10 + Stat("dir").st_nlink);
                        },
                        Gives(23)},
                       {"IntoItself", Renaming("full", "full/new"), Fails(EINVAL)},
                       {"IntoOwnChild", Renaming("full", "full/sub/new"), Fails(EINVAL)},
                       {"OverOwnParent", Renaming("full/sub", "full"), Fails(ENOTEMPTY)},
                       {"FileOverItsParent", Renaming("full/file", "full"), Fails(ENOTEMPTY)},
                       {"Dot", Renaming("full/.", "new"), Fails(EBUSY)},
                       {"DotDot", Renaming("full/sub/..", "new"), Fails(EBUSY)},
                       {"ToDot", Renaming("full", "."), Fails(EBUSY)},
                       {"ToDotDot", Renaming("dir", "full/.."), Fails(EBUSY)},
                       {"FileToTrailingSlash", Renaming("file", "new/"), Fails(ENOTDIR)},
                       {"FileFromTrailingSlash", Renaming("file/", "new"), Fails(ENOTDIR)},
                       {"BelowFile", Renaming("secret", "file/new"), Fails(ENOTDIR)},
                       {"FromBelowFile", Renaming("file/x", "new"), Fails(ENOTDIR)},
                       {"BelowLoop", Renaming("file", "loop/new"), Fails(ELOOP)},
                       {"LinkItself",
                        [] {
                          Must(::rename("link", "new"));
                          return Gives(Link("new") == "file" && Exists("file"));
                        },
                        Gives(1)},
                       {"LinkOverFile",
                        [] {
                          Must(::rename("dangling", "file"));
                          return Gives(Link("file") == "absent");
                        },
                        Gives(1)},
                       {"FileOverLink",
                        [] {
                          Must(::rename("secret", "link"));
                          return Gives(Content("file") == "0123456789" && Content("link") == "secret");
                        },
                        Gives(1)},
                       {"FifoOverFile", Renaming("fifo", "file"), kOk},
                       {"NoPermissionFrom", Renaming("full/file", "open/new"), Fails(EACCES), kAlice},
                       {"NoPermissionTo", Renaming("open/file", "dir/new"), Fails(EACCES), kAlice},
                       {"OthersInOpen", Renaming("open/file", "open/new"), kOk, kAlice},
                       {"BelowClosed", Renaming("closed/file", "open/new"), Fails(EACCES), kAlice},
                       {"StickyOthers", Renaming("sticky/roots", "sticky/new"), Fails(EPERM), kAlice},
                       {"StickyOthersOut", Renaming("sticky/roots", "open/new"), Fails(EPERM), kAlice},
                       {"StickyOwn", Renaming("sticky/alices", "sticky/new"), kOk, kAlice},
                       {"StickyOverOthers", Renaming("sticky/alices", "sticky/roots"), Fails(EPERM), kAlice},
                       {"StickyOverOwn", Renaming("open/file", "sticky/alices"), kOk, kAlice},
                       {"DirectoryOfAnotherToNewParent",
                        [] {
                          Must(::mkdir("open/theirs", 0755));
                          return Outcome(Did(::rename("open/theirs", "sticky/theirs")));
                        },
                        kOk, kAlice},
                       {"UnwritableDirectoryKeepsItsParent",
                        [] {
                          Must(::chmod("sticky/alicesdir", 0555));
                          return Did(::rename("sticky/alicesdir", "sticky/new"));
                        },
                        kOk, kAlice},
                       {"UnwritableDirectoryToNewParent",
                        [] {
                          Must(::chmod("sticky/alicesdir", 0555));
                          return Did(::rename("sticky/alicesdir", "open/new"));
                        },
                        Fails(EACCES), kAlice},
                       {"ToFullMissingParentWins", Renaming("absent", "absent/new"), Fails(ENOENT)},
                   });

BATON_PARITY_TABLE(
    RenameNoReplace,
    {
        {"ToNew", Renaming("file", "new", RENAME_NOREPLACE), kOk},
        {"OverFile", Renaming("secret", "file", RENAME_NOREPLACE), Fails(EEXIST)},
        {"OverFileLeavesBoth",
         [] {
           ::renameat2(AT_FDCWD, "secret", AT_FDCWD, "file", RENAME_NOREPLACE);
           return Gives(Exists("secret") && Content("file") == "0123456789");
         },
         Gives(1)},
        {"ToItself", Renaming("file", "file", RENAME_NOREPLACE), Fails(EEXIST)},
        {"ToItsOtherName", Renaming("file", "hard", RENAME_NOREPLACE), Fails(EEXIST)},
        {"OverDirectory", Renaming("full", "dir", RENAME_NOREPLACE), Fails(EEXIST)},
        {"FileOverDirectory", Renaming("file", "dir", RENAME_NOREPLACE), Fails(EEXIST)},
        {"OverDangling", Renaming("file", "dangling", RENAME_NOREPLACE), Fails(EEXIST)},
        {"Absent", Renaming("absent", "new", RENAME_NOREPLACE), Fails(ENOENT)},
        {"AbsentOverFile", Renaming("absent", "file", RENAME_NOREPLACE), Fails(ENOENT)},
        {"Directory", Renaming("full", "new", RENAME_NOREPLACE), kOk},
        {"NoPermission", Renaming("full/file", "open/new", RENAME_NOREPLACE), Fails(EACCES), kAlice},
        {"NoPermissionOverFile", Renaming("full/file", "open/file", RENAME_NOREPLACE), Fails(EEXIST), kAlice},
        {"WithExchange", Renaming("file", "secret", RENAME_NOREPLACE | RENAME_EXCHANGE), Fails(EINVAL)},
        {"UnknownFlag", Renaming("file", "new", 1 << 10), Fails(EINVAL)},
        {"Whiteout", Renaming("file", "new", RENAME_WHITEOUT), kOk, kRoot},
        {"WhiteoutWithExchange", Renaming("file", "secret", RENAME_WHITEOUT | RENAME_EXCHANGE),
         Fails(EINVAL)},
    });

BATON_PARITY_TABLE(
    RenameExchange,
    {
        {"Files",
         [] {
           Must(::renameat2(AT_FDCWD, "file", AT_FDCWD, "secret", RENAME_EXCHANGE));
           return Gives(Content("file") == "secret" && Content("secret") == "0123456789");
         },
         Gives(1)},
        {"FileAndDirectory",
         [] {
           Must(::renameat2(AT_FDCWD, "file", AT_FDCWD, "full", RENAME_EXCHANGE));
           return Gives(Exists("file/sub") && Content("full") == "0123456789");
         },
         Gives(1)},
        {"FullDirectories", Renaming("full", "open", RENAME_EXCHANGE), kOk},
        {"AcrossDirectories", Renaming("full/file", "open/file", RENAME_EXCHANGE), kOk},
        {"LinkAndFile",
         [] {
           Must(::renameat2(AT_FDCWD, "link", AT_FDCWD, "secret", RENAME_EXCHANGE));
           return Gives(Link("secret") == "file");
         },
         Gives(1)},
        {"LinkCounts",
         [] {
           Must(::renameat2(AT_FDCWD, "full/sub", AT_FDCWD, "open/file", RENAME_EXCHANGE));
           return Gives(Stat("full").st_nlink * 10 + Stat("open").st_nlink);
         },
         Gives(23)},
        {"AbsentTarget", Renaming("file", "absent", RENAME_EXCHANGE), Fails(ENOENT)},
        {"AbsentSource", Renaming("absent", "file", RENAME_EXCHANGE), Fails(ENOENT)},
        {"WithOwnChild", Renaming("full", "full/sub", RENAME_EXCHANGE), Fails(EINVAL)},
        {"WithOwnParent", Renaming("full/sub", "full", RENAME_EXCHANGE), Fails(EINVAL)},
        {"SameInode", Renaming("file", "hard", RENAME_EXCHANGE), kOk},
        {"NoPermission", Renaming("open/file", "full/file", RENAME_EXCHANGE), Fails(EACCES), kAlice},
        {"Sticky", Renaming("open/file", "sticky/roots", RENAME_EXCHANGE), Fails(EPERM), kAlice},
        {"StickyOwn", Renaming("open/file", "sticky/alices", RENAME_EXCHANGE), kOk, kAlice},
    });

class RenameOpen : public Parity {};

TEST_F(RenameOpen, OpenFileIsTheSameFile) {
  Make("file", "old");
  const Fd fd = Open("file", O_RDWR);
  Must(::rename("file", "moved"));
  Must(::write(fd, "new", 3));
  EXPECT_EQ(Content("moved"), "new");
  EXPECT_EQ(Fstat(fd).st_nlink, 1u);
}

TEST_F(RenameOpen, ReplacedFileStaysUsable) {
  Make("file", "old");
  Make("other", "other");
  const Fd fd = Open("file", O_RDWR);
  Must(::rename("other", "file"));
  EXPECT_EQ(Fstat(fd).st_nlink, 0u);
  EXPECT_EQ(At(fd, 0, 9), "old");
  EXPECT_EQ(Content("file"), "other");
}

TEST_F(RenameOpen, WorkingDirectoryMovesAlong) {
  MakeDir("dir");
  Must(::chdir("dir"));
  Must(::rename("../dir", "../moved"));
  Make("inside");
  char path[4096];
  ASSERT_NE(::getcwd(path, sizeof path), nullptr);
  EXPECT_EQ(std::string(path), home_ + "/moved");
  EXPECT_TRUE(Exists("../moved/inside"));
}

TEST_F(RenameOpen, ParentOfAMovedDirectory) {
  MakeDir("a");
  MakeDir("b");
  MakeDir("a/sub");
  Must(::rename("a/sub", "b/sub"));
  EXPECT_EQ(Stat("b/sub/..").st_ino, Stat("b").st_ino);
}

}  // namespace
}  // namespace baton::parity
