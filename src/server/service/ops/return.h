// How a handle of the server's earlier life comes back (rules D2, D4): from what its mount says it held, or from the answer that
// its mount never got.
#pragma once

#include "server/service/service.h"

namespace baton::server::ops {

// The data path's half of an open that is asked for.
std::shared_ptr<OpenFile> MakeOpenFile(Service& service, const OpenWish& wish, std::shared_ptr<store::StoreFile> file);

// False: it is gone, with its locks. What is there already stays as it is.
bool ReturnHandle(Service& service, const Session& session, const protocol::HeldHandle& held);

}  // namespace baton::server::ops
