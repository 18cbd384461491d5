#include "scenario/scenario.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <stdexcept>

#include "support/arbiter_text.h"

namespace baton::test {
namespace {

std::uint64_t Number(const std::string& text) {
  std::size_t used = 0;
  const std::uint64_t value = std::stoull(text, &used);
  if (used != text.size()) throw std::invalid_argument("not a number: " + text);
  return value;
}

Duration Time(const std::string& text) {
  std::size_t used = 0;
  const auto value = std::stoll(text, &used);
  const std::string unit = text.substr(used);
  if (unit == "ms") return std::chrono::milliseconds(value);
  if (unit == "s") return std::chrono::seconds(value);
  throw std::invalid_argument("not a time: " + text);
}

ByteRange Range(const std::string& text) {
  const auto dash = text.find('-');
  if (dash == std::string::npos) throw std::invalid_argument("not a range: " + text);
  const std::string last = text.substr(dash + 1);
  return {Number(text.substr(0, dash)), last.empty() ? kRangeEnd : Number(last)};
}

ClaimMode Mode(const std::string& text) {
  if (text == "none") return ClaimMode::kNone;
  if (text == "write") return ClaimMode::kWrite;
  if (text == "exclusive") return ClaimMode::kExclusive;
  throw std::invalid_argument("not a claim mode: " + text);
}

InstanceVersion Version(const std::string& text) {
  const auto version = ParseInstanceVersion(text);
  if (!version) throw std::invalid_argument("not a version: " + text);
  return *version;
}

constexpr Duration kReservation = std::chrono::seconds(10);

bool IsInstance(const std::string& word) {
  return word.size() == 1 && word[0] >= 'A' && word[0] <= 'Z';
}

}  // namespace

// The words of a command: taken one by one, by name (name=value), or as flags. Every word must be taken.
class Scenario::Words {
 public:
  explicit Words(const std::string& line) {
    std::istringstream in(line);
    for (std::string word; in >> word;) words_.push_back(word);
  }
  std::string Next(const std::string& what) {
    if (words_.empty()) throw std::invalid_argument("missing: " + what);
    std::string word = words_.front();
    words_.erase(words_.begin());
    return word;
  }
  std::optional<std::string> Value(const std::string& name) {
    return Take([&](const std::string& word) { return word.rfind(name + "=", 0) == 0; }, name.size() + 1);
  }
  bool Flag(const std::string& name) {
    return Take([&](const std::string& word) { return word == name; }, 0).has_value();
  }
  template <class Chosen>
  std::optional<std::string> Take(Chosen chosen, std::size_t from = 0) {
    const auto at = std::find_if(words_.begin(), words_.end(), chosen);
    if (at == words_.end()) return std::nullopt;
    std::string word = at->substr(from);
    words_.erase(at);
    return word;
  }
  bool empty() const { return words_.empty(); }

