#include "sim/disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace baton::sim {
namespace {

bool IsOfData(const Effect& effect) {
  return effect.kind == Effect::Kind::kWrite || effect.kind == Effect::Kind::kTruncate;
}

}  // namespace

std::optional<Ino> Disk::Find(std::string_view name) const {
  const auto at = now_.names.find(name);
  return at == now_.names.end() ? std::nullopt : std::optional(at->second);
}

std::uint32_t Disk::LinksOf(Ino ino) const {
  return static_cast<std::uint32_t>(std::count_if(now_.names.begin(), now_.names.end(),
                                                  [ino](const auto& entry) { return entry.second == ino; }));
}

// What it would be applied to may have been lost.
void Disk::Apply(Image& image, const Effect& effect) {
  const auto file = image.files.find(effect.ino);
  if (effect.kind == Effect::Kind::kCreate) {
    image.files[effect.ino];
    image.names[effect.name] = effect.ino;
    return;
  }
  if (file == image.files.end()) return;
  switch (effect.kind) {
    case Effect::Kind::kCreate:
      return;
    case Effect::Kind::kUnlink:
      image.names.erase(effect.name);
      return;
    case Effect::Kind::kLink:
      image.names[effect.name] = effect.ino;
      return;
    case Effect::Kind::kRename:
      image.names.erase(effect.name);
      image.names[effect.to] = effect.ino;
      return;
    case Effect::Kind::kWrite:
      file->second.resize(
          std::max(file->second.size(), static_cast<std::size_t>(effect.offset) + effect.data.size()));
      file->second.replace(effect.offset, effect.data.size(), effect.data);
      return;
    case Effect::Kind::kTruncate:
      file->second.resize(effect.offset);
      return;
  }
}

void Disk::Take(Effect effect) {
  Apply(now_, effect);
  on_effect(effect);
  since_.push_back(std::move(effect));
}

Ino Disk::Create(const std::string& name) {
  const Ino ino = ++last_;
  Take({.kind = Effect::Kind::kCreate, .ino = ino, .name = name});
  return ino;
}

void Disk::NameWasTaken(std::optional<Ino> from) {
  if (from && LinksOf(*from) == 0) nameless_.insert(*from);
}

void Disk::Unlink(const std::string& name) {
  const Ino ino = *Find(name);
  Take({.kind = Effect::Kind::kUnlink, .ino = ino, .name = name});
  NameWasTaken(ino);
}

void Disk::Link(Ino ino, const std::string& name) {
  Take({.kind = Effect::Kind::kLink, .ino = ino, .name = name});
}

void Disk::Rename(const std::string& from, const std::string& to) {
  const auto replaced = Find(to);
  if (Find(from) == replaced) return;
  Take({.kind = Effect::Kind::kRename, .ino = *Find(from), .name = from, .to = to});
  NameWasTaken(replaced);
}

void Disk::Write(Ino ino, std::uint64_t offset, std::string_view data) {
  Take({.kind = Effect::Kind::kWrite, .ino = ino, .offset = offset, .data = std::string(data)});
}

void Disk::Truncate(Ino ino, std::uint64_t size) {
  Take({.kind = Effect::Kind::kTruncate, .ino = ino, .offset = size});
}

void Disk::Sync(Ino ino) {
  std::erase_if(since_, [&](const Effect& effect) {
    const bool goes = !IsOfData(effect) || effect.ino == ino;
    if (goes) Apply(durable_, effect);
    return goes;
  });
}

void Disk::SyncAll() {
  for (const Effect& effect : since_) Apply(durable_, effect);
  since_.clear();
}

void Disk::LetGo(Ino ino) {
  const auto at = held_.find(ino);
  BATON_CHECK(at != held_.end());
  if (--at->second == 0) held_.erase(at);
}

void Disk::HoldersDied() {
  held_.clear();
}

void Disk::DropUnheld() {
  std::erase_if(nameless_, [this](Ino ino) {
    const bool goes = !held_.contains(ino);
    if (goes) now_.files.erase(ino);
    return goes;
  });
}

void Disk::LoseUnsynced(Random& random) {
  const auto names =
      static_cast<std::size_t>(std::count_if(since_.begin(), since_.end(), std::not_fn(IsOfData)));
  std::size_t names_left = random.Below(names + 1);
  std::map<Ino, std::size_t> writes_left;
  for (const Effect& effect : since_) {
    if (IsOfData(effect)) ++writes_left[effect.ino];
  }
  for (auto& [ino, count] : writes_left) count = random.Below(count + 1);
  for (const Effect& effect : since_) {
    std::size_t& left = IsOfData(effect) ? writes_left[effect.ino] : names_left;
    if (left == 0) continue;
    --left;
    Apply(durable_, effect);
  }
  since_.clear();
  now_ = durable_;
  held_.clear();
  nameless_.clear();
  for (const auto& [ino, data] : now_.files) NameWasTaken(ino);
}

const std::string* Disk::DurableDataOf(Ino ino) const {
  const auto at = durable_.files.find(ino);
  return at == durable_.files.end() ? nullptr : &at->second;
}

std::string ToText(const Effect& effect) {
  switch (effect.kind) {
    case Effect::Kind::kCreate:
      return fmt::format("create {} (ino {})", effect.name, effect.ino);
    case Effect::Kind::kUnlink:
      return fmt::format("unlink {} (ino {})", effect.name, effect.ino);
    case Effect::Kind::kLink:
      return fmt::format("link {} (ino {})", effect.name, effect.ino);
    case Effect::Kind::kRename:
      return fmt::format("rename {} to {} (ino {})", effect.name, effect.to, effect.ino);
    case Effect::Kind::kWrite:
      return fmt::format("write ino {} at {}: {}", effect.ino, effect.offset, effect.data);
    case Effect::Kind::kTruncate:
      return fmt::format("truncate ino {} to {}", effect.ino, effect.offset);
  }
  return "";
}

}  // namespace baton::sim
