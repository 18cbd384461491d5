// The conflict table: what a claim (or a reserved claim) on a file lets others do. The one place that decides it (rules O2, O3).
// Pure constants.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace baton {

enum class ClaimMode : std::uint8_t { kNone, kWrite, kExclusive };

// Who asks, seen from the claim's holder.
enum class Relation : std::uint8_t { kHolder, kOtherInstance, kAnonymous };

// What is asked for.
enum class Act : std::uint8_t {
  kReadOpen,
  kWriteOpen,  // O_WRONLY, O_RDWR, O_TRUNC, create
  kContent,    // truncate, fallocate, copy_file_range into it
  kNames,      // unlink, rename, rename over it, attributes
};

// True: allowed beside the claim.
constexpr bool Allows(ClaimMode claim, Relation who, Act act) {
  constexpr bool yes = true;
  constexpr bool no = false;
  using Row = std::array<bool, 4>;
  //                                       read  write content names
  constexpr std::array<std::array<Row, 3>, 3> kTable{{
      {{Row{yes, yes, yes, yes},      // none:      the holder
        Row{yes, yes, yes, yes},      //            another instance
        Row{yes, yes, yes, yes}}},    //            a caller without an instance
      {{Row{yes, yes, yes, yes},      // write:     the holder
        Row{yes, no, no, no},         //            another instance
        Row{yes, no, no, yes}}},      //            a caller without an instance: log rotation, chmod -R, rm
      {{Row{yes, yes, yes, yes},      // exclusive: the holder
        Row{no, no, no, no},          //            another instance
        Row{no, no, no, no}}},        //            a caller without an instance
  }};
  return kTable[static_cast<std::size_t>(claim)][static_cast<std::size_t>(who)][static_cast<std::size_t>(act)];
}

}  // namespace baton
