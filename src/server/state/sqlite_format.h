// What marks a file as the state of batond, or as a backup of it that was not started from yet. Constants.
#pragma once

namespace baton {

inline constexpr int kApplicationId = 0x4261546f;        // "BaTo"
inline constexpr int kBackupApplicationId = 0x42615462;  // "BaTb"

}  // namespace baton
