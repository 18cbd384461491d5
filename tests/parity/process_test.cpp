// Files and processes: unlinked open files, exec, FIFOs between two processes, descriptors over fork.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>

#include "parity/partner.h"

namespace baton::parity {
namespace {

class Unlinked : public Parity {
 protected:
  void SetUp() override {
    Parity::SetUp();
    Make("file", "0123456789");
    fd_ = Open("file", O_RDWR);
    Must(::unlink("file"));
  }
  void TearDown() override {
    fd_.Close();
    Parity::TearDown();
  }
  Fd fd_;
};

TEST_F(Unlinked, HasNoLinksAndAllElse) {
  const struct stat found = Fstat(fd_);
  EXPECT_EQ(found.st_nlink, 0u);
  EXPECT_EQ(found.st_size, 10);
  EXPECT_EQ(found.st_mode, S_IFREG | 0644u);
}

TEST_F(Unlinked, ReadsAndWrites) {
  EXPECT_EQ(At(fd_, 0, 20), "0123456789");
  EXPECT_EQ(::pwrite(fd_, "abc", 3, 20), 3);
  EXPECT_EQ(At(fd_, 8, 20), std::string("89\0\0\0\0\0\0\0\0\0\0abc", 15));
  EXPECT_EQ(Did(::fsync(fd_)), kOk);
}

TEST_F(Unlinked, TruncatesAndChangesAttributes) {
  EXPECT_EQ(Did(::ftruncate(fd_, 3)), kOk);
  EXPECT_EQ(Did(::fchmod(fd_, 0600)), kOk);
  const timespec wish[2] = {{1, 0}, {2, 0}};
  EXPECT_EQ(Did(::futimens(fd_, wish)), kOk);
  EXPECT_EQ(Fstat(fd_).st_size, 3);
  EXPECT_EQ(Fstat(fd_).st_mode & 07777, 0600u);
  EXPECT_EQ(Fstat(fd_).st_mtim.tv_sec, 2);
}

TEST_F(Unlinked, NameIsFreeForAnother) {
  Make("file", "another");
  EXPECT_EQ(At(fd_, 0, 20), "0123456789");
  EXPECT_NE(Fstat(fd_).st_ino, Stat("file").st_ino);
}

TEST_F(Unlinked, CanBeOpenedAgainThroughItsDescriptor) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd_);
  const Fd again = Open(path, O_RDONLY);
  EXPECT_EQ(Rest(again), "0123456789");
  EXPECT_EQ(Stat(path).st_nlink, 0u);
}

TEST_F(Unlinked, IsUsableByAChild) {
  EXPECT_EQ(Apart([&] { return Did(::pwrite(fd_, "C", 1, 0)); }), Gives(1));
  EXPECT_EQ(At(fd_, 0, 2), "C1");
}

TEST_F(Unlinked, DirectoryIsEmpty) {
  EXPECT_TRUE(Names(".").empty());
  MakeDir("dir");
  Make("dir/file");
  const Fd open = Open("dir/file", O_RDWR);
  Must(::unlink("dir/file"));
  EXPECT_EQ(Did(::rmdir("dir")), kOk);
  EXPECT_EQ(::write(open, "x", 1), 1);
}

TEST_F(Unlinked, DescriptorPathOfAnOpen) {
  EXPECT_EQ(Link("/proc/self/fd/" + std::to_string(fd_)), home_ + "/file (deleted)");
}

class Execution : public Parity {
 protected:
  // A copy of true(1).
  void Program(const char* name, mode_t mode) {
    std::filesystem::copy_file("/usr/bin/true", name);
    Must(::chmod(name, mode));
  }
};

Outcome Exec(const char* path) {
  const pid_t child = static_cast<pid_t>(Must(::fork()));
  if (child == 0) {
    ::execl(path, path, nullptr);
    _exit(errno);
  }
  int status = 0;
  Must(::waitpid(child, &status, 0));
  return WIFSIGNALED(status)   ? Dies(WTERMSIG(status))
         : WEXITSTATUS(status) ? Fails(WEXITSTATUS(status))
                               : kOk;
}

TEST_F(Execution, OfAProgram) {
  Program("program", 0755);
  EXPECT_EQ(Exec("./program"), kOk);
}

TEST_F(Execution, OfAScript) {
  Make("script", "#!/bin/sh\nexit 0\n", 0755);
  EXPECT_EQ(Exec("./script"), kOk);
}

TEST_F(Execution, WithoutPermission) {
  Program("program", 0644);
  EXPECT_EQ(Exec("./program"), Fails(EACCES));
}

