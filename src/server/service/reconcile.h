// Reconcile: at the server's start, before anybody is served, finds out what became of the requests that were
// in hand when it was killed (rule D2). Each record with an intent and no reply ends in one of three ways:
// with the reply that the request would have got; without its intent, so that the request runs when it comes
// again; or, where the files do not tell, with EIO. To be killed here, too, does no harm. One thread.
#pragma once

#include "server/state/reply_file.h"
#include "server/store/backing_store.h"

namespace baton::server {

void Reconcile(ReplyFile& replies, store::BackingStore& store);

}  // namespace baton::server
