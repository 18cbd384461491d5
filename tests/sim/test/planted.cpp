#include "base/planted.h"

#include "sim/test/planted.h"

namespace baton {
namespace {

std::string_view g_planted;

}  // namespace

bool Planted(std::string_view name) {
  return name == g_planted;
}

namespace sim {

void Plant(std::string_view name) {
  g_planted = name;
}

}  // namespace sim
}  // namespace baton
