// SimStore: the BackingStore of one life of the simulated server, on a Disk. Each call takes simulated time
// before its effect and after it, so that others come in between, and a kill. Regular files in one directory;
// everybody may do everything: access is not what is simulated. A fiber.
#pragma once

#include <memory>

#include "server/store/backing_store.h"
#include "sim/disk.h"
#include "sim/scheduler.h"

namespace baton::sim {

// How fast the disk is; changed while it is in use.
struct DiskSpeed {
  Duration most = std::chrono::microseconds(60);
  double stalls = 0.01;  // the share of calls that take up to this:
  Duration stall = std::chrono::milliseconds(8);
};

// Outlives its server's process, which may be killed inside any call.
std::unique_ptr<store::BackingStore> MakeStore(Disk& disk, const DiskSpeed& speed);

}  // namespace baton::sim
