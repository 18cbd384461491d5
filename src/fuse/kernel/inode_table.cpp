#include "fuse/kernel/inode_table.h"

#include "base/check.h"
#include "fuse/kernel/fuse_api.h"

namespace baton {

std::optional<KnownPages> Inode::Pages() const {
  std::lock_guard lock(mutex_);
  return pages_;
}

void Inode::SetPages(const KnownPages& pages) {
  std::lock_guard lock(mutex_);
  const bool older = pages_ && pages_->generation == pages.generation && pages_->change > pages.change;
  if (!older) pages_ = pages;
}

void Inode::SetRemoved(const Attr& last) {
  std::lock_guard lock(mutex_);
  removed_ = last;
  removed_->nlink = 0;
}

std::optional<Attr> Inode::Removed() const {
  std::lock_guard lock(mutex_);
  return removed_;
}

void Inode::BeginClose() {
  std::lock_guard lock(mutex_);
  ++closing_;
}

void Inode::EndClose() {
  std::vector<UniqueFunction<void()>> ready;
  {
    std::lock_guard lock(mutex_);
    BATON_CHECK(closing_ > 0);
    if (--closing_ == 0) ready.swap(when_closed_);
  }
  for (auto& then : ready) then();
}

bool Inode::WhenClosed(UniqueFunction<void()>& then) {
  std::lock_guard lock(mutex_);
  if (closing_ == 0) return false;
  when_closed_.push_back(std::move(then));
  return true;
}

InodeTable::InodeTable() : root_(std::make_shared<Inode>(FileRef(), 0)) {
  root_->lookups_ = 1;
}

InodeTable::~InodeTable() {
  root_->itself_.reset();
  for (Inode* inode : std::exchange(known_to_kernel_, {})) {
    const auto parent = std::move(inode->parent_);
    const auto last = std::move(inode->itself_);
  }
}

void InodeTable::SetRoot(const FileRef& root, std::uint64_t number) {
  std::lock_guard lock(mutex_);
  root_->file_ = root;
  root_->number_ = number;
  root_->itself_ = root_;
  by_file_[root] = root_.get();
  by_number_[number] = root_.get();
}

std::shared_ptr<Inode> InodeTable::Get(std::uint64_t number) const {
  if (number == FUSE_ROOT_ID) return root_;
  return reinterpret_cast<Inode*>(number)->shared_from_this();
}

std::uint64_t InodeTable::NumberFor(const Inode& inode) const {
  return &inode == root_.get() ? FUSE_ROOT_ID : reinterpret_cast<std::uint64_t>(&inode);
}

std::shared_ptr<Inode> InodeTable::Remember(const FileRef& file, const Attr& attr,
                                            const std::shared_ptr<Inode>& parent, std::string_view name) {
  std::shared_ptr<Inode> old_parent;  // let go of outside the mutex
  std::lock_guard lock(mutex_);
  Inode*& known = by_file_[file];
  if (known == nullptr) {
    auto inode = std::make_shared<Inode>(file, attr.ino);
    known = inode.get();
    by_number_[attr.ino] = known;
    known_to_kernel_.insert(known);
    known->itself_ = std::move(inode);
  }
  ++known->lookups_;
  if (parent != nullptr) {
    old_parent = std::exchange(known->parent_, parent);
    known->name_ = name;
  }
  return known->shared_from_this();
}

void InodeTable::Forget(Inode& inode, std::uint64_t lookups) {
  std::shared_ptr<Inode> last;
  std::shared_ptr<Inode> parent;
  std::lock_guard lock(mutex_);
  if (&inode == root_.get()) return;
  BATON_CHECK(inode.lookups_ >= lookups);
  inode.lookups_ -= lookups;
  if (inode.lookups_ > 0) return;
  DropFromIndex(inode);
  known_to_kernel_.erase(&inode);
  parent = std::move(inode.parent_);
  last = std::move(inode.itself_);
}

void InodeTable::DropFromIndex(const Inode& inode) {
  const auto file = by_file_.find(inode.file_);
  if (file != by_file_.end() && file->second == &inode) by_file_.erase(file);
  const auto number = by_number_.find(inode.number_);
  if (number != by_number_.end() && number->second == &inode) by_number_.erase(number);
}

std::vector<InodeTable::RetiredInode> InodeTable::Retire(std::span<const std::shared_ptr<Inode>> inodes) {
  std::vector<RetiredInode> retired;
  std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Inode>& inode : inodes) {
    if (inode == root_ || inode->retired_.exchange(true)) continue;
    DropFromIndex(*inode);
    retired.push_back({inode, inode->parent_, inode->name_});
  }
  return retired;
}

std::shared_ptr<Inode> InodeTable::Find(const FileRef& file) const {
  std::lock_guard lock(mutex_);
  const auto found = by_file_.find(file);
  return found == by_file_.end() ? nullptr : found->second->shared_from_this();
}

std::shared_ptr<Inode> InodeTable::FindByNumber(std::uint64_t number) const {
  std::lock_guard lock(mutex_);
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : found->second->itself_;
}

std::vector<std::shared_ptr<Inode>> InodeTable::All() const {
  std::vector<std::shared_ptr<Inode>> all;
  std::lock_guard lock(mutex_);
  all.reserve(by_file_.size());
  for (const auto& [file, inode] : by_file_) all.push_back(inode->itself_);
  return all;
}

std::string InodeTable::PathOf(const Inode& inode) const {
  constexpr int kDeepest = 64;  // a folder moved below itself meanwhile, as far as the names here go
  std::string path;
  std::lock_guard lock(mutex_);
  const Inode* at = &inode;
  for (int depth = 0; at != root_.get() && depth < kDeepest; ++depth) {
    if (at->parent_ == nullptr) return {};
    path = at->name_ + (path.empty() ? "" : "/") + path;
    at = at->parent_.get();
  }
  return path;
}

std::size_t InodeTable::Size() const {
  std::lock_guard lock(mutex_);
  return known_to_kernel_.size();
}

}  // namespace baton
