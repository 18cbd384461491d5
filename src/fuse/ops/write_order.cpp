#include "fuse/ops/write_order.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace baton {

WriteOrder::Write WriteOrder::Begin(const Inode& inode, const Request& write, Instant now) {
  const std::scoped_lock lock(mutex_);
  const Write begun{.number = ++last_write_, .earlier = EarlierReads(inode, write, now)};
  under_way_[&inode].push_back({begun.number, write.range, {}});
  return begun;
}

WriteOrder::Earlier WriteOrder::EarlierReads(const Inode& inode, const Request& write, Instant now) const {
  constexpr std::uint64_t kPage = 4096;
  const bool of_one_page = write.range.start / kPage == write.range.last / kPage;
  const std::uint64_t kept = std::min<std::uint64_t>(last_read_, reads_.size());
  Earlier earlier = Earlier::kNone;
  for (std::uint64_t n = 0; n < kept; ++n) {
    const Read& read = reads_[(last_read_ - n) % reads_.size()];
    if (now - read.at > kRecent) break;
    if (read.inode != &inode || !read.request.range.Overlaps(write.range)) continue;
    const ByteRange& range = read.request.range;
    const bool of_last_page = range.start <= write.range.last && write.range.last <= range.last;
    if (of_last_page && read.request.number > write.number) return Earlier::kOvertaken;
    if (!of_one_page) earlier = Earlier::kRead;
  }
  return earlier;
}

void WriteOrder::End(const Inode& inode, const Write& write) {
  std::vector<std::shared_ptr<Waiting>> released;
  {
    const std::scoped_lock lock(mutex_);
    const auto file = under_way_.find(&inode);
    BATON_CHECK(file != under_way_.end());
    const auto found = std::ranges::find(file->second, write.number, &UnderWay::number);
    BATON_CHECK(found != file->second.end());
    for (auto& waiting : found->waiting) {
      if (--waiting->writes == 0 && waiting_.erase(waiting->token) > 0)
        released.push_back(std::move(waiting));
    }
    file->second.erase(found);
    if (file->second.empty()) under_way_.erase(file);
  }
  for (const auto& waiting : released) waiting->waiter({});
}

bool WriteOrder::Pass(const Inode& inode, const Request& read, Instant now, client::CallToken token,
                      Waiter& waiter) {
  const std::scoped_lock lock(mutex_);
  reads_[++last_read_ % reads_.size()] = {&inode, read, now};
  const auto file = under_way_.find(&inode);
  if (file == under_way_.end()) return true;
  std::shared_ptr<Waiting> waiting;
  for (UnderWay& write : file->second) {
    if (!write.range.Overlaps(read.range)) continue;
    if (waiting == nullptr) waiting = std::make_shared<Waiting>(Waiting{.token = token, .waiter = {}});
    ++waiting->writes;
    write.waiting.push_back(waiting);
  }
  if (waiting == nullptr) return true;
  waiting->waiter = std::move(waiter);
  waiting_.emplace(token, std::move(waiting));
  return false;
}

bool WriteOrder::Withdraw(client::CallToken token, int error) {
  std::shared_ptr<Waiting> withdrawn;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = waiting_.find(token);
    if (found == waiting_.end()) return false;
    withdrawn = std::move(found->second);
    waiting_.erase(found);
  }
  withdrawn->waiter(Fail(error));
  return true;
}

}  // namespace baton
