// LockIndex: finds the locks that overlap a range: a treap by start, in which every node knows how far its
// subtree reaches and the first owner group in it. LockTable keeps one for each lock type. Owns nothing; one
// thread at a time.
#pragma once

#include <boost/intrusive/set_hook.hpp>
#include <cstdint>
#include <utility>

#include "locks/lock.h"

namespace baton {

struct ByOwner;
struct ByHandle;
template <class Tag>
using LockHook =
    boost::intrusive::set_base_hook<boost::intrusive::tag<Tag>, boost::intrusive::optimize_size<true>>;

// A lock as a table keeps it. The priority has no meaning but balance; it comes from a counter, so that the
// same calls build the same tree.
struct LockNode : LockHook<ByOwner>, LockHook<ByHandle> {
  Lock lock;
  std::uint64_t group = 0;  // the owner's place in the order of answers
  LockNode* left = nullptr;
  LockNode* right = nullptr;
  std::uint64_t reach = 0;        // the greatest range.last of the subtree
  std::uint64_t first_group = 0;  // the least group of the subtree
  std::uint32_t priority = 0;
};

class LockIndex {
 public:
  LockIndex() = default;
  LockIndex(LockIndex&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  LockIndex& operator=(LockIndex&& other) noexcept {
    root_ = std::exchange(other.root_, nullptr);
    return *this;
  }

  // The node's range, type and group must not change while it is in the index.
  void Insert(LockNode* node);
  void Erase(LockNode* node);

  // The conflict with the least (group, start); null if there is none.
  const LockNode* FirstConflict(const Lock& wish) const;
  // Calls visit(const LockNode&) for every conflict, by start.
  template <class Visit>
  void ForEachConflict(const Lock& wish, Visit&& visit) const {
    Walk(root_, wish, visit);
  }

 private:
  template <class Visit>
  static void Walk(const LockNode* node, const Lock& wish, Visit& visit) {
    if (node == nullptr || node->reach < wish.range.start) return;
    Walk(node->left, wish, visit);
    if (node->lock.range.start > wish.range.last) return;
    if (Conflicts(node->lock, wish)) visit(*node);
    Walk(node->right, wish, visit);
  }

  LockNode* root_ = nullptr;
};

}  // namespace baton
