// Rule T2: each probe gives the errno that the call itself then gives, and leaves everything as it was. Every
// call is tried in every directory of a small world, on every name there, by every caller; renames on a
// seeded sample of the pairs.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include <map>
#include <random>
#include <set>

#include "base/unique_fd.h"
#include "conformance/store/bench.h"

namespace baton::store {
namespace {

const std::vector<std::string> kDirectories = {"mine",   "roots", "sticky",   "locked",
                                               "frozen", "grows", "mine/full"};
const std::vector<std::string> kNames = {
    "file",  "theirs", "rootfile", "full", "empty", "link", "fifo", "suid",
    "fixed", "log",    "new",      ".",    "..",    "",     "a/b",  std::string(256, 'n')};

struct Caller {
  const char* name;
  Credentials who;
};

std::vector<Caller> Callers() {
  if (::geteuid() != 0) return {{"me", kMe}};
  return {{"root", kRootUser}, {"me", kMe}, {"them", kThem}, {"member", {kOther + 1, kOther + 1, {kUser}}}};
}

void SetFlag(const std::filesystem::path& path, int flag, bool on) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  int flags = 0;
  if (!fd || ::ioctl(fd.Get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags = on ? flags | flag : flags & ~flag;
  EXPECT_EQ(0, ::ioctl(fd.Get(), FS_IOC_SETFLAGS, &flags));
}

constexpr const char* kTops[] = {"mine", "roots", "sticky", "locked", "frozen", "grows"};

// Every directory has the same names, but owners, modes and attribute flags that differ.
class World {
 public:
  explicit World(StoreBench& bench) : bench_(bench) {
    for (const char* top : kTops) Build(top);
  }
  ~World() {
    for (const char* top : kTops) Clear(top);
  }

  PosixStore& Store() { return bench_.Store(); }
  FileRef Ref(const std::string& path) { return bench_.At(path).ref; }

  // Of each path the directory at the top.
  void Rebuild(const std::vector<std::string>& paths) {
    std::set<std::string> tops;
    for (const std::string& path : paths) tops.insert(path.substr(0, path.find('/')));
    for (const std::string& top : tops) Clear(top);
    for (const std::string& top : tops) Build(top);
  }

  // Everything that a probe might have touched.
  std::string Snapshot() {
    BecomeServer();
    std::string all;
    std::error_code unreadable;
    for (std::filesystem::recursive_directory_iterator at(bench_.Dir()), end; at != end;
         at.increment(unreadable)) {
      struct stat s;
      if (at->path().filename() == "locked" && ::geteuid() != 0) at.disable_recursion_pending();
      if (::lstat(at->path().c_str(), &s) != 0) continue;
      all += at->path().string() + " " + std::to_string(s.st_ino) + " " + std::to_string(s.st_mode) + " " +
             std::to_string(s.st_size) + " " + std::to_string(s.st_ctim.tv_sec) + "." +
             std::to_string(s.st_ctim.tv_nsec) + "\n";
    }
    return all;
  }

 private:
  void Build(const std::string& top) {
    if (top == "mine") {
      bench_.PutDirectory("mine");
      bench_.PutDirectory("mine/full");
      Fill("mine/full", false);
      Fill("mine", true);
    }
    if (top == "roots") MakeDirectory(top, 0755, 0);
    if (top == "sticky") MakeDirectory(top, 01777, 0);
    if (top == "locked") MakeDirectory(top, 0600, kUser);
    if (top == "frozen" || top == "grows") MakeDirectory(top, 0777, kUser);
    if (::geteuid() != 0) return;
    if (top == "frozen") SetFlag(bench_.Dir() / top, FS_IMMUTABLE_FL, true);
    if (top == "grows") SetFlag(bench_.Dir() / top, FS_APPEND_FL, true);
  }

  void MakeDirectory(const std::string& name, mode_t mode, std::uint32_t owner) {
    bench_.PutDirectory(name, 0700, owner);
    Fill(name, true);
    ::chmod((bench_.Dir() / name).c_str(), mode);
  }

  void Fill(const std::string& in, bool with_directories) {
    BecomeServer();
    const auto path = bench_.Dir() / in;
    bench_.Put(in + "/file", "text", 0644, kUser);
    bench_.Put(in + "/theirs", "text", 0664, kOther);
    bench_.Put(in + "/rootfile", "text", 0600, 0);
    bench_.Put(in + "/suid", "text", 04755, kUser);
    bench_.Put(in + "/fixed", "text", 0666, kUser);
    bench_.Put(in + "/log", "text", 0666, kUser);
    std::filesystem::create_symlink("file", path / "link");
    EXPECT_EQ(0, ::mkfifo((path / "fifo").c_str(), 0644));
    for (const char* name : {"link", "fifo"}) {
      EXPECT_EQ(0, ::lchown((path / name).c_str(), kUser, kUser));
    }
    EXPECT_EQ(0, ::setxattr((path / "file").c_str(), "user.there", "1", 1, 0));
    if (with_directories) {
      if (in != "mine") bench_.PutDirectory(in + "/full", 0755);
      if (in != "mine") bench_.Put(in + "/full/inner", "");
      bench_.PutDirectory(in + "/empty", 0555, kOther);
    }
    if (::geteuid() != 0) return;
    SetFlag(path / "fixed", FS_IMMUTABLE_FL, true);
    SetFlag(path / "log", FS_APPEND_FL, true);
  }

  void Clear(const std::string& top) {
    BecomeServer();
    const auto path = bench_.Dir() / top;
    for (const auto& directory : {path, path / "full", path / "empty"}) ::chmod(directory.c_str(), 0700);
    if (::geteuid() == 0) {
      SetFlag(path, FS_IMMUTABLE_FL | FS_APPEND_FL, false);
      ::chmod(path.c_str(), 0700);
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        if (std::filesystem::is_regular_file(entry.symlink_status())) {
          SetFlag(entry.path(), FS_IMMUTABLE_FL | FS_APPEND_FL, false);
        }
      }
    }
    std::filesystem::remove_all(path);
  }

  StoreBench& bench_;
};

using Call = std::function<int()>;

struct Trial {
  std::string name;
  Call probe;
  Call call;
  std::vector<std::string> touches;  // what the call may change
};

// Runs all probes, sees that nothing changed, then compares each with its call.
class Comparison {
 public:
  explicit Comparison(World& world) : world_(world) {}

