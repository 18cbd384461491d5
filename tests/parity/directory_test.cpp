// Listing directories, also while they change; names of every kind; long paths.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#include <algorithm>
#include <map>
#include <set>

#include "parity/parity.h"

namespace baton::parity {
namespace {

struct CloseDir {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

Dir OpenDir(const char* path) {
  Dir directory(::opendir(path));
  Must(directory ? 0 : -1);
  return directory;
}

std::vector<std::string> ReadAll(DIR* directory) {
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    names.emplace_back(entry->d_name);
  }
  return names;
}

std::string Numbered(int number) {
  return "dir/name-" + std::to_string(number);
}

class Listing : public Parity {
 protected:
  void Fill(int count) {
    MakeDir("dir");
    for (int i = 0; i < count; ++i) {
      Must(::mknod(Numbered(i).c_str(), S_IFREG | 0644, 0));
    }
  }
};

TEST_F(Listing, EmptyDirectoryHasItselfAndItsParent) {
  MakeDir("dir");
  auto names = ReadAll(OpenDir("dir").get());
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{".", ".."}));
}

TEST_F(Listing, EachNameOnce) {
  Fill(300);
  const auto names = ReadAll(OpenDir("dir").get());
  EXPECT_EQ(names.size(), 302u);
  EXPECT_EQ(std::set(names.begin(), names.end()).size(), 302u);
}

TEST_F(Listing, TypesAndInodes) {
  MakeDir("dir");
  Make("dir/file");
  MakeDir("dir/sub");
  Must(::symlink("x", "dir/link"));
  Must(::mkfifo("dir/fifo", 0600));
  std::map<std::string, int> types;
  const Dir directory = OpenDir("dir");
  while (const dirent* entry = ::readdir(directory.get())) {
    types[entry->d_name] = entry->d_type;
    EXPECT_EQ(entry->d_ino, Lstat(std::string("dir/") + entry->d_name).st_ino) << entry->d_name;
  }
  EXPECT_EQ(types, (std::map<std::string, int>{{".", DT_DIR},
                                               {"..", DT_DIR},
                                               {"file", DT_REG},
                                               {"sub", DT_DIR},
                                               {"link", DT_LNK},
                                               {"fifo", DT_FIFO}}));
}

TEST_F(Listing, RewindSeesWhatIsNew) {
  Fill(3);
  const Dir directory = OpenDir("dir");
  EXPECT_EQ(ReadAll(directory.get()).size(), 5u);
  Make("dir/new");
  Must(::unlink(Numbered(0).c_str()));
  Must(::unlink(Numbered(1).c_str()));
  ::rewinddir(directory.get());
  auto names = ReadAll(directory.get());
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{".", "..", "name-2", "new"}));
}

TEST_F(Listing, AtTheEndItStaysAtTheEnd) {
  Fill(3);
  const Dir directory = OpenDir("dir");
  ReadAll(directory.get());
  errno = 0;
  EXPECT_EQ(::readdir(directory.get()), nullptr);
  EXPECT_EQ(errno, 0);
}

TEST_F(Listing, TellAndSeek) {
  Fill(200);
  const Dir directory = OpenDir("dir");
  std::vector<std::pair<long, std::string>> places;
  for (;;) {
    const long place = ::telldir(directory.get());
    const dirent* entry = ::readdir(directory.get());
    if (!entry) {
      break;
    }
    places.emplace_back(place, entry->d_name);
  }
  ASSERT_EQ(places.size(), 202u);
  for (const int which : {150, 3, 201, 0, 77}) {
    ::seekdir(directory.get(), places[which].first);
    const dirent* entry = ::readdir(directory.get());
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, places[which].second);
  }
}

