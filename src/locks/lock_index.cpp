#include "locks/lock_index.h"

#include <algorithm>

#include "base/check.h"

namespace baton {
namespace {

bool Before(const LockNode& a, const LockNode& b) {
  return std::pair(a.lock.range.start, a.group) < std::pair(b.lock.range.start, b.group);
}

void Update(LockNode* node) {
  node->reach = node->lock.range.last;
  node->first_group = node->group;
  for (const LockNode* child : {node->left, node->right}) {
    if (child == nullptr) continue;
    node->reach = std::max(node->reach, child->reach);
    node->first_group = std::min(node->first_group, child->first_group);
  }
}

// Everything before `pivot` goes to the first tree.
std::pair<LockNode*, LockNode*> Split(LockNode* root, const LockNode& pivot) {
  if (root == nullptr) return {};
  std::pair<LockNode*, LockNode*> halves;
  if (Before(*root, pivot)) {
    halves = Split(root->right, pivot);
    root->right = std::exchange(halves.first, root);
  } else {
    halves = Split(root->left, pivot);
    root->left = std::exchange(halves.second, root);
  }
  Update(root);
  return halves;
}

LockNode* Join(LockNode* low, LockNode* high) {
  if (low == nullptr) return high;
  if (high == nullptr) return low;
  LockNode* top = low->priority >= high->priority ? low : high;
  if (top == low) {
    low->right = Join(low->right, high);
  } else {
    high->left = Join(low, high->left);
  }
  Update(top);
  return top;
}

LockNode* Without(LockNode* root, LockNode* node) {
  BATON_CHECK(root != nullptr);
  if (root == node) return Join(node->left, node->right);
  LockNode*& child = Before(*node, *root) ? root->left : root->right;
  child = Without(child, node);
  Update(root);
  return root;
}

// In order of start, so that of two locks of one group the first is met first.
void Search(const LockNode* node, const Lock& wish, const LockNode*& best) {
  if (node == nullptr || node->reach < wish.range.start) return;
  if (best != nullptr && node->first_group >= best->group) return;
  Search(node->left, wish, best);
  if (node->lock.range.start > wish.range.last) return;
  if ((best == nullptr || node->group < best->group) && Conflicts(node->lock, wish)) best = node;
  Search(node->right, wish, best);
}

}  // namespace

void LockIndex::Insert(LockNode* node) {
  node->left = node->right = nullptr;
  Update(node);
  auto [low, high] = Split(root_, *node);
  root_ = Join(Join(low, node), high);
}

void LockIndex::Erase(LockNode* node) {
  root_ = Without(root_, node);
}

const LockNode* LockIndex::FirstConflict(const Lock& wish) const {
  const LockNode* best = nullptr;
  Search(root_, wish, best);
  return best;
}

}  // namespace baton
