// LOOKUP, GETATTR, READLINK, STATFS, READDIR, FSYNC_DIRECTORY: what changes nothing. Never a takeover (rule T10).
#include <utility>

#include "server/service/ops/operations.h"
#include "server/service/ops/stale_locks.h"
#include "server/service/service.h"

namespace baton::server::ops {

void Lookup(Service& service, Call call, const protocol::LookupRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  Watches& watches = service.watches();
  const Credentials who = Service::CredentialsOf(wish.caller);
  const bool keeps_names = call.session()->keeps_names();
  if (keeps_names) {
    const auto directory = store.KeyOf(wish.directory);
    if (!directory) return call.Fail(directory.error().value);
    watches.Watch(call.session(), *directory, Watches::What::kNames);
  }
  const std::uint64_t before = watches.Now();
  auto node = store.Lookup(who, wish.directory, wish.name);
  // An absence that is not the same for everybody is never kept.
  const bool may_hide = service.options().stale_locks.Match(wish.name);
  if (!node && node.error().value == ENOENT && keeps_names && !may_hide) return call.Answer(protocol::NodeReply());
  if (!node) return call.Fail(node.error().value);
  if (may_hide && StaleFor(service, *call.session(), wish.caller, wish.name, *node)) return call.Fail(ENOENT);
  watches.Watch(call.session(), node->key, Watches::What::kAttributes);
  bool watched = watches.UnchangedSince(before);
  if (!watched) {
    const auto attr = store.GetAttr(who, node->ref);
    watched = attr.has_value();
    if (attr) node->attr = *attr;
  }
  call.Answer(protocol::NodeReply{node->ref, node->attr, watched});
}

void Getattr(Service& service, Call call, const protocol::GetattrRequest& wish, std::span<const std::byte>) {
  const auto key = service.store().KeyOf(wish.file);
  if (!key) return call.Fail(key.error().value);
  service.watches().Watch(call.session(), *key, Watches::What::kAttributes);
  const auto attr = service.store().GetAttr(Service::CredentialsOf(wish.caller), wish.file);
  if (!attr) return call.Fail(attr.error().value);
  call.Answer(protocol::AttrReply{*attr, true});
}

void Readlink(Service& service, Call call, const protocol::ReadlinkRequest& wish, std::span<const std::byte>) {
  auto target = service.store().ReadLink(Service::CredentialsOf(wish.caller), wish.file);
  if (!target) return call.Fail(target.error().value);
  call.Answer(protocol::ReadlinkReply{std::move(*target)});
}

void Statfs(Service& service, Call call, const protocol::StatfsRequest& wish, std::span<const std::byte>) {
  const auto statfs = service.store().GetStatFs(Service::CredentialsOf(wish.caller), wish.file);
  if (!statfs) return call.Fail(statfs.error().value);
  call.Answer(protocol::StatfsReply{*statfs});
}

void Readdir(Service& service, Call call, const protocol::ReaddirRequest& wish, std::span<const std::byte>) {
  const std::size_t size = std::min<std::size_t>(wish.size, protocol::kMaxBodySize / 2);
  Watches& watches = service.watches();
  const auto directory = service.store().KeyOf(wish.directory);
  if (!directory) return call.Fail(directory.error().value);
  if (call.session()->keeps_names()) watches.Watch(call.session(), *directory, Watches::What::kNames);
  const std::uint64_t before = watches.Now();
  auto page = service.store().ReadDirectory(Service::CredentialsOf(wish.caller), wish.directory, wish.cookie, size,
                                            wish.with_attributes);
  if (!page) return call.Fail(page.error().value);
  protocol::ReaddirReply reply;
  reply.entries.reserve(page->entries.size());
  for (auto& [entry, node] : page->entries) {
    auto& out = reply.entries.emplace_back();
    out.name = std::move(entry.name);
    out.ino = entry.ino;
    out.type = entry.type;
    out.cookie = entry.cookie;
    if (!node) continue;
    watches.Watch(call.session(), node->key, Watches::What::kAttributes);
    out.node = protocol::NodeReply{node->ref, node->attr, true};
  }
  if (!watches.UnchangedSince(before)) {
    for (auto& entry : reply.entries) {
      if (entry.node) entry.node->watched = false;
    }
  }
  call.Answer(reply);
}

void FsyncDirectory(Service& service, Call call, const protocol::FsyncDirectoryRequest& wish,
                    std::span<const std::byte>) {
  const auto synced =
      service.store().SyncDirectory(Service::CredentialsOf(wish.caller), wish.directory, wish.data_only);
  if (!synced) return call.Fail(synced.error().value);
  call.AnswerDone();
}

}  // namespace baton::server::ops