TEST_F(Listing, TellStaysValidWhileNamesComeAndGo) {
  Fill(400);
  const Dir directory = OpenDir("dir");
  std::set<std::string> before;
  for (int i = 0; i < 200; ++i) {
    before.insert(::readdir(directory.get())->d_name);
  }
  const long place = ::telldir(directory.get());
  const auto first = ReadAll(directory.get());
  for (const std::string& name : before) {
    if (name.starts_with("name-")) {
      Must(::unlink(("dir/" + name).c_str()));
    }
  }
  for (int i = 1000; i < 1050; ++i) {
    Make(Numbered(i));
  }
  ::seekdir(directory.get(), place);
  std::set<std::string> after;
  for (const std::string& name : ReadAll(directory.get())) {
    EXPECT_TRUE(after.insert(name).second) << name << " twice";
    EXPECT_FALSE(before.contains(name)) << name;
  }
  for (const std::string& name : first) {
    EXPECT_TRUE(after.contains(name)) << name << " is missing";
  }
}

TEST_F(Listing, RemovalWhileListingSkipsNothingElse) {
  Fill(500);
  const Dir directory = OpenDir("dir");
  int seen = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (std::string_view(entry->d_name).starts_with("name-")) {
      ++seen;
      Must(::unlinkat(::dirfd(directory.get()), entry->d_name, 0));
    }
  }
  EXPECT_EQ(seen, 500);
  EXPECT_TRUE(Names("dir").empty());
}

TEST_F(Listing, RenamingWhileListingLosesNobodyElse) {
  Fill(300);
  const Dir directory = OpenDir("dir");
  std::set<std::string> seen;
  while (const dirent* entry = ::readdir(directory.get())) {
    seen.insert(entry->d_name);
    if (seen.size() == 100) {
      Must(::rename(Numbered(0).c_str(), "dir/other"));
    }
  }
  for (int i = 1; i < 300; ++i) {
    EXPECT_TRUE(seen.contains("name-" + std::to_string(i))) << i;
  }
}

TEST_F(Listing, RemovedDirectoryIsEmpty) {
  MakeDir("dir");
  const Dir directory = OpenDir("dir");
  Must(::rmdir("dir"));
  EXPECT_EQ(ReadAll(directory.get()).size(), 0u);
}

TEST_F(Listing, RemovedDirectoryAdmitsNoNames) {
  MakeDir("dir");
  const Fd fd = Open("dir", O_RDONLY);
  Must(::rmdir("dir"));
  EXPECT_EQ(Fstat(fd).st_nlink, 0u);
  EXPECT_EQ(Did(::openat(fd, "name", O_WRONLY | O_CREAT, 0644)), Fails(ENOENT));
  EXPECT_EQ(Did(::mkdirat(fd, "name", 0755)), Fails(ENOENT));
  EXPECT_EQ(Did(::symlinkat("x", fd, "name")), Fails(ENOENT));
  EXPECT_EQ(Did(::openat(fd, "name", O_RDONLY)), Fails(ENOENT));
}

TEST_F(Listing, RemovedDirectoryStillTakesAttributes) {
  MakeDir("dir");
  const Fd fd = Open("dir", O_RDONLY);
  Must(::rmdir("dir"));
  EXPECT_EQ(Did(::fchmod(fd, 0700)), kOk);
  EXPECT_EQ(Fstat(fd).st_mode, S_IFDIR | 0700u);
}

TEST_F(Listing, RemovedWorkingDirectory) {
  MakeDir("dir");
  Must(::chdir("dir"));
  Must(::rmdir("../dir"));
  char path[4096];
  EXPECT_EQ(::getcwd(path, sizeof path), nullptr);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(TryOpen("name", O_WRONLY | O_CREAT), Fails(ENOENT));
  EXPECT_EQ(TryOpen(".", O_RDONLY), kOk);
}

TEST_F(Listing, RemovedDirectoryMadeAgainIsAnother) {
  MakeDir("dir");
  const Fd old = Open("dir", O_RDONLY);
  Must(::rmdir("dir"));
  MakeDir("dir");
  Make("dir/name");
  EXPECT_EQ(Did(::faccessat(old, "name", F_OK, 0)), Fails(ENOENT));
  EXPECT_EQ(Names("dir").size(), 1u);
}

