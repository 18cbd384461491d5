#include "walk/times.h"

#include <fmt/format.h>

namespace baton::walk {
namespace {

timespec DrawTime(Random& random) {
  switch (random.Below(8)) {
    case 0:
    case 1:
      return {0, UTIME_NOW};
    case 2:
    case 3:
      return {0, UTIME_OMIT};
    default:
      break;
  }
  // Before the epoch, after 2038, what an ext4 can just keep and what it cannot.
  const auto seconds =
      random.OneOf<std::int64_t>({0, -1, 1, 1'000'000'000, -2'147'483'648, -2'147'483'649, 2'147'483'648,
                                  4'294'967'296, 15'032'385'535, 15'032'385'536, -100'000'000'000});
  const auto nanoseconds =
      random.OneOf<long>({0, 1, 123'456'789, 999'999'999, 999'999'999, 1'000'000'000, -1});
  return {seconds, nanoseconds};
}

std::string Text(const timespec& time) {
  if (time.tv_nsec == UTIME_NOW) return "now";
  if (time.tv_nsec == UTIME_OMIT) return "omit";
  return fmt::format("{}s+{}ns", time.tv_sec, time.tv_nsec);
}

}  // namespace

Times DrawTimes(Random& random) {
  if (random.Chance(15)) return std::nullopt;
  return std::array{DrawTime(random), DrawTime(random)};
}

std::string Text(const Times& times) {
  return times ? Text((*times)[0]) + "," + Text((*times)[1]) : "null";
}

}  // namespace baton::walk
