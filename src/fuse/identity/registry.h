// Registry: the registrations in force on this mount (rule I2 a). Any thread; its mutex is a leaf.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "fuse/identity/proc_reader.h"
#include "fuse/identity/registration.h"

namespace baton {

enum class RegistrationId : std::uint64_t {};  // 0: none; never reused

class Registry {
 public:
  struct Entry {
    RegistrationId id{};
    Registration registration;
    Ticks made_at = 0;
    std::set<ProcessKey>
        existing;  // processes that were there already, of those that started in made_at or later
    // Whether a descendant that started then carries the id: only later ones do.
    bool Covers(const ProcessKey& descendant) const {
      return descendant.start >= made_at && !existing.contains(descendant);
    }
  };

  // Replaces the process's earlier one.
  void Put(const ProcessKey& process, Entry entry);
  bool Remove(const ProcessKey& process);
  std::optional<Entry> Find(const ProcessKey& process) const;
  // The one of that id, whether or not its process is still alive: descendants keep it.
  std::optional<Entry> Find(RegistrationId id) const;
  bool Empty() const;

  std::vector<ProcessKey> Processes() const;

 private:
  mutable std::mutex mutex_;
  std::uint64_t last_id_ = 0;
  std::map<ProcessKey, Entry> entries_;
};

}  // namespace baton
