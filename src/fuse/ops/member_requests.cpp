#include "fuse/ops/member_requests.h"

#include <utility>

namespace baton {

std::shared_ptr<MemberRequests::Ticket> MemberRequests::Begin() {
  std::uint64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    number = ++last_;
    under_way_.emplace(number, std::nullopt);
  }
  return std::make_shared<Ticket>(*this, number);
}

void MemberRequests::WhenNone(const Guid& guid, UniqueFunction<void()> then) {
  {
    std::lock_guard lock(mutex_);
    Waiting waiting{.guid = guid, .numbers = {}, .then = {}};
    for (const auto& [number, of] : under_way_) {
      if (!of || *of == guid) waiting.numbers.insert(number);
    }
    if (!waiting.numbers.empty()) {
      waiting.then = std::move(then);
      waiting_.push_back(std::move(waiting));
      return;
    }
  }
  then();
}

void MemberRequests::IsOf(std::uint64_t number, const Guid& guid) {
  std::vector<UniqueFunction<void()>> ready;
  {
    std::lock_guard lock(mutex_);
    under_way_[number] = guid;
    for (Waiting& waiting : waiting_) {
      if (waiting.guid != guid) waiting.numbers.erase(number);
    }
    ready = TakeReadyLocked();
  }
  for (auto& then : ready) then();
}

void MemberRequests::End(std::uint64_t number) {
  std::vector<UniqueFunction<void()>> ready;
  {
    std::lock_guard lock(mutex_);
    under_way_.erase(number);
    for (Waiting& waiting : waiting_) waiting.numbers.erase(number);
    ready = TakeReadyLocked();
  }
  for (auto& then : ready) then();
}

std::vector<UniqueFunction<void()>> MemberRequests::TakeReadyLocked() {
  std::vector<UniqueFunction<void()>> ready;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    if (!waiting.numbers.empty()) return false;
    ready.push_back(std::move(waiting.then));
    return true;
  });
  return ready;
}

}  // namespace baton
