#include "parity/partner.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <system_error>
#include <thread>

namespace baton::parity {

namespace {

constexpr std::chrono::seconds kPatience{10};

// The number of the system call that the process sleeps in; -1 if it runs or is gone.
long SleepsIn(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/syscall");
  std::string first;
  file >> first;
  return !first.empty() && std::isdigit(static_cast<unsigned char>(first[0])) ? std::stol(first) : -1;
}

}  // namespace

Partner::Partner() {
  int ends[2];
  Must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  channel_ = Fd(ends[0]);
  Fd theirs(ends[1]);
  pid_ = static_cast<pid_t>(Must(::fork()));
  if (pid_ == 0) {
    channel_.Close();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &nothing, nullptr);
    Serve(theirs);
  }
}

Partner::~Partner() {
  Kill();
}

void Partner::Serve(int channel) {
  State state;
  Step step = nullptr;
  while (::read(channel, &step, sizeof step) == sizeof step) {
    Outcome outcome;
    try {
      outcome = step(state);
    } catch (const std::system_error& error) {
      outcome = {Outcome::kBroken, error.code().value()};
    }
    if (::write(channel, &outcome, sizeof outcome) != sizeof outcome) {
      break;
    }
  }
  _exit(0);
}

Outcome Partner::Do(Step step) {
  Begin(step);
  return Result();
}

void Partner::Begin(Step step) {
  Must(::write(channel_, &step, sizeof step));
}

bool Partner::Answered(int milliseconds) const {
  pollfd wish{channel_, POLLIN, 0};
  return ::poll(&wish, 1, milliseconds) == 1;
}

bool Partner::Waits() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (Answered(0)) {
      return false;
    }
    const long call = SleepsIn(pid_);
    if (call == SYS_fcntl || call == SYS_flock || call == SYS_openat || (call == SYS_read && !Answered(20))) {
      return !Answered(0);
    }
    std::this_thread::yield();
  }
  return false;
}

Outcome Partner::Result() {
  if (!Answered(static_cast<int>(std::chrono::milliseconds(kPatience).count()))) {
    return {Outcome::kBroken, ETIMEDOUT};
  }
  Outcome outcome;
  return ::read(channel_, &outcome, sizeof outcome) == sizeof outcome ? outcome
                                                                      : Outcome{Outcome::kBroken, EPIPE};
}

void Partner::Interrupt() {
  ::kill(pid_, SIGUSR1);
}

void Partner::Kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

}  // namespace baton::parity
