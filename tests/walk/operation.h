// An operation of the walk: one system call (or what comes nearest), made on either side. Drawn once, so that
// both sides get the same. The kinds stand in operations_*.cpp; a new one is a function there and a line in
// its list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "walk/draw.h"
#include "walk/side.h"

namespace baton::walk {

struct Operation {
  std::string text;
  std::function<Result(Side&)> act;
  // What it names, for the look afterwards.
  std::vector<std::string> paths;
  // A descriptor that it leaves in a slot, with the open flags.
  int opens = kNowhere;
  int flags = 0;
  // Made by whoever opened this slot: a handle is its opener's (rule I7), whoever writes through it.
  int as_opener_of = kNowhere;
  // Not made this time: it had nothing to work on.
  bool idle = false;
};

struct Kind {
  const char* name;
  unsigned weight;
  Operation (*draw)(Draw&);
};

std::vector<Kind> NameKinds();
std::vector<Kind> AttributeKinds();
std::vector<Kind> XattrKinds();
std::vector<Kind> DescriptorKinds();

inline Operation Idle() {
  Operation none;
  none.idle = true;
  return none;
}

}  // namespace baton::walk