  // `make` gives the trials for the world as it is: references do not survive a rebuild.
  void Run(const std::function<std::vector<Trial>()>& make) {
    std::vector<Trial> trials = make();
    const std::string before = world_.Snapshot();
    std::vector<int> expected;
    for (const Trial& trial : trials) expected.push_back(trial.probe());
    EXPECT_EQ(before, world_.Snapshot()) << "a probe changed something";
    for (std::size_t i = 0; i < trials.size(); ++i) {
      const int real = trials[i].call();
      EXPECT_EQ(real, expected[i]) << trials[i].name;
      ++answers_[real];
      if (real != 0) continue;
      world_.Rebuild(trials[i].touches);
      trials = make();
    }
  }

  // So that the test cannot pass by trying nothing of interest.
  void ExpectSeen(std::initializer_list<int> errors) {
    for (const int error : errors) EXPECT_GT(answers_[error], 0) << "never met errno " << error;
  }

 private:
  World& world_;
  std::map<int, int> answers_;
};

std::vector<std::string> ReachableFiles(const std::string& directory) {
  std::vector<std::string> files;
  for (const char* name :
       {"file", "theirs", "rootfile", "full", "empty", "link", "fifo", "suid", "fixed", "log"}) {
    files.push_back(directory + "/" + name);
  }
  return files;
}

CONFORMANCE(ProbesOfNamesAnswerAsTheCalls) {
  World world(bench);
  PosixStore& s = world.Store();
  Comparison comparison(world);
  for (const std::string& in : kDirectories) {
    comparison.Run([&] {
      const FileRef dir = world.Ref(in);
      std::vector<Trial> trials;
      for (const auto& [caller, who] : Callers()) {
        for (const std::string& name : kNames) {
          const std::string at = std::string(caller) + " " + in + "/" + name;
          const auto add = [&](const std::string& call, Call probe, Call real) {
            trials.push_back({call + " by " + at, std::move(probe), std::move(real), {in}});
          };
          add(
              "create", [=, &s] { return ErrorOf(s.WouldCreate(who, dir, name)); },
              [=, &s] { return ErrorOf(s.Create(who, dir, name, O_RDWR, 0644)); });
          add(
              "mkdir", [=, &s] { return ErrorOf(s.WouldMakeDirectory(who, dir, name)); },
              [=, &s] { return ErrorOf(s.MakeDirectory(who, dir, name, 0755)); });
          for (std::uint32_t mode : {S_IFIFO | 0644, S_IFCHR | 0600, S_IFDIR | 0755, S_IFLNK | 0777}) {
            add(
                "mknod", [=, &s] { return ErrorOf(s.WouldMakeNode(who, dir, name, mode)); },
                [=, &s] { return ErrorOf(s.MakeNode(who, dir, name, mode, 0x103)); });
          }
          add(
              "symlink", [=, &s] { return ErrorOf(s.WouldSymlink(who, dir, name, "to")); },
              [=, &s] { return ErrorOf(s.Symlink(who, dir, name, "to")); });
          add(
              "unlink", [=, &s] { return ErrorOf(s.WouldUnlink(who, dir, name)); },
              [=, &s] { return ErrorOf(s.Unlink(who, dir, name)); });
          add(
              "rmdir", [=, &s] { return ErrorOf(s.WouldRemoveDirectory(who, dir, name)); },
              [=, &s] { return ErrorOf(s.RemoveDirectory(who, dir, name)); });
        }
      }
      return trials;
    });
  }
  comparison.ExpectSeen({0, ENOENT, EEXIST, EACCES, EPERM, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL, ENAMETOOLONG});
}

CONFORMANCE(ProbesOfFilesAnswerAsTheCalls) {
  World world(bench);
  PosixStore& s = world.Store();
  Comparison comparison(world);
  const std::vector<AttrChange> changes = {
      {.mask = attr_mask::kMode, .mode = 0640},
      {.mask = attr_mask::kUid, .uid = kOther},
      {.mask = attr_mask::kUid, .uid = kUser},
      {.mask = attr_mask::kGid, .gid = kUser},
      {.mask = attr_mask::kGid, .gid = kOther},
      {.mask = attr_mask::kSize, .size = 1},
      {.mask = attr_mask::kSize, .size = ~std::uint64_t{0}},
      {.mask = attr_mask::kAtime, .atime = {1, 1}},
      {.mask = attr_mask::kMtime, .mtime = {1, 2'000'000'000}},
      {.mask = attr_mask::kMtimeNow},
      {.mask = attr_mask::kAtimeNow | attr_mask::kMtimeNow},
      {.mask = attr_mask::kMode | attr_mask::kSize | attr_mask::kMtimeNow, .mode = 0600, .size = 2},
  };
  for (const char* in : {"mine", "sticky"}) {
    for (const std::string& path : ReachableFiles(in)) {
      comparison.Run([&] {
        const FileRef file = world.Ref(path);
        std::vector<Trial> trials;
        for (const auto& [caller, who] : Callers()) {
          const auto add = [&](const std::string& call, Call probe, Call real) {
            trials.push_back(
                {call + " by " + caller + " " + path, std::move(probe), std::move(real), {path}});
          };
          for (const AttrChange& change : changes) {
            add(
                "setattr " + std::to_string(change.mask),
                [=, &s] { return ErrorOf(s.WouldSetAttr(who, file, change)); },
                [=, &s] { return ErrorOf(s.SetAttr(who, file, change)); });
          }
          for (int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDWR | O_TRUNC,
                            O_WRONLY | O_APPEND, O_WRONLY | O_APPEND | O_TRUNC, O_RDONLY | O_NOATIME}) {
            add(
                "open " + std::to_string(flags), [=, &s] { return ErrorOf(s.WouldOpen(who, file, flags)); },
                [=, &s] { return ErrorOf(s.Open(who, file, flags)); });
          }
          for (const char* name :
               {"user.there", "user.new", "user.baton.claim", "trusted.x", "security.x", "odd.x"}) {
            for (int flags : {0, int{XATTR_CREATE}, int{XATTR_REPLACE}}) {
              add(
                  std::string("setxattr ") + name,
                  [=, &s] { return ErrorOf(s.WouldSetXattr(who, file, name, "none", flags)); },
                  [=, &s] { return ErrorOf(s.SetXattr(who, file, name, "none", flags)); });
            }
            add(
                std::string("removexattr ") + name,
                [=, &s] { return ErrorOf(s.WouldRemoveXattr(who, file, name)); },
                [=, &s] { return ErrorOf(s.RemoveXattr(who, file, name)); });
          }
        }
        return trials;
      });
    }
  }
  comparison.ExpectSeen({0, EACCES, EPERM, EISDIR, EINVAL, EEXIST, ENODATA, EOPNOTSUPP, ENXIO, ELOOP});
}

CONFORMANCE(ProbesOfLinksAndRenamesAnswerAsTheCalls) {
  World world(bench);
  PosixStore& s = world.Store();
  Comparison comparison(world);
  std::mt19937 random(2);
  const auto pick = [&](const auto& from) { return from[random() % from.size()]; };
  struct Choice {
    Caller caller;
    std::string from, name, to, new_name, file;
    std::uint32_t flags;
  };
  for (int round = 0; round < 40; ++round) {
    std::vector<Choice> choices;
    for (int i = 0; i < 40; ++i) {
      const std::string from = pick(kDirectories);
      choices.push_back({pick(Callers()), from, pick(kNames), random() % 2 != 0 ? from : pick(kDirectories),
                         pick(kNames), pick(ReachableFiles(random() % 2 != 0 ? "mine" : "sticky")),
                         static_cast<std::uint32_t>(random() % 3)});
    }
    comparison.Run([&] {
      std::vector<Trial> trials;
      for (const Choice& c : choices) {
        const FileRef from = world.Ref(c.from);
        const FileRef to = world.Ref(c.to);
        const FileRef file = world.Ref(c.file);
        trials.push_back(
            {std::string("rename by ") + c.caller.name + " " + c.from + "/" + c.name + " " + c.to + "/" +
                 c.new_name + " flags " + std::to_string(c.flags),
             [=, &s] { return ErrorOf(s.WouldRename(c.caller.who, from, c.name, to, c.new_name, c.flags)); },
             [=, &s] { return ErrorOf(s.Rename(c.caller.who, from, c.name, to, c.new_name, c.flags)); },
             {c.from, c.to}});
        trials.push_back(
            {std::string("link by ") + c.caller.name + " " + c.file + " " + c.to + "/" + c.new_name,
             [=, &s] { return ErrorOf(s.WouldLink(c.caller.who, file, to, c.new_name)); },
             [=, &s] { return ErrorOf(s.Link(c.caller.who, file, to, c.new_name)); },
             {c.file, c.to}});
      }
      return trials;
    });
  }
  comparison.ExpectSeen({0, ENOENT, EEXIST, EACCES, EPERM, EISDIR, ENOTDIR, EBUSY, EINVAL, ENAMETOOLONG});
}

}  // namespace
}  // namespace baton::store