BATON_PARITY_TABLE(
    OpenDirectoryStream,
    {
        {"Directory", [] { return Gives(OpenDir("dir") != nullptr); }, Gives(1)},
        {"File", [] { return ::opendir("file") ? kOk : Fails(errno); }, Fails(ENOTDIR)},
        {"Absent", [] { return ::opendir("absent") ? kOk : Fails(errno); }, Fails(ENOENT)},
        {"Closed", [] { return ::opendir("closed") ? kOk : Fails(errno); }, Fails(EACCES), kAlice},
        {"ListableButNotEnterable",
         [] {
           Must(::mkdir("open/new", 0755));
           Make("open/new/name");
           Must(::chmod("open/new", 0444));
           return Names("open/new").size() == 1 ? TryOpen("open/new/name", O_RDONLY) : Gives(-1);
         },
         Fails(EACCES), kAlice},
        {"EnterableButNotListable",
         [] {
           Must(::mkdir("open/new", 0755));
           Make("open/new/name");
           Must(::chmod("open/new", 0111));
           return TryOpen("open/new/name", O_RDONLY) == kOk ? TryOpen("open/new", O_RDONLY) : Gives(-1);
         },
         Fails(EACCES), kAlice},
        {"ChangeDirectory", [] { return Did(::chdir("dir")); }, kOk},
        {"ChangeDirectoryToFile", [] { return Did(::chdir("file")); }, Fails(ENOTDIR)},
        {"ChangeDirectoryToClosed", [] { return Did(::chdir("closed")); }, Fails(EACCES), kAlice},
        {"ChangeDirectoryByDescriptor", [] { return Did(::fchdir(Open("dir", O_RDONLY))); }, kOk},
        {"ChangeDirectoryByFile", [] { return Did(::fchdir(Open("file", O_RDONLY))); }, Fails(ENOTDIR)},
    });

class NameKinds : public Parity {
 protected:
  // Makes, finds, lists, renames to and removes the name.
  void Live(const std::string& name) {
    Make(name, "text");
    EXPECT_EQ(Content(name), "text");
    EXPECT_EQ(Names("."), std::vector{name});
    MakeDir("sub");
    Must(::rename(name.c_str(), ("sub/" + name).c_str()));
    EXPECT_EQ(Names("sub"), std::vector{name});
    Must(::unlink(("sub/" + name).c_str()));
    Must(::rmdir("sub"));
    MakeDir(name);
    EXPECT_EQ(Names("."), std::vector{name});
  }
};

TEST_F(NameKinds, Longest) {
  Live(std::string(255, 'n'));
}
TEST_F(NameKinds, LongestInBytes) {
  Live(std::string("\xc3\xa9") + std::string(253, 'n'));
}
TEST_F(NameKinds, NotUtf8) {
  Live("\xff\xfe\x80");
}
TEST_F(NameKinds, ControlBytes) {
  Live("\x01\x1b\n\t\x7f");
}
TEST_F(NameKinds, Spaces) {
  Live("  a name  ");
}
TEST_F(NameKinds, Backslash) {
  Live("a\\b:c*?\"<>|");
}
TEST_F(NameKinds, ThreeDots) {
  Live("...");
}
TEST_F(NameKinds, Dash) {
  Live("-rf");
}
TEST_F(NameKinds, OneByte) {
  Live("x");
}
TEST_F(NameKinds, Combining) {
  Live("e\xcc\x81");
}

TEST_F(NameKinds, CaseAndNormalFormDiffer) {
  Make("name");
  Make("Name");
  Make("\xc3\xa9");
  Make("e\xcc\x81");
  EXPECT_EQ(Names(".").size(), 4u);
}

TEST_F(NameKinds, AnySingleByte) {
  for (int byte = 1; byte < 256; ++byte) {
    if (byte != '/' && byte != '.') {
      Make(std::string(1, static_cast<char>(byte)));
    }
  }
  EXPECT_EQ(Names(".").size(), 253u);
}

const std::string kTooLong(256, 'n');

