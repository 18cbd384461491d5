#include "oracle/lock_owners.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "oracle/lock_calls.h"

namespace baton::oracle {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kDeadline{20'000};
constexpr std::size_t kMaxMessage = 256;

void Interrupted(int) {}

// One message each way is one packet.
bool Send(int socket, const std::string& text) {
  return ::send(socket, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::optional<std::string> Receive(int socket) {
  char buffer[kMaxMessage];
  ssize_t length;
  do {
    length = ::recv(socket, buffer, sizeof buffer, 0);
  } while (length < 0 && errno == EINTR);
  return length > 0 ? std::optional(std::string(buffer, static_cast<std::size_t>(length))) : std::nullopt;
}

std::size_t NumberOf(const std::string& owner) {
  return std::stoul(owner.substr(1));
}

}  // namespace

LockOwners::LockOwners(std::vector<std::string> directories, milliseconds quiet)
    : directories_(std::move(directories)), quiet_(quiet) {
  BATON_CHECK(!directories_.empty());
}

LockOwners::~LockOwners() {
  for (const auto& [name, owner] : owners_) ::kill(owner.pid, SIGKILL);
  for (const auto& [name, owner] : owners_) ::waitpid(owner.pid, nullptr, 0);
}

std::string LockOwners::Run(const Command& command) {
  Owner& owner = OwnerOf(command.owner);
  std::map<std::string, std::string> answers;
  if (command.verb == "cancel") {
    if (!owner.waiting) return "idle";
    ::kill(owner.pid, SIGUSR1);
  } else {
    if (owner.waiting) return "busy";
    const std::string path = DirectoryOf(command.owner) + "/" + command.file;
    paths_.insert(path);
    if (!Send(owner.socket.Get(), ToString(command))) return "gone";
    owner.waiting = true;
  }
  // Only a wait may go unanswered; a cancelled one has its answer now.
  const auto deadline = steady_clock::now() + kDeadline;
  while (command.verb != "wait" && answers.count(command.owner) == 0) {
    if (steady_clock::now() > deadline || !Collect(milliseconds(100), answers)) return "stuck: no answer";
  }
  if (Waiting() != 0 && !Settle(answers)) {
    return "stuck: the kernel lists " + std::to_string(WaitersInKernel().size()) + " waiters";
  }
  const auto own = answers.find(command.owner);
  std::string answer = own == answers.end() ? "waits" : own->second;
  std::vector<std::string> granted;
  for (const auto& [name, text] : answers) {
    if (name != command.owner) granted.push_back(text == "ok" ? name : name + ":" + text);
  }
  return WithGranted(std::move(answer), std::move(granted));
}

const std::string& LockOwners::DirectoryOf(const std::string& owner) const {
  return directories_[NumberOf(owner) % directories_.size()];
}

LockOwners::Owner& LockOwners::OwnerOf(const std::string& name) {
  Owner& owner = owners_[name];
  if (owner.pid > 0) return owner;
  int ends[2];
  BATON_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  owner.socket = UniqueFd(ends[0]);
  owner.pid = ::fork();
  BATON_CHECK(owner.pid >= 0);
  if (owner.pid == 0) BeChild(ends[1], name);
  ::close(ends[1]);
  return owner;
}

void LockOwners::BeChild(int socket, const std::string& name) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const auto& [other, owner] : owners_) ::close(owner.socket.Get());  // no destructor runs here
  struct sigaction action {};
  action.sa_handler = Interrupted;  // without SA_RESTART: a wait ends with EINTR
  ::sigaction(SIGUSR1, &action, nullptr);
  LockCalls calls(DirectoryOf(name));
  while (const auto line = Receive(socket)) {
    const auto command = ParseCommand(*line);
    if (!Send(socket, command ? calls.Run(*command) : "malformed")) break;
  }
  ::_exit(0);
}

// Takes the answers that are there, waiting for the first. False if an owner's process is gone.
bool LockOwners::Collect(milliseconds wait, std::map<std::string, std::string>& answers) {
  std::vector<pollfd> polled;
  std::vector<std::string> names;
  for (const auto& [name, owner] : owners_) {
    if (!owner.waiting) continue;
    polled.push_back({owner.socket.Get(), POLLIN, 0});
    names.push_back(name);
  }
  if (::poll(polled.data(), polled.size(), static_cast<int>(wait.count())) <= 0) return true;
  for (std::size_t i = 0; i < polled.size(); ++i) {
    if (polled[i].revents == 0) continue;
    const auto answer = Receive(polled[i].fd);
    if (!answer) return false;
    owners_[names[i]].waiting = false;
    answers[names[i]] = *answer;
  }
  return true;
}

// Until every owner that has not answered is known to wait. A waiter that has been woken is not on the
// kernel's list until it has tried again, and puts those behind it back in the same breath; so a list that
// holds all of them is final. It must say so twice: the kernel hands it out in pieces, by position, and a
// lock that is set between two pieces makes the last one come again.
bool LockOwners::Settle(std::map<std::string, std::string>& answers) {
  const auto deadline = steady_clock::now() + kDeadline;
  std::vector<std::string> before;
  while (Waiting() != 0) {
    const std::size_t answered = answers.size();
    std::vector<std::string> listed = quiet_.count() == 0 ? WaitersInKernel() : before;
    if (!Collect(quiet_, answers)) return false;
    if (answers.size() != answered) continue;
    if (quiet_.count() != 0 || (listed.size() == Waiting() && listed == before)) return true;
    if (steady_clock::now() > deadline) return false;
    before = std::move(listed);
    if (before.size() != Waiting() && !Collect(milliseconds(1), answers)) return false;
  }
  return true;
}

std::size_t LockOwners::Waiting() const {
  return static_cast<std::size_t>(
      std::count_if(owners_.begin(), owners_.end(), [](const auto& each) { return each.second.waiting; }));
}

// Of lines like "12: -> POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 9" those that name one of our files.
std::vector<std::string> LockOwners::WaitersInKernel() const {
  std::vector<std::string> inodes;
  for (const std::string& path : paths_) {
    struct stat found {};
    if (::stat(path.c_str(), &found) == 0) inodes.push_back(":" + std::to_string(found.st_ino) + " ");
  }
  std::ifstream locks("/proc/locks");
  std::vector<std::string> waiters;
  for (std::string line; std::getline(locks, line);) {
    const auto arrow = line.find("->");
    const bool ours = std::any_of(inodes.begin(), inodes.end(), [&line](const std::string& inode) {
      return line.find(inode) != std::string::npos;
    });
    if (arrow != std::string::npos && ours) waiters.push_back(line.substr(arrow));
  }
  return waiters;
}

}  // namespace baton::oracle
