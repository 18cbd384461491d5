// KernelReply: the duty to answer one request of the kernel, exactly once. Move-only: whoever has it must
// answer; dropping it unanswered is a bug, answered with EIO so that no program hangs, and logged. Any
// thread, one at a time.
//
// Answers return false if the kernel did not want the reply any more (the program was interrupted before it
// was read): an open or a lookup count that the reply granted does not exist then (rule O6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "fuse/kernel/fuse_api.h"

namespace baton {

// A point in the row of batond's notices of changes (rule C2).
enum class NoticeMark : std::uint64_t {};

class KernelReply {
 public:
  KernelReply() = default;
  explicit KernelReply(fuse_req_t request) : request_(request) {}
  KernelReply(KernelReply&& other) noexcept
      : request_(std::exchange(other.request_, nullptr)), since_(other.since_) {}
  KernelReply& operator=(KernelReply&& other) noexcept {
    if (this != &other) {
      DropUnanswered();
      request_ = std::exchange(other.request_, nullptr);
      since_ = other.since_;
    }
    return *this;
  }
  ~KernelReply() { DropUnanswered(); }

  explicit operator bool() const { return request_ != nullptr; }
  fuse_req_t Request() const { return request_; }
  const fuse_ctx& Context() const { return *fuse_req_ctx(request_); }

  // When batond was asked: what it told of later, its answer may not know.
  void SetSince(NoticeMark since) { since_ = since; }
  NoticeMark Since() const { return since_; }

  void Error(int error) { fuse_reply_err(Take(), error); }
  bool ErrorTaken(int error) { return Took(fuse_reply_err(Take(), error)); }
  bool Ok() { return Took(fuse_reply_err(Take(), 0)); }
  void None() { fuse_reply_none(Take()); }
  bool Entry(const fuse_entry_param& entry) { return Took(fuse_reply_entry(Take(), &entry)); }
  bool Create(const fuse_entry_param& entry, const fuse_file_info& info) {
    return Took(fuse_reply_create(Take(), &entry, &info));
  }
  bool Attributes(const struct stat& attributes, double timeout) {
    return Took(fuse_reply_attr(Take(), &attributes, timeout));
  }
  bool Readlink(const char* target) { return Took(fuse_reply_readlink(Take(), target)); }
  bool Open(const fuse_file_info& info) { return Took(fuse_reply_open(Take(), &info)); }
  bool Written(std::size_t count) { return Took(fuse_reply_write(Take(), count)); }
  bool Position(off_t offset) { return Took(fuse_reply_lseek(Take(), offset)); }
  bool Data(std::span<const std::byte> data) {
    return Took(fuse_reply_buf(Take(), reinterpret_cast<const char*>(data.data()), data.size()));
  }
  bool Statfs(const struct statvfs& statfs) { return Took(fuse_reply_statfs(Take(), &statfs)); }
  bool XattrSize(std::size_t size) { return Took(fuse_reply_xattr(Take(), size)); }
  bool Lock(const struct flock& lock) { return Took(fuse_reply_lock(Take(), &lock)); }
  bool Ioctl(int result) { return Took(fuse_reply_ioctl(Take(), result, nullptr, 0)); }

 private:
  fuse_req_t Take() { return std::exchange(request_, nullptr); }
  static bool Took(int result) { return result == 0; }
  void DropUnanswered();

  fuse_req_t request_ = nullptr;
  NoticeMark since_{};
};

}  // namespace baton
