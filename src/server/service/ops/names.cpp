// MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME: changes by name. Regular files are made by CREATE (open.cpp).
#include <linux/fs.h>

#include <utility>

#include "server/service/ops/change.h"
#include "server/service/ops/operations.h"

namespace baton::server::ops {
namespace {

using Targets = Result<std::vector<ChangeWish::Target>>;

// A change of the names in one directory; false: answered already.
bool InDirectory(Service& service, Call& call, const FileRef& directory, Change& change) {
  const auto key = service.store().KeyOf(directory);
  if (!key) {
    call.Fail(key.error().value);
    return false;
  }
  change.policy_of = directory;
  change.by_name = true;
  change.directories = {*key, *key};
  return true;
}

// Answers with what was made.
void AnswerNode(Service& service, Call& call, Epoch epoch, std::uint64_t before, const Result<store::Node>& node) {
  if (!node) return call.Fail(node.error().value);
  service.watches().Watch(call.session(), node->key, Watches::What::kAttributes);
  call.Answer(protocol::NodeReply{node->ref, node->attr, service.watches().UnchangedSince(before)}, epoch);
}

void AnswerVoid(Call& call, Epoch epoch, const Result<void>& done) {
  if (!done) return call.Fail(done.error().value);
  call.AnswerDone(epoch);
}

Targets NoTargets() { return std::vector<ChangeWish::Target>{}; }

// The file that a name stands for now.
Targets TargetOf(Service& service, const Credentials& who, const FileRef& directory, const std::string& name) {
  const auto node = service.store().Lookup(who, directory, name);
  if (!node) return Fail(node.error().value);
  return std::vector<ChangeWish::Target>{{node->key, Act::kNames}};
}

NameIntent IntentToRename(const protocol::RenameRequest& wish, const std::vector<ChangeWish::Target>& targets) {
  NameIntent intent;
  intent.directory = wish.directory;
  intent.name = wish.name;
  intent.file = Identity::Of(targets[0].file);
  intent.new_directory = wish.new_directory;
  intent.new_name = wish.new_name;
  if (targets.size() > 1) intent.new_file = Identity::Of(targets[1].file);
  return intent;
}

template <class Probe, class Make>
void MakeName(Service& service, Call call, const protocol::Caller& caller, const FileRef& directory,
              const std::string& name, Probe probe, Make make, std::vector<FileKey> attributes_of = {}) {
  Change change;
  change.caller = caller;
  if (!InDirectory(service, call, directory, change)) return;
  change.targets = NoTargets;
  change.names = {{change.directories[0], name}};
  change.attributes_of = std::move(attributes_of);
  change.intent = [&service, directory, name](const auto&) { return IntentToMake(service, directory, name); };
  change.probe = std::move(probe);
  change.act = [&service, make = std::move(make)](Call& done, Epoch epoch) {
    const std::uint64_t before = service.watches().Now();
    AnswerNode(service, done, epoch, before, make());
  };
  RunChange(service, std::move(call), std::move(change));
}

// `act` removes the name and answers.
template <class Probe, class Act>
void RemoveName(Service& service, Call call, const protocol::RemoveRequest& wish, Probe probe, Act act) {
  Change change;
  change.caller = wish.caller;
  if (!InDirectory(service, call, wish.directory, change)) return;
  change.targets = [&service, wish] {
    return TargetOf(service, Service::CredentialsOf(wish.caller), wish.directory, wish.name);
  };
  change.names = {{change.directories[0], wish.name}};
  change.intent = [wish](const auto& targets) -> Intention {
    return NameIntent{.directory = wish.directory, .name = wish.name, .file = Identity::Of(targets.front().file)};
  };
  change.probe = std::move(probe);
  change.act = std::move(act);
  RunChange(service, std::move(call), std::move(change));
}

}  // namespace

void MakeDirectory(Service& service, Call call, const protocol::MakeDirectoryRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller, wish.umask);
  MakeName(service, std::move(call), wish.caller, wish.directory, wish.name,
           [&store, who, wish] { return store.WouldMakeDirectory(who, wish.directory, wish.name); },
           [&store, who, wish] { return store.MakeDirectory(who, wish.directory, wish.name, wish.mode); });
}