TEST_F(Execution, OfADirectory) {
  MakeDir("dir");
  EXPECT_EQ(Exec("./dir"), Fails(EACCES));
}

TEST_F(Execution, OfNothing) {
  EXPECT_EQ(Exec("./absent"), Fails(ENOENT));
}

TEST_F(Execution, OfAnEmptyFile) {
  Make("empty", "", 0755);
  EXPECT_EQ(Exec("./empty"), Fails(ENOEXEC));
}

TEST_F(Execution, ScriptWithoutInterpreter) {
  Make("script", "#!/absent/interpreter\n", 0755);
  EXPECT_EQ(Exec("./script"), Fails(ENOENT));
}

TEST_F(Execution, OfAFileOpenForWriting) {
  Program("program", 0755);
  const Fd fd = Open("program", O_WRONLY);
  EXPECT_EQ(Exec("./program"), Fails(ETXTBSY));
}

TEST_F(Execution, AfterTheWriterClosed) {
  Program("program", 0755);
  Open("program", O_WRONLY).Close();
  EXPECT_EQ(Exec("./program"), kOk);
}

TEST_F(Execution, BelowALinkAndByDescriptor) {
  Program("program", 0755);
  Must(::symlink("program", "link"));
  EXPECT_EQ(Exec("./link"), kOk);
  const Fd fd = Open("program", O_RDONLY);
  EXPECT_EQ(Apart([&] {
              char name[] = "program";
              char* words[] = {name, nullptr};
              const pid_t child = static_cast<pid_t>(Must(::fork()));
              if (child == 0) {
                ::fexecve(fd, words, environ);
                _exit(errno);
              }
              int status = 0;
              Must(::waitpid(child, &status, 0));
              return Gives(status);
            }),
            Gives(0));
}

class ExecutionOfRoot : public RootParity {};

TEST_F(ExecutionOfRoot, UnreadableProgramByAUser) {
  std::filesystem::copy_file("/usr/bin/true", "program");
  Must(::chmod("program", 0111));
  EXPECT_EQ(As(kAlice, [] { return Exec("./program"); }), kOk);
  EXPECT_EQ(As(kAlice, [] { return TryOpen("program", O_RDONLY); }), Fails(EACCES));
}

TEST_F(ExecutionOfRoot, UnreadableScriptByAUser) {
  Make("script", "#!/bin/sh\nexit 0\n", 0111);
  EXPECT_NE(As(kAlice, [] { return Exec("./script"); }), kOk);
}

TEST_F(ExecutionOfRoot, NotExecutableEvenForRoot) {
  Make("script", "#!/bin/sh\nexit 0\n", 0644);
  EXPECT_EQ(Exec("./script"), Fails(EACCES));
}

TEST_F(ExecutionOfRoot, ExecutableForSomebodyElseIsEnoughForRoot) {
  Make("script", "#!/bin/sh\nexit 0\n", 0001);
  EXPECT_EQ(Exec("./script"), kOk);
}

TEST_F(ExecutionOfRoot, SetUserIdTakesEffect) {
  std::filesystem::copy_file("/usr/bin/id", "program");
  Must(::chown("program", kBobId, 0));
  Must(::chmod("program", 04755));
  int ends[2];
  Must(::pipe(ends));
  const Fd out(ends[0]);
  Fd in(ends[1]);
  EXPECT_EQ(As(kAlice,
               [&] {
                 Must(::dup2(in, 1));
                 ::execl("./program", "id", "-u", nullptr);
                 return Fails(errno);
               }),
            (Outcome{Outcome::kBroken, EPIPE}))
      << "exec does not come back";
  in.Close();
  EXPECT_EQ(Rest(out), std::to_string(kBobId) + "\n");
}

class Fifo : public Parity {
 protected:
  void SetUp() override {
    Parity::SetUp();
    Must(::mkfifo("fifo", 0600));
  }
};

Outcome WriteIntoFifo(Partner::State& state) {
  state.fd = ::open("fifo", O_WRONLY);
  return Did(::write(state.fd, "through", 7));
}

TEST_F(Fifo, CarriesBytesBetweenProcesses) {
  Partner partner;
  partner.Begin(WriteIntoFifo);
  const Fd fd = Open("fifo", O_RDONLY);
  EXPECT_EQ(partner.Result(), Gives(7));
  char text[16];
  EXPECT_EQ(Did(::read(fd, text, 16)), Gives(7));
  EXPECT_EQ(std::string(text, 7), "through");
}

