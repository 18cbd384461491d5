// The open directories: what the kernel has as the handle of one is its address here. batond keeps nothing
// for them: the cookies in the entries are the position. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "protocol/caller.h"

namespace baton {

struct OpenDirectory {
  protocol::Caller opener;  // whose rights count, whoever reads it later (rule I7)
};

class OpenDirectories {
 public:
  // The number for fuse_file_info::fh.
  std::uint64_t Add(protocol::Caller opener) {
    auto opened = std::make_unique<OpenDirectory>(std::move(opener));
    const auto number = reinterpret_cast<std::uint64_t>(opened.get());
    const std::lock_guard lock(mutex_);
    all_.emplace(number, std::move(opened));
    return number;
  }
  // Requires a number from Add that was not removed. The kernel removes it behind the last request that names
  // it.
  static const OpenDirectory& Get(std::uint64_t number) {
    return *reinterpret_cast<const OpenDirectory*>(number);
  }
  void Remove(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    all_.erase(number);
  }

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::unique_ptr<OpenDirectory>>
      all_;  // the kernel lets go of a mount with some open
};

}  // namespace baton
