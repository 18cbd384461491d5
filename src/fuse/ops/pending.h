// The requests of the kernel that batond has not answered yet, for their interruption (rules L2, O5, S5). A
// program that got a signal still waits in the kernel until its request is answered. A wait for a lock or a
// claim is withdrawn by any signal; everything else, as with a disk, by a fatal one only, and then at once.
// The kernel says "interrupted" once per request, and a fatal signal may follow a harmless one: so
// interrupted requests are looked at again by Poll.
//
// Page-cache writes are nobody's request: while batond cannot be reached they are given up when a process
// that has the file open was killed, which would wait for them in the kernel where no signal reaches it.
//
// Any thread; the mutex is a leaf.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "fuse/client/fate_table.h"
#include "fuse/client/session.h"
#include "fuse/identity/resolver.h"
#include "fuse/kernel/open_table.h"
#include "fuse/ops/write_order.h"

namespace baton {

enum class WaitKind : std::uint8_t {
  kPlain,        // a fatal signal only
  kClaim,        // an open that may wait for a claim
  kLock,         // a lock that waits
  kFlush,        // as kPlain, and a caller that is already exiting does not wait for a server it cannot reach
  kCachedWrite,  // see above
};

class Pending {
 public:
  Pending(client::Session& session, const ProcReader& proc, const OpenTable& opens, client::FateTable& fates,
          WriteOrder& write_order);

  // What is asked, for people: a name of the protocol's table, or another that lives for ever.
  struct Request {
    client::CallToken token = client::kNoToken;
    WaitKind kind = WaitKind::kPlain;
    pid_t tid = 0;
    std::string_view what;
  };
  // `inode`: of a kCachedWrite.
  void Add(const Request& request, Instant now, std::shared_ptr<Inode> inode = nullptr);
  void Remove(client::CallToken token);
  // A signal came.
  void Interrupt(client::CallToken token);

  // Page-cache writes of retired inodes that stand in line, or would be sent again: none may land any more (rule C3).
  void GiveUpRetired();

  struct Oldest {
    std::string_view what;
    pid_t tid = 0;
    Instant since{};
  };
  struct Census {
    std::size_t count = 0;
    std::optional<Oldest> oldest;
  };
  Census Count() const;

  // Every 100 ms while Wanted.
  void Poll();
  bool Wanted() const;

 private:
  struct Entry {
    WaitKind kind = WaitKind::kPlain;
    pid_t tid = 0;
    bool interrupted = false;
    std::shared_ptr<Inode> inode;
    std::string_view what;
    Instant since{};
  };
  struct Candidate {
    client::CallToken token;
    Entry entry;
  };

  bool LinkIsLive() const;
  void Consider(const Candidate& candidate);
  bool CallerIsDying(const Entry& entry) const;
  bool SomeOpenerIsDying(const Inode& inode) const;

  client::Session& session_;
  const ProcReader& proc_;
  const OpenTable& opens_;
  client::FateTable& fates_;
  WriteOrder& write_order_;
  mutable std::mutex mutex_;
  std::unordered_map<client::CallToken, Entry> entries_;
  std::size_t interrupted_ = 0;
  std::size_t cached_or_flush_ = 0;
};

}  // namespace baton