TEST_F(Fifo, OpenWaitsForTheOtherEnd) {
  Partner partner;
  partner.Begin(WriteIntoFifo);
  EXPECT_TRUE(partner.Waits());
  const Fd fd = Open("fifo", O_RDONLY);
  EXPECT_EQ(partner.Result(), Gives(7));
}

TEST_F(Fifo, ReaderSeesTheEnd) {
  Partner partner;
  partner.Begin(WriteIntoFifo);
  const Fd fd = Open("fifo", O_RDONLY);
  EXPECT_EQ(partner.Result(), Gives(7));
  partner.Kill();
  EXPECT_EQ(Rest(fd), "through");
}

TEST_F(Fifo, WriterWithoutReaderIsTold) {
  Fd reader = Open("fifo", O_RDONLY | O_NONBLOCK);
  const Fd writer = Open("fifo", O_WRONLY);
  reader.Close();
  EXPECT_EQ(Apart([&] { return Did(::write(writer, "x", 1)); }), Dies(SIGPIPE));
  EXPECT_EQ(Apart([&] {
              ::signal(SIGPIPE, SIG_IGN);
              return Did(::write(writer, "x", 1));
            }),
            Fails(EPIPE));
}

TEST_F(Fifo, OpenIsInterrupted) {
  Partner partner;
  partner.Begin(WriteIntoFifo);
  EXPECT_TRUE(partner.Waits());
  partner.Interrupt();
  EXPECT_EQ(partner.Result(), Fails(EBADF)) << "the open failed, so did the write";
}

TEST_F(Fifo, Polls) {
  const Fd fd = Open("fifo", O_RDWR);
  pollfd wish{fd, POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&wish, 1, 0), 1);
  EXPECT_EQ(wish.revents, POLLOUT);
  Must(::write(fd, "x", 1));
  EXPECT_EQ(::poll(&wish, 1, 0), 1);
  EXPECT_EQ(wish.revents, POLLIN | POLLOUT);
}

TEST_F(Fifo, HasNoSizeAndSurvivesARename) {
  const Fd fd = Open("fifo", O_RDWR);
  Must(::write(fd, "abc", 3));
  EXPECT_EQ(Stat("fifo").st_size, 0);
  Must(::rename("fifo", "moved"));
  const Fd again = Open("moved", O_RDONLY | O_NONBLOCK);
  char text[8];
  EXPECT_EQ(Did(::read(again, text, 8)), Gives(3));
}

class Processes : public Parity {};

TEST_F(Processes, WriteOfAKilledProcessStays) {
  Make("file");
  EXPECT_EQ(Apart([] {
              Must(::write(Open("file", O_WRONLY), "kept", 4));
              ::raise(SIGKILL);
              return kOk;
            }),
            Dies(SIGKILL));
  EXPECT_EQ(Content("file"), "kept");
}

TEST_F(Processes, CloseOnExec) {
  Make("file");
  const Fd kept = Open("file", O_RDONLY), closed = Open("file", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::fcntl(kept, F_GETFD), 0);
  EXPECT_EQ(::fcntl(closed, F_GETFD), FD_CLOEXEC);
}

TEST_F(Processes, ManyDescriptorsOfOneFile) {
  Make("file", "x");
  std::vector<Fd> fds;
  for (int i = 0; i < 200; ++i) {
    fds.push_back(Open("file", O_RDWR));
  }
  Must(::pwrite(fds[7], "y", 1, 0));
  for (const Fd& fd : fds) {
    ASSERT_EQ(At(fd, 0, 1), "y");
  }
}

TEST_F(Processes, ManyNamesOfOneFile) {
  Make("file");
  for (int i = 0; i < 100; ++i) {
    Must(::link("file", ("name" + std::to_string(i)).c_str()));
  }
  EXPECT_EQ(Stat("file").st_nlink, 101u);
  for (int i = 0; i < 100; ++i) {
    Must(::unlink(("name" + std::to_string(i)).c_str()));
  }
  EXPECT_EQ(Stat("file").st_nlink, 1u);
}

TEST_F(Processes, OneOfManyCreatesExclusively) {
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = static_cast<pid_t>(Must(::fork()));
    if (child == 0) {
      int made = 0;
      for (int n = 0; n < 20; ++n) {
        made += TryOpen("file" + std::to_string(n), O_WRONLY | O_CREAT | O_EXCL) == kOk;
      }
      _exit(made);
    }
    children.push_back(child);
  }
  int made = 0;
  for (const pid_t child : children) {
    int status = 0;
    Must(::waitpid(child, &status, 0));
    made += WEXITSTATUS(status);
  }
  EXPECT_EQ(made, 20);
}

}  // namespace
}  // namespace baton::parity
