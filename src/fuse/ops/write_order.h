// WriteOrder: what a program has written through this mount, its node never misses again. The kernel copies a
// buffered write into its pages and sends it on with the pages unlocked; one past the cache drops them first.
// Whatever makes a page be fetched anew meanwhile (an open, a notice, a changed mtime, a mapping with
// O_DIRECT) makes the kernel keep what that READ brings, which may be older than the write. So no READ
// overtakes a WRITE of the same bytes; and where one was received shortly before the WRITE, as the kernel may
// send them in that order, the pages are to be dropped after the WRITE.
//
// It sends nothing itself. Per inode of the kernel. Any thread; waiters run with no lock held, on the thread
// that caused them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/range.h"
#include "base/result.h"
#include "fuse/client/call.h"
#include "fuse/client/unique_function.h"

namespace baton {

class Inode;

class WriteOrder {
 public:
  // Between the copy of a write and its WRITE lie the copies of its other pages, faults on the program's
  // memory, preemption.
  static constexpr Duration kRecent = std::chrono::milliseconds(100);

  using Waiter = UniqueFunction<void(Result<>)>;
  // What READs for the page cache that were sent before the WRITE mean: the kernel may have older bytes in
  // its pages when the WRITE is answered.
  enum class Earlier {
    kNone,
    kRead,  // of many pages, which the kernel copies first and then sends; the page may also be the write's
            // own, and locked for it
    kOvertaken,  // the kernel had sent a READ of the last page later: that page is not the write's own any
                 // more
  };
  struct Write {
    std::uint64_t number = 0;
    Earlier earlier = Earlier::kNone;
  };
  // What the kernel sent, with its number.
  struct Request {
    ByteRange range;
    std::uint64_t number = 0;
  };

  // A WRITE is about to be sent.
  Write Begin(const Inode& inode, const Request& write, Instant now);
  // It was answered, or given up. Who waited for no other one goes on.
  void End(const Inode& inode, const Write& write);

  // A READ for the page cache is about to be sent. True: no WRITE of these bytes is under way, go on;
  // `waiter` was not touched. False: `waiter` will be called exactly once: with success when those that are
  // under way now have ended, or by Withdraw.
  bool Pass(const Inode& inode, const Request& read, Instant now, client::CallToken token, Waiter& waiter);
  // The waiter with this token is called with `error`. False: there is none.
  bool Withdraw(client::CallToken token, int error);

 private:
  struct Read {
    const Inode* inode = nullptr;
    Request request;
    Instant at{};
  };
  struct Waiting {
    client::CallToken token;
    Waiter waiter;
    int writes = 0;  // that it still waits for
  };
  struct UnderWay {
    std::uint64_t number;
    ByteRange range;
    std::vector<std::shared_ptr<Waiting>> waiting;
  };

  Earlier EarlierReads(const Inode& inode, const Request& write, Instant now) const;

  std::mutex mutex_;
  std::uint64_t last_write_ = 0;
  std::uint64_t last_read_ = 0;
  std::array<Read, 1024> reads_{};  // by number
  std::unordered_map<const Inode*, std::vector<UnderWay>> under_way_;
  std::unordered_map<client::CallToken, std::shared_ptr<Waiting>> waiting_;
};

}  // namespace baton
