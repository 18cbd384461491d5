// LOOKUP, GETATTR, READLINK, STATFS, READDIR, FSYNC_DIRECTORY: what changes nothing. Never a takeover (rule T10).
#include <utility>

#include "server/service/ops/operations.h"
#include "server/service/service.h"

namespace baton::server::ops {

void Lookup(Service& service, Call call, const protocol::LookupRequest& wish, std::span<const std::byte>) {
  const auto node = service.store().Lookup(Service::CredentialsOf(wish.caller), wish.directory, wish.name);
  if (!node) return call.Fail(node.error().value);
  call.Answer(protocol::NodeReply{node->ref, node->attr});
}

void Getattr(Service& service, Call call, const protocol::GetattrRequest& wish, std::span<const std::byte>) {
  const auto attr = service.store().GetAttr(Service::CredentialsOf(wish.caller), wish.file);
  if (!attr) return call.Fail(attr.error().value);
  call.Answer(protocol::AttrReply{*attr});
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
    if (node) out.node = protocol::NodeReply{node->ref, node->attr};
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
