// Which of the planted bugs (base/planted.h) is there. The simulation's test only.
#pragma once

#include <string_view>

namespace baton::sim {

// Empty: none.
void Plant(std::string_view name);

}  // namespace baton::sim
