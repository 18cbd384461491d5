// The texts of /proc/TID/stat and /proc/TID/status, see proc(5).
#include <charconv>
#include <optional>

#include "fuse/identity/proc_reader.h"

namespace baton {
namespace {

constexpr std::uint64_t kForkedNoExec = 0x40;        // PF_FORKNOEXEC of the kernel
constexpr std::uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD

// Numbers of stat by their place in proc(5).
enum StatField { kState = 3, kPpid = 4, kSid = 6, kFlags = 9, kThreads = 20, kStart = 22, kStartCode = 26 };
enum { kStartStack = 28, kStartBrk = 47, kStatFields = 48 };

std::uint64_t Number(std::string_view text, int base = 10) {
  std::uint64_t value = 0;
  if (text.starts_with('-')) return 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

std::string_view NextWord(std::string_view* text) {
  std::size_t begin = text->find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) begin = text->size();
  text->remove_prefix(begin);
  std::string_view word = text->substr(0, text->find_first_of(" \t\n"));
  text->remove_prefix(word.size());
  return word;
}

// What stands behind "NAME:" on a line of its own.
std::optional<std::string_view> Line(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':') {
      return line.substr(name.size() + 1);
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return std::nullopt;
}

std::uint64_t SignalSet(std::string_view text, std::string_view name) {
  std::string_view value = Line(text, name).value_or("");
  return Number(NextWord(&value), 16);
}

}  // namespace

Result<TaskStat> ParseStat(std::string_view text) {
  std::size_t open = text.find('(');
  std::size_t close = text.rfind(')');  // the name may hold any byte, brackets too
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return Fail(EPROTO);
  TaskStat stat;
  stat.tid = static_cast<pid_t>(Number(text));
  stat.comm = text.substr(open + 1, close - open - 1);
  std::string_view fields[kStatFields] = {};
  std::string_view rest = text.substr(close + 1);
  for (int i = kState; i < kStatFields; ++i) fields[i] = NextWord(&rest);
  if (stat.tid == 0 || fields[kStartBrk].empty()) return Fail(EPROTO);
  stat.ppid = static_cast<pid_t>(Number(fields[kPpid]));
  stat.sid = static_cast<pid_t>(Number(fields[kSid]));
  std::uint64_t flags = Number(fields[kFlags]);
  stat.forked_no_exec = (flags & kForkedNoExec) != 0;
  stat.kernel_thread = (flags & kKernelThread) != 0;
  char state = fields[kState].front();
  stat.dead = (state == 'Z' || state == 'X') && Number(fields[kThreads]) <= 1;
  stat.start = Number(fields[kStart]);
  stat.image = {Number(fields[kStartStack]), Number(fields[kStartCode]), Number(fields[kStartBrk])};
  if (!stat.image.Visible()) stat.image = {};
  return stat;
}

Result<TaskStatus> ParseStatus(std::string_view text) {
  std::optional<std::string_view> tgid = Line(text, "Tgid");
  std::optional<std::string_view> uids = Line(text, "Uid");
  if (!tgid || !uids) return Fail(EPROTO);
  TaskStatus status;
  status.tgid = static_cast<pid_t>(Number(NextWord(&*tgid)));
  status.real_uid = static_cast<uid_t>(Number(NextWord(&*uids)));
  std::string_view groups = Line(text, "Groups").value_or("");
  while (true) {
    std::string_view group = NextWord(&groups);
    if (group.empty()) break;
    status.groups.push_back(static_cast<gid_t>(Number(group)));
  }
  // A number for each nested namespace, the innermost last.
  std::string_view numbers = Line(text, "NStgid").value_or("");
  std::string_view innermost;
  for (std::string_view word = NextWord(&numbers); !word.empty(); word = NextWord(&numbers)) innermost = word;
  status.is_reaper = innermost == "1";
  status.signals = {SignalSet(text, "SigPnd"), SignalSet(text, "ShdPnd"), SignalSet(text, "SigBlk"),
                    SignalSet(text, "SigIgn"), SignalSet(text, "SigCgt")};
  return status;
}

}  // namespace baton
