// RunChange: how everything is changed that needs no handle (rules O2, T1, T2, T4): by name, of attributes, of xattrs. It keeps
// the names still, looks whose files are touched, checks everything else before anybody is fenced, asks the arbiter, and
// acts inside the gate. If the arbiter makes it wait, it looks again afterwards.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/service/intent.h"
#include "server/service/service.h"

namespace baton::server::ops {

struct Name {
  FileKey directory;
  std::string name;
};

// None: there is nothing to do that could be done twice.
using Intention = Result<std::optional<std::variant<NameIntent, XattrIntent>>>;

struct Change {
  protocol::Caller caller;
  FileRef policy_of;                   // the file or directory whose policy counts (rule I2 d)
  std::array<FileKey, 2> directories;  // whose names it changes; the same twice: one
  bool by_name = false;                // false: `directories` do not count
  std::optional<FileRef> policy_of_other;  // of the second directory: the stricter claim mode counts
  // Whose files it touches, as the names stand now.
  std::function<Result<std::vector<ChangeWish::Target>>()> targets;
  // What it changes beside the targets (rule C2): names, the first of them in `policy_of` if it is by name, and files'
  // attributes.
  std::vector<Name> names;
  std::vector<FileKey> attributes_of;
  // What is noted before `act`, if it must not run twice (rule D2).
  std::function<Intention(const std::vector<ChangeWish::Target>&)> intent;
  // The errno that `act` would give, without doing it.
  std::function<Result<void>()> probe;
  // Does it and answers. Inside the gate, with the names kept still.
  std::function<void(Call&, Epoch)> act;
};

void RunChange(Service& service, Call call, Change change);

// None if the name is there already.
Intention IntentToMake(Service& service, const FileRef& directory, const std::string& name);

}  // namespace baton::server::ops
