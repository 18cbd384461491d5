// What threads.cpp lets a simulation set of the world that the code under test sees. One thread.
#pragma once

#include "base/clock.h"

namespace baton::sim {

// CLOCK_REALTIME, against where it would be (it is set by hand, or by NTP).
void SetWallClockOffset(Duration offset);

// libsodium's randombytes comes from the scheduler that runs. Once in a process.
void SimulateRandomness();

}  // namespace baton::sim