 private:
  std::vector<std::string> words_;
};

Scenario::Scenario() : arbiter_(std::make_unique<Arbiter>(ArbiterOptions())) {}

std::vector<std::string> Scenario::Run(const std::string& line) {
  out_.clear();
  Words words(line);
  const std::string command = words.Next("command");
  if (!RunSetup(command, words) && !RunSession(command, words) && !RunFile(command, words) &&
      !RunLock(command, words) && !RunInstance(command, words)) {
    throw std::invalid_argument("no such command: " + command);
  }
  if (!words.empty()) throw std::invalid_argument("not understood: " + words.Next(""));
  return std::move(out_);
}

bool Scenario::RunSetup(const std::string& command, Words& words) {
  if (command == "options") {
    Options(words);
  } else if (command == "hold") {
    hold_commits_ |= words.Flag("commits");
    hold_drains_ |= words.Flag("drains");
  } else if (command == "release") {
    hold_commits_ = hold_drains_ = false;
    Settle();
  } else if (command == "show") {
    show_all_ = words.Flag("all");
  } else if (command == "tick") {
    Advance(Time(words.Next("time")));
  } else if (command == "list") {
    List();
  } else if (command == "restart") {  // of the server: what is durable is all it knows
    ++restarts_;
    ArbiterOptions options;
    options.limits = limits_;
    arbiter_ = std::make_unique<Arbiter>(options, Durable());
    to_commit_.clear();
    to_drain_.clear();
  } else {
    return false;
  }
  return true;
}

bool Scenario::RunSession(const std::string& command, Words& words) {
  if (command == "session") {
    Begin(words);
  } else if (command == "silent") {
    Step(SessionSilent{Session(words.Next("session"))});
  } else if (command == "heard") {
    Step(SessionHeard{Session(words.Next("session"))});
  } else if (command == "unmount") {
    Step(SessionUnmounts{Session(words.Next("session"))});
  } else if (command == "return") {
    Step(SessionReturns{Session(words.Next("session"))});
  } else if (command == "returned") {
    Step(SessionReturned{Session(words.Next("session"))});
  } else if (command == "fences") {
    Fences(words.Next("node"));
  } else {
    return false;
  }
  return true;
}

bool Scenario::RunFile(const std::string& command, Words& words) {
  if (command == "open") {
    Step(Open(words));
  } else if (command == "return-handle") {
    const HandleId handle = Handle(words.Next("handle"));
    Step(HandleReturns{handle, Open(words)});
  } else if (command == "change") {
    Change(words);
  } else if (command == "close") {
    Step(CloseHandle{Handle(words.Next("handle"))});
  } else if (command == "would-outlive") {
    const Epoch creator{Number(words.Next("epoch"))};
    Say(arbiter_->WouldOutlive(Who(words), creator) ? "yes" : "no");
  } else if (command == "withdraw") {
    Step(Withdraw{RequestId{Number(words.Next("request").substr(1))}});
  } else {
    return false;
  }
  return true;
}

bool Scenario::RunLock(const std::string& command, Words& words) {
  if (command == "lock" || command == "return-lock") {
    LockWish wish = Wish(words);
    wish.request = RequestId{++last_request_};
    if (command == "lock") {
      Step(wish);
    } else {
      Step(LockReturns{wish});
    }
  } else if (command == "unlock") {
    const LockWish wish = Wish(words);
    const bool asks = words.Flag("asks");
    Step(Unlock{wish.handle, wish.kind, wish.owner, wish.range, asks ? RequestId{++last_request_} : RequestId{}});
  } else if (command == "flush") {
    const LockWish wish = Wish(words);
    Step(FlushHandle{wish.handle, wish.owner});
  } else if (command == "getlk") {
    const bool own = words.Flag("own");
    const LockWish wish = Wish(words);
    const auto lock = own ? arbiter_->GetOwnLock(wish) : arbiter_->GetLock(wish);
    Say(!lock ? "free"
              : std::string(lock->type == LockType::kWrite ? "write " : "read ") + RangeText(lock->range) +
                    " pid " + std::to_string(lock->pid));
  } else {
    return false;
  }
  return true;
}

bool Scenario::RunInstance(const std::string& command, Words& words) {
  const auto instance = [&] { return InstanceNamed(words.Next("instance")[0]); };
  if (command == "ack" || command == "gone") {
    const SessionId session = Session(words.Next("session"));
    const Guid guid = instance();
    const Epoch epoch{Number(words.Next("epoch"))};
    if (command == "ack") {
      Step(FenceAcknowledged{session, guid, epoch, now_});
    } else {
      Step(InstanceGone{session, guid, epoch});
    }
  } else if (command == "commit" || command == "fail-commit") {
    const Guid guid = instance();
    const auto at = std::find_if(to_commit_.begin(), to_commit_.end(), [&](const auto& any) {
      const auto* commit = std::get_if<Commit>(&any);
      return commit != nullptr && commit->record.guid == guid;
    });
    std::optional<Commit> commit;
    if (at != to_commit_.end()) {
      commit = std::get<Commit>(*at);
      to_commit_.erase(at);
    }
    if (commit && command == "commit") {
      Save(*commit);
    } else {
      Step(Committed{guid, command == "commit"});
    }
  } else if (command == "fail-use") {
    const SessionId session = Session(words.Next("session"));
    const Guid guid = instance();
    const auto at = std::find_if(to_commit_.begin(), to_commit_.end(), [&](const auto& any) {
      const auto* commit = std::get_if<CommitUse>(&any);
      return commit != nullptr && commit->use.session == session && commit->use.guid == guid;
    });
    if (at == to_commit_.end()) throw std::invalid_argument("no such use is to be committed");
    const SessionUse use = std::get<CommitUse>(*at).use;
    to_commit_.erase(at);
    Step(UseCommitted{use.session, use.guid, use.epoch, false});
  } else if (command == "drained") {
    const DrainId drain{Number(words.Next("drain").substr(1))};
    std::erase(to_drain_, drain);
    Step(Drained{drain});
  } else if (command == "fence") {
    Step(FenceByHand{RequestId{++last_request_}, instance()});
  } else if (command == "forget") {
    Say(ErrorName(arbiter_->Forget(instance())));
  } else if (command == "reset") {
    const auto record = arbiter_->ResetVersion(instance());
    Say(record ? Text(Commit{*record}) : "none");
  } else {
    return false;
  }
  return true;
}

void Scenario::Options(Words& words) {
  ArbiterOptions options;
  if (const auto value = words.Value("reservation")) options.reservation = Time(*value);
  if (const auto value = words.Value("scope")) {
    options.scope = *value == "file" ? ReclaimScope::kFile : ReclaimScope::kInstance;
  }
  if (const auto value = words.Value("flap_limit"))
    options.flap_limit = static_cast<std::uint32_t>(Number(*value));
  if (const auto value = words.Value("flap_window")) options.flap_window = Time(*value);
  if (const auto value = words.Value("max_instances")) options.max_instances = Number(*value);
  for (const Limit& limit : kLimits) {
    if (const auto value = words.Value(limit.name)) options.limits.*limit.field = Number(*value);
  }
  limits_ = options.limits;
  options.strict = words.Flag("strict");
  options.root_may = !words.Flag("squash_root");
  // The instances' records stay, and nothing else.
  const auto records = *durable_->Load();
  durable_ = SqliteStateStore::OpenInMemory();
  for (const InstanceRecord& record : records) (void)durable_->Save(record);
  arbiter_ = std::make_unique<Arbiter>(options, Durable());
}

void Scenario::Begin(Words& words) {
  SessionBegins begins;
  begins.session = SessionId{++last_session_};
  begins.node = words.Next("node");
  begins.boot = words.Value("boot").value_or("b1");
  begins.machine = words.Value("machine").value_or("machine of " + begins.node);
  begins.mount_point = words.Value("mount").value_or("/mnt");
  if (const int error = arbiter_->MayBegin(begins.node, begins.machine, begins.boot); error != 0) {
    --last_session_;
    Say(ErrorName(error));
    return;
  }
  Say(Numbered('s', begins.session));
  (void)durable_->SaveSession({begins, {}, false}, ReservedUntil());
  Step(begins);
}

Requester Scenario::Who(Words& words) {
  Requester who;
  who.session = Session(words.Next("session"));
  who.program = "prog";
  who.pid = static_cast<std::int32_t>(Number(words.Value("pid").value_or("100")));
  who.uid = static_cast<std::uint32_t>(Number(words.Value("uid").value_or("1000")));
  if (const auto ancestor = words.Value("ancestor"))
    who.ancestors.push_back(static_cast<std::int32_t>(Number(*ancestor)));
  const auto letter = words.Take(IsInstance);
  if (!letter) return who;
  InstanceClaim claim;
  claim.guid = InstanceNamed((*letter)[0]);
  if (const auto version = words.Value("version")) claim.version = Version(*version);
  claim.epoch = Epoch{Number(words.Value("epoch").value_or("0"))};
  claim.owner = static_cast<std::uint32_t>(Number(words.Value("owner").value_or(std::to_string(who.uid))));
  claim.may_take_over = !words.Flag("probe");
  const bool any = words.Flag("policy-any");
  claim.by_policy = any || words.Flag("policy");
  claim.takes_over_alive = !claim.by_policy || any;
  who.instance = claim;
  return who;
}

OpenWish Scenario::Open(Words& words) {
  OpenWish wish;
  wish.who = Who(words);
  wish.path = words.Next("file");
  wish.file = File(wish.path);
  wish.writes = words.Flag("write");
  wish.reads = words.Flag("read") || !wish.writes;
  wish.mode = Mode(words.Value("mode").value_or("write"));
  wish.wait_until = now_ + Time(words.Value("wait").value_or("0s"));
  wish.made = words.Flag("made");
  wish.request = RequestId{++last_request_};
  return wish;
}

void Scenario::Change(Words& words) {
  ChangeWish wish;
  wish.who = Who(words);
  wish.path = "change";
  wish.checked = !words.Flag("unchecked");
  wish.opens = words.Flag("opens");
  wish.wait_until = now_ + Time(words.Value("wait").value_or("0s"));
  wish.request = RequestId{++last_request_};
  while (const auto target =
             words.Take([](const std::string& word) { return word.find(':') != std::string::npos; })) {
    const auto colon = target->find(':');
    const std::string act = target->substr(colon + 1);
    if (act != "names" && act != "content") throw std::invalid_argument("no such act: " + act);
    wish.path = target->substr(0, colon);
    wish.targets.push_back({File(wish.path), act == "names" ? Act::kNames : Act::kContent});
  }
  Step(wish);
}

LockWish Scenario::Wish(Words& words) {
  LockWish wish;
  wish.handle = Handle(words.Next("handle"));
  wish.kind = words.Flag("flock") ? LockKind::kFlock : LockKind::kRecord;
  wish.type = words.Flag("read") ? LockType::kRead : LockType::kWrite;
  words.Flag("write");
  wish.wait = words.Flag("wait");
  wish.owner = Number(words.Value("owner").value_or(std::to_string(Raw(wish.handle))));
  wish.pid = static_cast<std::int32_t>(Number(words.Value("pid").value_or("100")));
  const auto range = words.Take([](const std::string& word) { return word.find('-') != std::string::npos; });
  if (range) wish.range = Range(*range);
  return wish;
}

void Scenario::List() {
  for (const SessionInfo& s : arbiter_->ListSessions()) {
    Say(Numbered('s', s.session) + " " + s.node + ":" + s.mount_point + " " + s.state +
        " handles=" + std::to_string(s.handles));
  }
  for (const InstanceInfo& i : arbiter_->ListInstances()) {
    Say(Name(i.record.guid) + " epoch=" + std::to_string(Raw(i.record.epoch)) + " node=" + i.record.node +
        " " + i.state + " handles=" + std::to_string(i.handles) + " locks=" + std::to_string(i.locks) +
        " reservations=" + std::to_string(i.reservations));
  }
  for (const OpenInfo& o : arbiter_->ListOpens()) {
    Say(Numbered('h', o.handle) + " " + o.path + " " + Name(o.guid) + " " + o.node + " " + o.mode);
  }
  for (const LockInfo& l : arbiter_->ListLocks()) {
    Say(l.kind + " " + l.type + " " + RangeText(l.range) + " " + l.path + " " + Name(l.guid) + " " + l.node +
        " " + l.state);
  }
  if (arbiter_->waiting() > 0) Say("waiting: " + std::to_string(arbiter_->waiting()));
}

void Scenario::Fences(const std::string& node) {
  for (const Arbiter::NodeFence& fence : arbiter_->FencesOf(node)) {
    Say(Name(fence.guid) + " epoch=" + std::to_string(Raw(fence.epoch)) +
        (fence.acknowledged ? " acknowledged" : " not acknowledged"));
  }
}

// As the server does: a Tick whenever one is due.
void Scenario::Advance(Duration by) {
  const Instant end = now_ + by;
  while (arbiter_->NextDeadline() <= end) {
    now_ = std::max(now_, arbiter_->NextDeadline());
    Step(Tick{});
  }
  now_ = end;
}

SessionId Scenario::Session(const std::string& name) const {
  if (name.size() < 2 || name[0] != 's') throw std::invalid_argument("not a session: " + name);
  return SessionId{Number(name.substr(1))};
}

FileKey Scenario::File(const std::string& name) {
  FileKey key{0, 1};
  for (const char c : name) key.ino = key.ino * 256 + static_cast<unsigned char>(c);
  return key;
}

HandleId Scenario::Handle(const std::string& name) const {
  if (name.size() < 2 || name[0] != 'h') throw std::invalid_argument("not a handle: " + name);
  return HandleId{Number(name.substr(1))};
}

void Scenario::Step(const Event& event) {
  const Effects effects = arbiter_->Step(event, now_);
  arbiter_->CheckInvariants();
  for (const Effect& effect : effects) {
    // Sessions that begin and gates that go are in every trace; they are shown on demand.
    const Emit* emit = std::get_if<Emit>(&effect);
    const bool quiet = std::holds_alternative<GateDropped>(effect) ||
                       std::holds_alternative<KeepFence>(effect) ||
                       (emit != nullptr && (emit->event.kind >= EventKind::kSessionBegan));
    if (show_all_ || !quiet) Say(Text(effect));
    if (const auto* commit = std::get_if<Commit>(&effect)) to_commit_.emplace_back(*commit);
    if (const auto* commit = std::get_if<CommitUse>(&effect)) to_commit_.emplace_back(*commit);
    if (const auto* commit = std::get_if<CommitEnd>(&effect)) to_commit_.emplace_back(*commit);
    if (const auto* keep = std::get_if<KeepFence>(&effect)) (void)durable_->AcknowledgeFence(keep->fence);
    if (const auto* ended = std::get_if<SessionEnded>(&effect)) (void)durable_->EraseSession(ended->session);
    if (const auto* close = std::get_if<CloseGates>(&effect)) to_drain_.push_back(close->drain);
  }
  Settle();
}

Survivors Scenario::Durable() {
  constexpr Duration kLease = std::chrono::seconds(10);
  Survivors survivors = Recover(*durable_, {"boot", now_, kReservation, now_ + kLease})->survivors;
  survivors.first_handle = HandleId{100 * restarts_};
  return survivors;
}

WallTime Scenario::Wall() const {
  return WallTime(std::chrono::floor<std::chrono::microseconds>(now_));
}
Instant Scenario::ReservedUntil() const {
  return now_ + kReservation;
}

void Scenario::Save(const Commit& commit) {
  (void)durable_->SaveAll(std::span(&commit, 1), Wall(), now_);
  Step(Committed{commit.record.guid, true});
}
void Scenario::Save(const CommitUse& commit) {
  (void)durable_->SaveUse(commit.use);
  Step(UseCommitted{commit.use.session, commit.use.guid, commit.use.epoch, true});
}
void Scenario::Save(const CommitEnd& commit) {
  (void)durable_->EndSession(commit, ReservedUntil());
  Step(EndCommitted{commit.session});
}

void Scenario::Settle() {
  while ((!hold_commits_ && !to_commit_.empty()) || (!hold_drains_ && !to_drain_.empty())) {
    if (!hold_commits_ && !to_commit_.empty()) {
      const auto commit = to_commit_.front();
      to_commit_.pop_front();
      std::visit([this](const auto& any) { Save(any); }, commit);
    } else {
      const DrainId drain = to_drain_.front();
      to_drain_.pop_front();
      Step(Drained{drain});
    }
  }
}

}  // namespace baton::test