BATON_PARITY_TABLE(
    TooLongName,
    {
        {"Open", [] { return TryOpen(kTooLong, O_RDONLY); }, Fails(ENAMETOOLONG)},
        {"Create", [] { return TryOpen(kTooLong, O_WRONLY | O_CREAT); }, Fails(ENAMETOOLONG)},
        {"MakeDirectory", [] { return Did(::mkdir(kTooLong.c_str(), 0755)); }, Fails(ENAMETOOLONG)},
        {"RemoveDirectory", [] { return Did(::rmdir(kTooLong.c_str())); }, Fails(ENAMETOOLONG)},
        {"Unlink", [] { return Did(::unlink(kTooLong.c_str())); }, Fails(ENAMETOOLONG)},
        {"RenameFrom", [] { return Did(::rename(kTooLong.c_str(), "new")); }, Fails(ENAMETOOLONG)},
        {"RenameTo", [] { return Did(::rename("file", kTooLong.c_str())); }, Fails(ENAMETOOLONG)},
        {"Link", [] { return Did(::link("file", kTooLong.c_str())); }, Fails(ENAMETOOLONG)},
        {"SymbolicLink", [] { return Did(::symlink("x", kTooLong.c_str())); }, Fails(ENAMETOOLONG)},
        {"MakeNode", [] { return Did(::mkfifo(kTooLong.c_str(), 0600)); }, Fails(ENAMETOOLONG)},
        {"Stat",
         [] {
           struct stat found;
           return Did(::stat(kTooLong.c_str(), &found));
         },
         Fails(ENAMETOOLONG)},
        {"Chmod", [] { return Did(::chmod(kTooLong.c_str(), 0600)); }, Fails(ENAMETOOLONG)},
        {"Truncate", [] { return Did(::truncate(kTooLong.c_str(), 0)); }, Fails(ENAMETOOLONG)},
        {"InTheMiddle", [] { return TryOpen(kTooLong + "/name", O_RDONLY); }, Fails(ENAMETOOLONG)},
        {"BelowFile", [] { return TryOpen("file/" + kTooLong, O_RDONLY); }, Fails(ENOTDIR)},
        {"BelowAbsent", [] { return TryOpen("absent/" + kTooLong, O_RDONLY); }, Fails(ENOENT)},
        {"BelowClosed", [] { return TryOpen("closed/" + kTooLong, O_RDONLY); }, Fails(EACCES), kAlice},
        {"LinkTarget",
         [] {
           Must(::symlink(kTooLong.c_str(), "new"));
           return TryOpen("new", O_RDONLY);
         },
         Fails(ENAMETOOLONG)},
    });

// A relative path of exactly `size` bytes to a file in nested directories, which it makes.
std::string DeepPath(size_t size) {
  std::string path;
  while (size - path.size() > 202) {
    path += std::string(200, 'd');
    Must(::mkdir(path.c_str(), 0755));
    path += '/';
  }
  return path + std::string(size - path.size(), 'f');
}

TEST_F(NameKinds, LongestPath) {
  const std::string path = DeepPath(PATH_MAX - 1);
  ASSERT_EQ(path.size(), 4095u);
  Make(path, "deep");
  EXPECT_EQ(Content(path), "deep");
  EXPECT_EQ(Stat(path).st_size, 4);
  Must(::chmod(path.c_str(), 0600));
  EXPECT_EQ(Did(::unlink(path.c_str())), kOk);
}

TEST_F(NameKinds, TooLongPath) {
  const std::string path = DeepPath(PATH_MAX);
  EXPECT_EQ(TryOpen(path, O_WRONLY | O_CREAT), Fails(ENAMETOOLONG));
  EXPECT_EQ(Did(::mkdir(path.c_str(), 0755)), Fails(ENAMETOOLONG));
}

TEST_F(NameKinds, DeeperThanAnyPath) {
  const Fd home = Open(".", O_RDONLY);
  const std::string name(200, 'd');
  for (int i = 0; i < 30; ++i) {
    Must(::mkdir(name.c_str(), 0755));
    Must(::chdir(name.c_str()));
  }
  Make("bottom", "x");
  EXPECT_EQ(Content("bottom"), "x");
  char path[4096];
  EXPECT_EQ(::getcwd(path, sizeof path), nullptr);
  Must(::fchdir(home));
}

}  // namespace
}  // namespace baton::parity
