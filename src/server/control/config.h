// Config: what batond was told, from its command line and its TOML file; the command line wins. A value.
// Reading it touches nothing but the files that are named. Rules O2 (claim), T5 (scope), T9 (reservation),
// T11 (flapping), T12 (forget-after), X1 (stale-locks), A1, A2.
#pragma once


#include <cstdint>
#include <filesystem>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/arbiter/types.h"
#include "server/state/boot_id.h"

namespace baton {

struct ListenAddress {
  std::string host = "127.0.0.1";  // numeric or a name; IPv6 without brackets
  std::uint16_t port = 7740;       // 0: any free one
  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};
std::string ToString(const ListenAddress& address);  // ADDR:PORT, [ADDR]:PORT

struct Config {
  std::filesystem::path export_dir;  // absolute, existing
  ListenAddress listen;
  std::filesystem::path state_dir;
  Duration lease = std::chrono::seconds(10);
  Duration reservation = std::chrono::seconds(10);  // default: the lease
  ClaimMode claim = ClaimMode::kWrite;
  ReclaimScope reclaim_scope = ReclaimScope::kInstance;
  bool squash_root = false;
  bool read_only = false;
  bool insecure = false;
  bool strict = false;
  std::vector<std::string> stale_locks;  // rule X1
  std::uint32_t flap_limit = 3;          // 0: no limit
  Duration flap_window = std::chrono::seconds(60);
  Duration forget_after = std::chrono::hours(24 * 30);  // rule T12
  log::Level log_level = log::Level::kInfo;
  Limits limits;                                        // rule A4
  std::filesystem::path boot_id_file = kBootIdFile;  // rule D3

  ArbiterOptions Arbiter() const;
};

// Nothing to run: --help, --version, or a mistake. `text` goes to stdout if code is 0, else to stderr.
struct ConfigExit {
  int code = 2;
  std::string text;
};

tl::expected<Config, ConfigExit> ReadConfig(int argc, const char* const* argv);

}  // namespace baton
