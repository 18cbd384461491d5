#include "server/service/watches.h"

#include <algorithm>

#include "protocol/codec.h"

namespace baton::server {
namespace {

constexpr std::uint8_t Bit(Watches::What what) { return static_cast<std::uint8_t>(what); }

using protocol::ChangeKind;

}  // namespace

void Watches::Watch(const std::shared_ptr<Session>& session, const FileKey& file, What what) {
  const std::uint32_t connection = session->connections();
  std::vector<Told> told;
  {
    Shard& shard = ShardOf(file);
    const std::lock_guard lock(shard.mutex);
    if (shard.files.size() >= kMostFiles / kShards && !shard.files.contains(file)) told = MakeRoom(shard);
    auto& watchers = shard.files[file].watchers;
    const auto known = std::ranges::find(watchers, session->id(), &Watcher::id);
    if (known == watchers.end()) {
      watchers.push_back({session, session->id(), connection, Bit(what)});
    } else if (known->connection == connection) {
      known->what |= Bit(what);
    } else {
      known->connection = connection;
      known->what = Bit(what);
    }
  }
  Tell(told);
}

void Watches::Gone(const FileKey& file, bool was_open) {
  Shard& shard = ShardOf(file);
  const std::lock_guard lock(shard.mutex);
  const auto at = shard.files.find(file);
  if (at == shard.files.end()) return;
  if (was_open) {
    shard.files.erase(at);
  } else {
    at->second.gone = true;
  }
}

void Watches::Changed(SessionId by, const FileKey& file, What what) {
  changes_.fetch_add(1, std::memory_order_acq_rel);
  std::vector<Told> told;
  {
    Shard& shard = ShardOf(file);
    const std::lock_guard lock(shard.mutex);
    told = Collect(shard, by, file, what, {});
  }
  Tell(told);
}

void Watches::NameChanged(SessionId by, const FileKey& directory, std::string_view name) {
  changes_.fetch_add(1, std::memory_order_acq_rel);
  std::vector<Told> told;
  {
    Shard& shard = ShardOf(directory);
    const std::lock_guard lock(shard.mutex);
    told = Collect(shard, by, directory, What::kNames, name);
  }
  Tell(told);
}

std::vector<Watches::Told> Watches::Collect(Shard& shard, SessionId by, const FileKey& file, What what,
                                            std::string_view name) {
  std::vector<Told> told;
  const auto at = shard.files.find(file);
  if (at == shard.files.end()) return told;
  std::erase_if(at->second.watchers, [&](Watcher& watcher) {
    if (watcher.id == by) return false;
    const auto session = watcher.session.lock();
    if (!session || session->ended() || session->connections() != watcher.connection) return true;
    const bool names = what == What::kNames && (watcher.what & Bit(What::kNames)) != 0;
    const bool data = what == What::kData && (watcher.what & Bit(What::kData)) != 0;
    const bool attributes = (watcher.what & Bit(What::kAttributes)) != 0;
    if (names || data || attributes) {
      told.push_back({session,
                      {.kind = names  ? ChangeKind::kName
                               : data ? ChangeKind::kData
                                      : ChangeKind::kAttributes,
                       .ino = file.ino,
                       .name = names ? std::string(name) : std::string()}});
    }
    watcher.what &= static_cast<std::uint8_t>(~Bit(What::kAttributes));
    if (data) watcher.what &= static_cast<std::uint8_t>(~Bit(What::kData));
    return watcher.what == 0;
  });
  if (at->second.watchers.empty() || at->second.gone) shard.files.erase(at);
  return told;
}

// The file that comes first goes; who watched its names must forget all names, which no notice says one by one.
std::vector<Watches::Told> Watches::MakeRoom(Shard& shard) {
  std::vector<Told> told;
  const auto at = shard.files.begin();
  for (const Watcher& watcher : at->second.watchers) {
    const auto session = watcher.session.lock();
    if (!session) continue;
    const bool names = (watcher.what & Bit(What::kNames)) != 0;
    told.push_back({session, {.kind = names ? ChangeKind::kEverything : ChangeKind::kData, .ino = at->first.ino, .name = {}}});
  }
  shard.files.erase(at);
  return told;
}

void Watches::Tell(const std::vector<Told>& told) {
  std::vector<std::byte> body;
  for (const Told& each : told) {
    body.clear();
    protocol::Encoder(body).Put(protocol::ChangedNotice{each.change});
    each.session->Notify(protocol::Operation::kChanged, body);
  }
}

}  // namespace baton::server
