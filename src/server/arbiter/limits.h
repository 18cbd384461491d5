// Limits: every bound of the server that its operator may set, its default and the reason for it (rule A4).
// kLimits is the table that batond's options --max-... and the names in the `limit` events are made from.
//
// What it is not: the bounds that nobody can set, because the other side is built for them, too. They are: a
// frame's body and data and the slots of a session (protocol/frame.h), a first frame before HELLO
// (net/tcp_connection.h), names of 255 bytes (store/names.h), and the kernel's own for xattrs (a name 255
// bytes, a value and a list 64 KiB), paths and symlinks (4 KiB).
#pragma once

#include <cstdint>

namespace baton {

struct Limits {
  std::uint64_t sessions = 16'384;
  std::uint64_t handles = 2'000'000;
  std::uint64_t handles_per_session = 500'000;
  std::uint64_t locks = 2'000'000;
  std::uint64_t locks_per_session = 500'000;
  std::uint64_t waiting = 100'000;
  std::uint64_t waiting_per_session = 768;
  std::uint64_t connections = 4'096;
  std::uint64_t ungreeted = 1'024;
  std::uint64_t unread_output = 128;           // MiB
  std::uint64_t unread_output_in_all = 1'024;  // MiB
};

struct Limit {
  const char* name;   // of the option
  const char* value;  // what --help calls it
  std::uint64_t Limits::*field;
  std::uint64_t least, most;
  const char* what;
  const char* why;  // the default
};

inline constexpr Limit kLimits[] = {
    {"max-sessions", "N", &Limits::sessions, 1, 1'000'000,
     "sessions; for one too many the one that is silent longest ends",
     "four for each connection: nodes that are away keep theirs"},
    {"max-handles", "N", &Limits::handles, 1, 1'000'000'000, "open files in all", "about 1 GiB of memory"},
    {"max-handles-per-session", "N", &Limits::handles_per_session, 1, 1'000'000'000,
     "open files of one mount", "a quarter: one node alone cannot use up all"},
    {"max-locks", "N", &Limits::locks, 1, 1'000'000'000, "locks that are held, in all",
     "below 200 bytes each"},
    {"max-locks-per-session", "N", &Limits::locks_per_session, 1, 1'000'000'000, "locks that one mount holds",
     "a quarter"},
    {"max-waiting", "N", &Limits::waiting, 1, 100'000'000,
     "requests that wait for others' claims and locks, in all",
     "each is looked at again when something is released"},
    {"max-waiting-per-session", "N", &Limits::waiting_per_session, 1, 1'000,
     "requests of one mount that wait for others' claims and locks",
     "three quarters of a session's 1024 slots: with all of them waiting, a mount could not send the unlock "
     "that they wait for"},
    {"max-connections", "N", &Limits::connections, 1, 1'000'000, "connections",
     "each costs a descriptor and a buffer of 16 KiB"},
    {"max-ungreeted", "N", &Limits::ungreeted, 1, 1'000'000,
     "connections that have not said HELLO yet; for one too many the oldest is closed",
     "so many nodes can come at once after a restart; who connects and says nothing cannot keep others out"},
    {"max-unread-output", "MIB", &Limits::unread_output, 1, 65'536,
     "output that waits for one connection, in MiB; beyond it the connection is closed",
     "more than the answers to all that a mount may have asked at a time, 80 MiB: only who reads nothing at "
     "all reaches it"},
    {"max-unread-output-in-all", "MIB", &Limits::unread_output_in_all, 1, 1'048'576,
     "output that waits for all connections, in MiB; beyond it those with the most are closed", "memory"},
};

}  // namespace baton
