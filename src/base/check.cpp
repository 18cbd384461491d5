#include "base/check.h"

#include <cstdlib>

#include "base/log.h"

namespace baton {

void CheckFailed(const char* condition, const char* file, int line) {
  log::Critical("internal error: {} does not hold at {}:{}; this is a bug in batonfs, please report it", condition, file,
                line);
  log::Flush();
  std::abort();
}

}  // namespace baton
