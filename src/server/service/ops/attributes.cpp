// SETATTR and the xattrs: changes of a file's attributes, and user.baton.holders, which tells who holds a file.
#include <sys/xattr.h>
#include <unistd.h>

#include <utility>

#include "server/service/ops/change.h"
#include "server/service/ops/operations.h"

namespace baton::server::ops {
namespace {

constexpr const char* kHoldersXattr = "user.baton.holders";

Result<std::vector<ChangeWish::Target>> FileTarget(Service& service, const FileRef& file, Act act) {
  const auto key = service.store().KeyOf(file);
  if (!key) return Fail(key.error().value);
  return std::vector<ChangeWish::Target>{{*key, act}};
}

// Of a change that only goes well if the xattr is, or is not, there. What cannot be told now cannot be told later: no intent.
Intention IntentOnXattr(Service& service, const FileRef& file, const std::string& name, bool if_there) {
  const auto now = service.store().GetXattr({::geteuid(), ::getegid(), {}, 0}, file, name);
  const bool is_known = now || now.error().value == ENODATA;
  if (!is_known || now.has_value() != if_there) return std::nullopt;
  return XattrIntent{.file = file, .name = name};
}

// ftruncate(2): the handle knows whose it is (rule I7).
void TruncateByHandle(Service& service, Call call, const protocol::SetattrRequest& wish) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file) return;
  const HandleEntry entry(*file);
  if (entry.error() != 0) {
    service.coordinator().ReportLate(*file);
    return call.Fail(entry.error());
  }
  service.watches().Watch(call.session(), file->file->Key(), Watches::What::kAttributes);
  const auto attr = file->file->SetAttr(Service::CredentialsOf(wish.caller), wish.change);
  if (!attr) return call.Fail(attr.error().value);
  service.NoteData(*file);
  call.Answer(protocol::AttrReply{*attr, true});
}

// A line for each holder: NODE GUID PID MODE.
Result<std::string> Holders(Service& service, const protocol::GetxattrRequest& wish) {
  const auto readable = service.store().Access(Service::CredentialsOf(wish.caller), wish.file, R_OK);
  if (!readable) return Fail(readable.error().value);
  const auto key = service.store().KeyOf(wish.file);
  if (!key) return Fail(key.error().value);
  const auto opens = service.coordinator().WithArbiter([&](Arbiter& arbiter) { return arbiter.ListOpens(*key); });
  std::string text;
  for (const OpenInfo& open : opens) {
    text += (open.node.empty() ? "-" : open.node) + " " + (open.guid ? ToString(*open.guid) : "-") + " " +
            std::to_string(open.pid) + " " + open.mode + "\n";
  }
  return text;
}

}  // namespace

void Setattr(Service& service, Call call, const protocol::SetattrRequest& wish, std::span<const std::byte>) {
  if (wish.handle != HandleId{} && wish.change.Has(attr_mask::kSize)) {
    return TruncateByHandle(service, std::move(call), wish);
  }
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  const bool content = wish.change.Has(attr_mask::kSize);
  Change change;
  change.caller = wish.caller;
  change.policy_of = wish.file;
  change.targets = [&service, wish, content] {
    return FileTarget(service, wish.file, content ? Act::kContent : Act::kNames);
  };
  change.probe = [&store, who, wish] { return store.WouldSetAttr(who, wish.file, wish.change); };
  change.act = [&service, who, wish](Call& done, Epoch epoch) {
    service.watches().Watch(done.session(), *service.store().KeyOf(wish.file), Watches::What::kAttributes);
    const auto attr = service.store().SetAttr(who, wish.file, wish.change);
    if (!attr) return done.Fail(attr.error().value);
    done.Answer(protocol::AttrReply{*attr, true}, epoch);
  };
  RunChange(service, std::move(call), std::move(change));
}

void Getxattr(Service& service, Call call, const protocol::GetxattrRequest& wish, std::span<const std::byte>) {
  auto value = wish.name == kHoldersXattr
                   ? Holders(service, wish)
                   : service.store().GetXattr(Service::CredentialsOf(wish.caller), wish.file, wish.name);
  if (!value) return call.Fail(value.error().value);
  if (value->size() > XATTR_SIZE_MAX) value->resize(value->rfind('\n', XATTR_SIZE_MAX - 1) + 1);
  call.Answer(protocol::XattrReply{std::move(*value)});
}

void Listxattr(Service& service, Call call, const protocol::ListxattrRequest& wish, std::span<const std::byte>) {
  auto names = service.store().ListXattr(Service::CredentialsOf(wish.caller), wish.file);
  if (!names) return call.Fail(names.error().value);
  call.Answer(protocol::XattrReply{std::move(*names)});
}

void Setxattr(Service& service, Call call, const protocol::SetxattrRequest& wish, std::span<const std::byte>) {
  if (wish.name == kHoldersXattr) return call.Fail(EPERM);
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  const int flags = static_cast<int>(wish.flags);
  Change change;
  change.caller = wish.caller;
  change.policy_of = wish.file;
  change.targets = [&service, wish] { return FileTarget(service, wish.file, Act::kNames); };
  change.probe = [&store, who, wish, flags] {
    return store.WouldSetXattr(who, wish.file, wish.name, wish.value, flags);
  };
  if ((flags & XATTR_CREATE) != 0) {
    change.intent = [&service, wish](const auto&) { return IntentOnXattr(service, wish.file, wish.name, false); };
  }
  change.act = [&store, who, wish, flags](Call& done, Epoch epoch) {
    const auto set = store.SetXattr(who, wish.file, wish.name, wish.value, flags);
    if (!set) return done.Fail(set.error().value);
    done.AnswerDone(epoch);
  };
  RunChange(service, std::move(call), std::move(change));
}

void Removexattr(Service& service, Call call, const protocol::RemovexattrRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(wish.caller);
  Change change;
  change.caller = wish.caller;
  change.policy_of = wish.file;
  change.targets = [&service, wish] { return FileTarget(service, wish.file, Act::kNames); };
  change.probe = [&store, who, wish] { return store.WouldRemoveXattr(who, wish.file, wish.name); };
  change.intent = [&service, wish](const auto&) { return IntentOnXattr(service, wish.file, wish.name, true); };
  change.act = [&store, who, wish](Call& done, Epoch epoch) {
    const auto removed = store.RemoveXattr(who, wish.file, wish.name);
    if (!removed) return done.Fail(removed.error().value);
    done.AnswerDone(epoch);
  };
  RunChange(service, std::move(call), std::move(change));
}

}  // namespace baton::server::ops
