// The version of batonfs, as CMakeLists.txt has it.
#pragma once

namespace baton {
const char* Version();
}
