#include "server/service/ops/change.h"

#include <memory>
#include <utility>

namespace baton::server::ops {
namespace {

bool SameTargets(const std::vector<ChangeWish::Target>& a, const std::vector<ChangeWish::Target>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.file == y.file && x.act == y.act; });
}

class ChangeRun : public std::enable_shared_from_this<ChangeRun> {
 public:
  ChangeRun(Service& service, Call call, Change change)
      : service_(service), call_(std::move(call)), change_(std::move(change)) {}

  void Start() {
    const auto policy = service_.store().PolicyOf(change_.policy_of);
    if (!policy) return call_.Fail(policy.error().value);
    auto who = service_.RequesterFor(call_, change_.caller, *policy);
    if (!who) return call_.Fail(who.error().value);
    wish_.who = std::move(*who);
    wish_.mode = service_.ClaimModeFor(*policy);
    wish_.opens = call_.request().operation == static_cast<std::uint16_t>(protocol::Operation::kCreate);
    if (change_.policy_of_other) {
      const auto other = service_.store().PolicyOf(*change_.policy_of_other);
      if (!other) return call_.Fail(other.error().value);
      wish_.mode = std::max(wish_.mode, service_.ClaimModeFor(*other));
    }
    Attempt();
  }

 private:
  NameLocks::Held HoldNames() {
    if (!change_.by_name) return {nullptr, nullptr};
    return service_.name_locks().Lock(change_.directories[0], change_.directories[1]);
  }

  void Attempt() {
    const NameLocks::Held names = HoldNames();
    Ask();
  }

  // With the names kept still.
  void Ask() {
    auto targets = change_.targets();
    if (!targets) return call_.Fail(targets.error().value);
    if (wish_.checked) {
      if (const auto allowed = change_.probe(); !allowed) return call_.Fail(allowed.error().value);
    }
    wish_.request = service_.coordinator().NewRequest();
    wish_.targets = std::move(*targets);
    wish_.wait_until = service_.clock().Now();
    const auto session = call_.session();
    const protocol::FrameHeader request = call_.request();
    const RequestId waits_as = wish_.request;
    session->SetWaiting(request, waits_as);
    auto answer = service_.coordinator().Change(
        wish_, [self = shared_from_this()](Coordinator::Answer& later) { self->GoOn(later); });
    if (answer && answer->check_first) {
      CheckFromNowOn();
      return Ask();
    }
    if (answer) return Act(*answer);
    // From here on another thread may be in GoOn, and the call answered.
    if (session->IsCancelled(request)) service_.coordinator().Withdraw(waits_as);
  }

  void CheckFromNowOn() {
    wish_.checked = true;
    wish_.path = service_.store().PathOf(change_.policy_of);
    if (!change_.by_name) return;
    if (wish_.path != "/") wish_.path += "/";
    wish_.path += change_.names.front().name;
  }

  // It had to wait: the names may have changed meanwhile.
  void GoOn(Coordinator::Answer& answer) {
    if (answer.error != 0) return call_.Fail(answer.error);
    if (answer.check_first) {
      CheckFromNowOn();
      return Attempt();
    }
    {
      const NameLocks::Held names = HoldNames();
      auto targets = change_.targets();
      if (!targets) return call_.Fail(targets.error().value);
      if (SameTargets(*targets, wish_.targets)) return Act(answer);
    }
    answer.entry = GateEntry();
    Attempt();
  }

  void Act(Coordinator::Answer& answer) {
    if (answer.error != 0) return call_.Fail(answer.error);
    call_.BeforeReply([self = shared_from_this(), by = call_.session()->id()] { self->TellOthers(by); });
    if (const auto noted = NoteIntent(answer.epoch); !noted) return call_.Fail(noted.error().value);
    change_.act(call_, answer.epoch);
  }

  Result<void> NoteIntent(Epoch epoch) {
    if (!change_.intent) return {};
    auto intent = change_.intent(wish_.targets);
    if (!intent) return tl::unexpected(intent.error());
    if (!*intent) return {};
    std::visit(
        [&](auto& what) {
          what.epoch = epoch;
          call_.Note(what);
        },
        **intent);
    return {};
  }

  // Even if it failed: half of it may be done.
  void TellOthers(SessionId by) {
    for (const auto& target : wish_.targets) {
      if (target.act == Act::kContent) {
        service_.NoteData(by, target.file);
      } else {
        service_.watches().AttributesChanged(by, target.file);
      }
    }
    for (const FileKey& file : change_.attributes_of) service_.watches().AttributesChanged(by, file);
    for (const Name& name : change_.names) service_.watches().NameChanged(by, name.directory, name.name);
  }

  Service& service_;
  Call call_;
  Change change_;
  ChangeWish wish_;
};

}  // namespace

Intention IntentToMake(Service& service, const FileRef& directory, const std::string& name) {
  const auto there = service.store().Find(directory, name);
  if (there) return std::nullopt;
  if (there.error().value != ENOENT) return tl::unexpected(there.error());
  return NameIntent{.directory = directory, .name = name};
}

void RunChange(Service& service, Call call, Change change) {
  std::make_shared<ChangeRun>(service, std::move(call), std::move(change))->Start();
}

}  // namespace baton::server::ops
