// Where batond keeps its state and where the baton command finds it: one default for both.
#pragma once

#include <filesystem>

namespace baton {

// /var/lib/batond for root; else $XDG_STATE_HOME/batond, or ~/.local/state/batond. Empty if none of them can
// be named.
std::filesystem::path DefaultStateDir();

inline std::filesystem::path ControlSocket(const std::filesystem::path& state_dir) {
  return state_dir / "batond.sock";
}

}  // namespace baton