void MakeNode(Service& service, Call call, const protocol::MakeNodeRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller, wish.umask);
  MakeName(service, std::move(call), wish.caller, wish.directory, wish.name,
           [&store, who, wish] { return store.WouldMakeNode(who, wish.directory, wish.name, wish.mode); },
           [&store, who, wish] { return store.MakeNode(who, wish.directory, wish.name, wish.mode, wish.device); });
}

void Symlink(Service& service, Call call, const protocol::SymlinkRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  MakeName(service, std::move(call), wish.caller, wish.directory, wish.name,
           [&store, who, wish] { return store.WouldSymlink(who, wish.directory, wish.name, wish.target); },
           [&store, who, wish] { return store.Symlink(who, wish.directory, wish.name, wish.target); });
}

void Link(Service& service, Call call, const protocol::LinkRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const auto linked = store.KeyOf(wish.file);
  if (!linked) return call.Fail(linked.error().value);
  const Credentials who = Service::CredentialsOf(wish.caller);
  MakeName(service, std::move(call), wish.caller, wish.directory, wish.name,
           [&store, who, wish] { return store.WouldLink(who, wish.file, wish.directory, wish.name); },
           [&store, who, wish] { return store.Link(who, wish.file, wish.directory, wish.name); }, {*linked});
}

void Unlink(Service& service, Call call, const protocol::RemoveRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  RemoveName(service, std::move(call), wish,
             [&store, who, wish] { return store.WouldUnlink(who, wish.directory, wish.name); },
             [&store, who, wish](Call& done, Epoch epoch) {
               AnswerVoid(done, epoch, store.Unlink(who, wish.directory, wish.name));
             });
}

void RemoveDirectory(Service& service, Call call, const protocol::RemoveRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  RemoveName(service, std::move(call), wish,
             [&store, who, wish] { return store.WouldRemoveDirectory(who, wish.directory, wish.name); },
             [&store, who, wish](Call& done, Epoch epoch) {
               const auto removed = store.RemoveDirectory(who, wish.directory, wish.name);
               if (!removed) return done.Fail(removed.error().value);
               done.Answer(protocol::NodeReply{removed->ref, removed->attr}, epoch);
             });
}

void Rename(Service& service, Call call, const protocol::RenameRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  Change change;
  change.caller = wish.caller;
  if (!InDirectory(service, call, wish.directory, change)) return;
  const auto to = store.KeyOf(wish.new_directory);
  if (!to) return call.Fail(to.error().value);
  change.directories[1] = *to;
  change.policy_of_other = wish.new_directory;
  change.names = {{change.directories[0], wish.name}, {*to, wish.new_name}};
  change.targets = [&service, who, wish]() -> Targets {
    auto targets = TargetOf(service, who, wish.directory, wish.name);
    if (!targets) return targets;
    const auto replaced = TargetOf(service, who, wish.new_directory, wish.new_name);
    if (replaced) {
      targets->push_back(replaced->front());
    } else if (replaced.error().value != ENOENT) {
      return Fail(replaced.error().value);
    }
    return targets;
  };
  change.intent = [wish](const auto& targets) -> Intention { return IntentToRename(wish, targets); };
  change.probe = [&store, who, wish] {
    return store.WouldRename(who, wish.directory, wish.name, wish.new_directory, wish.new_name, wish.flags);
  };
  change.act = [&store, who, wish](Call& done, Epoch epoch) {
    const auto replaced =
        store.Rename(who, wish.directory, wish.name, wish.new_directory, wish.new_name, wish.flags);
    if (!replaced) return done.Fail(replaced.error().value);
    done.Answer(protocol::NodeReply{replaced->ref, replaced->attr}, epoch);
  };
  RunChange(service, std::move(call), std::move(change));
}

}  // namespace baton::server::ops
