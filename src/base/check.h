// BATON_CHECK: ends the process when our own code broke a promise. Never used on what a peer or a user sent.
#pragma once

namespace baton {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}

#define BATON_CHECK(condition) \
  (static_cast<bool>(condition) ? void() : ::baton::CheckFailed(#condition, __FILE__, __LINE__))
