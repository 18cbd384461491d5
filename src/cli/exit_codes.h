// The exit codes of baton: an interface for scripts.
#pragma once

namespace baton::cli {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;       // refused, or it did not work
inline constexpr int kUsage = 2;        // the command line is wrong
inline constexpr int kUnreachable = 3;  // batond does not answer
// `baton run`, as env(1) has it.
inline constexpr int kCannotRun = 126;
inline constexpr int kNotFound = 127;

}  // namespace baton::cli
