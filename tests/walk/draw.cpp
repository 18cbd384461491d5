#include "walk/draw.h"

#include <fmt/format.h>

#include <climits>

namespace baton::walk {
namespace {

const std::vector<std::string>& Names() {
  static const std::vector<std::string> names{
      "a", "b", "c", "d", "\xff\xfe", std::string(255, 'l')};  // one is no UTF-8, one as long as can be
  return names;
}

}  // namespace

std::string Draw::PlainPath() {
  if (!known.empty() && random.Chance(50)) return random.In(known);
  if (!known.empty() && random.Chance(40)) return random.In(known) + "/" + random.In(Names());
  std::string path = random.In(Names());
  for (int levels = random.OneOf({0, 0, 0, 1, 1, 1, 1, 2}); levels > 0; --levels)
    path += "/" + random.In(Names());
  return path;
}

std::string Draw::Path() {
  const std::string path = PlainPath();
  switch (random.Below(50)) {
    case 0:
    case 1:
      return path + "/";
    case 2:
      return path + "/.";
    case 3:
      return path + "/..";
    case 4:
      return path + "/../" + random.In(Names());
    case 5:
      return ".//" + path;
    case 6:
      return path + std::string(256, 'x');
    case 7: {
      std::string deep;
      while (deep.size() + path.size() + 2 < PATH_MAX) deep += "./";
      deep += path;  // of 4094 or 4095 bytes, which is what is allowed
      return random.Chance(50) ? deep : "./" + deep;
    }
    case 8:
      return random.OneOf({std::string(), std::string("."), path + "//", path + "/./"});
    case 9:
    case 10:
      if (const int slot = Slot(); slot != kNowhere && !held[static_cast<std::size_t>(slot)].removed)
        return fmt::format("<{}>{}", slot, random.Chance(30) ? "/" + random.In(Names()) : "");
      return path;
    default:
      return path;
  }
}

std::string Draw::LinkTarget() {
  switch (random.Below(8)) {
    case 0:
      return random.OneOf<std::string>(
          {".", "..", "", "no/such", std::string(4095, 't'), std::string(4096, 't'), std::string(70, 'm')});
    case 1:
      return "../" + random.In(Names());
    case 2:
      return PlainPath() + "/";
    default:
      return PlainPath();
  }
}

mode_t Draw::Mode() {
  if (random.Chance(45)) return 0777;
  if (random.Chance(20)) return static_cast<mode_t>(random.Below(010000));
  return random.OneOf<mode_t>({0666, 0644, 0600, 0755, 0700, 0, 0444, 04755, 02755, 02644, 06777, 01777,
                               03777, 02777, 0070, 0007, 0770});
}

int Draw::Slot() {
  for (int attempts = 0; attempts < 4; ++attempts) {
    const int slot = static_cast<int>(random.Below(kSlots));
    if (held[static_cast<std::size_t>(slot)].open) return slot;
  }
  return kNowhere;
}

int Draw::Directory() {
  return random.Chance(8) ? Slot() : kNowhere;
}

std::string Draw::Bytes(std::size_t size) {
  std::string bytes(size, '\0');
  const auto first = random.Below(250);
  for (std::size_t n = 0; n < size; ++n) bytes[n] = static_cast<char>('!' + (first + n) % 90);
  return bytes;
}

std::string ModeText(mode_t mode) {
  return fmt::format("0{:o}", mode);
}

std::string DirectoryText(int slot) {
  return slot == kNowhere ? "" : fmt::format("at slot {}: ", slot);
}

}  // namespace baton::walk
