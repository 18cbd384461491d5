#include "server/service/ops/stale_locks.h"

#include <sys/stat.h>

namespace baton::server::ops {

std::optional<store::Creator> CreatorFor(const Service& service, const protocol::Caller& caller,
                                         const std::string& name) {
  if (!caller.member || !service.options().stale_locks.Match(name)) return std::nullopt;
  return store::Creator{caller.member->guid, Epoch{}, name};
}

std::optional<store::Creator> StaleFor(Service& service, const Session& session,
                                       const protocol::Caller& caller, const std::string& name,
                                       const store::Node& node) {
  if (!S_ISREG(node.attr.mode)) return std::nullopt;
  const auto own = CreatorFor(service, caller, name);
  if (!own) return std::nullopt;
  const auto creator = service.store().CreatorOf(node.ref);
  if (!creator || !*creator || (*creator)->guid != own->guid || (*creator)->name != name) return std::nullopt;
  const auto who = service.RequesterFor(session, caller, store::DirectoryPolicy());
  if (!who || !service.coordinator().WouldOutlive(*who, (*creator)->epoch)) return std::nullopt;
  return **creator;
}

}  // namespace baton::server::ops
