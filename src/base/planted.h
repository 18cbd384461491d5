// Planted: bugs on purpose, one rule switched off by name, so that a test can show that it would be noticed. They are
// there only in what is compiled with BATON_PLANTED_BUGS, which is the simulation's test (tests/sim) and nothing that
// is shipped; elsewhere this is the constant false. Only in .cpp files: these are what is compiled twice.
#pragma once

#include <string_view>

namespace baton {

#ifdef BATON_PLANTED_BUGS
bool Planted(std::string_view name);
#else
constexpr bool Planted(std::string_view) { return false; }
#endif

}  // namespace baton
