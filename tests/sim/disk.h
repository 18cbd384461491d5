// Disk: the exported directory of a simulation, flat, with what of it is on stable storage. It outlives the
// server's lives. Names are kept as a journalling file system keeps them: in order, all of them with any
// sync. Data is kept by sync only; a machine that goes down loses any tail of what a file got since.
//
// Whoever watches it hears every effect in order. It knows nobody who caused one. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/random.h"

namespace baton::sim {

using Ino = std::uint64_t;  // never used again

struct Effect {
  enum class Kind : std::uint8_t { kCreate, kUnlink, kRename, kLink, kWrite, kTruncate } kind{};
  Ino ino = 0;
  std::string name;
  std::string to;            // kRename's
  std::uint64_t offset = 0;  // kWrite's; kTruncate: the new size
  std::string data;
};

class Disk {
 public:
  static constexpr Ino kRoot = 1;

  // Before the machine goes down. Set before use.
  std::function<void(const Effect&)> on_effect;

  std::optional<Ino> Find(std::string_view name) const;
  bool Exists(Ino ino) const { return now_.files.contains(ino); }
  std::uint32_t LinksOf(Ino ino) const;
  const std::string& DataOf(Ino ino) const { return now_.files.at(ino); }

  Ino Create(const std::string& name);
  void Unlink(const std::string& name);
  void Link(Ino ino, const std::string& name);
  void Rename(const std::string& from, const std::string& to);
  void Write(Ino ino, std::uint64_t offset, std::string_view data);
  void Truncate(Ino ino, std::uint64_t size);
  void Sync(Ino ino);
  void SyncAll();

  // A file without a name stays as long as somebody holds it.
  void Hold(Ino ino) { ++held_[ino]; }
  void LetGo(Ino ino);
  // The server's process is gone: nothing is open any more, and what has no name waits to be opened again.
  void HoldersDied();
  void DropUnheld();
  // The machine goes down; what is left is what comes up.
  void LoseUnsynced(Random& random);

  const std::string* DurableDataOf(Ino ino) const;

 private:
  struct Image {
    std::map<Ino, std::string> files;
    std::map<std::string, Ino, std::less<>> names;
  };

  static void Apply(Image& image, const Effect& effect);
  void Take(Effect effect);
  void NameWasTaken(std::optional<Ino> from);

  Image now_;
  Image durable_;
  std::vector<Effect> since_;  // what durable_ lacks
  std::map<Ino, int> held_;
  std::set<Ino> nameless_;
  Ino last_ = kRoot;
};

// "create log-1 (ino 3)", for traces.
std::string ToText(const Effect& effect);

}  // namespace baton::sim
