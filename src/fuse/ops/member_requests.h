// MemberRequests: the requests under way that say which incarnation their process belongs to. A request that
// was judged before a fence came in force may still say `new`; if batond saw it after the node's
// acknowledgement, it would take an old process for a new one (rule T7). So the acknowledgement waits until
// none of them is under way. Any thread; the mutex is a leaf, callbacks run without it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/guid.h"
#include "fuse/client/unique_function.h"

namespace baton {

class MemberRequests {
 public:
  // One request, from before its caller is judged until its fate is known.
  class Ticket {
   public:
    Ticket(MemberRequests& requests, std::uint64_t number) : requests_(requests), number_(number) {}
    ~Ticket() { requests_.End(number_); }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    // Until then it may be anybody's.
    void IsOf(const Guid& guid) { requests_.IsOf(number_, guid); }

   private:
    MemberRequests& requests_;
    const std::uint64_t number_;
  };

  // Between Begin and IsOf, or the ticket's end, nothing may block.
  std::shared_ptr<Ticket> Begin();
  // Runs `then` when none of the requests of this instance that are under way now is under way any more;
  // perhaps at once. Requires that the fence is in force.
  void WhenNone(const Guid& guid, UniqueFunction<void()> then);

 private:
  struct Waiting {
    Guid guid{};
    std::set<std::uint64_t> numbers;
    UniqueFunction<void()> then;
  };

  void IsOf(std::uint64_t number, const Guid& guid);
  void End(std::uint64_t number);
  std::vector<UniqueFunction<void()>> TakeReadyLocked();

  std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::unordered_map<std::uint64_t, std::optional<Guid>> under_way_;
  std::vector<Waiting> waiting_;
};

}  // namespace baton
