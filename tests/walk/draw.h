// What operations are drawn from: names, paths, modes, and what is open. One thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "walk/random.h"
#include "walk/side.h"
#include "walk/who.h"

namespace baton::walk {

// What both sides have open in a slot.
struct Held {
  bool open = false;
  int flags = 0;
  mode_t type = 0;  // S_IFMT
  const Person* opener = nullptr;
  bool removed = false;  // a directory that is no more
};

struct Draw {
  Random& random;
  const People& people;
  const std::array<Held, kSlots>& held;
  bool with_times;
  const std::vector<std::string>& known;  // paths that were there not long ago

  // Mostly below one of the few names, sometimes odd: slashes, dots, too long, empty, what a slot has open.
  std::string Path();
  std::string PlainPath();
  std::string LinkTarget();
  mode_t Mode();
  // A slot that has something open, or kNowhere.
  int Slot();
  // For *at(): mostly the working directory.
  int Directory();
  std::string Bytes(std::size_t size);
};

std::string ModeText(mode_t mode);
std::string DirectoryText(int slot);

}  // namespace baton::walk
