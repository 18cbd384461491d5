// NameLocks: keeps names in a directory still between looking at them and changing them, so that what was checked (whose file
// it is that an unlink removes) is what is changed. Striped by directory; all changes by name go through batond. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <mutex>

#include "base/file_key.h"

namespace baton::server {

class NameLocks {
 public:
  class Held {
   public:
    Held(std::mutex* first, std::mutex* second) : first_(first), second_(second) {
      if (first_ != nullptr) first_->lock();
      if (second_ != nullptr) second_->lock();
    }
    ~Held() {
      if (second_ != nullptr) second_->unlock();
      if (first_ != nullptr) first_->unlock();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    std::mutex* first_;
    std::mutex* second_;
  };

  Held Lock(const FileKey& directory) { return {&StripeOf(directory), nullptr}; }
  // Two directories, in the order of their stripes: no deadlock.
  Held Lock(const FileKey& one, const FileKey& other) {
    std::mutex* a = &StripeOf(one);
    std::mutex* b = &StripeOf(other);
    if (a == b) return {a, nullptr};
    return std::less<>()(a, b) ? Held(a, b) : Held(b, a);
  }

 private:
  std::mutex& StripeOf(const FileKey& key) { return stripes_[std::hash<FileKey>()(key) % stripes_.size()]; }
  std::array<std::mutex, 1024> stripes_;
};

}  // namespace baton::server
