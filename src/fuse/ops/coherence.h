// Coherence: keeps what the kernel believes of attributes, names and pages as true as rules C1 and C2 ask.
// batond tells of each change of what it has given to this session; the kernel is made to forget that at
// once. It decides no timeouts of its own: those are the mount's options, or nothing where a change has
// crossed the answer on its way.
//
// Attributes are forgotten on the transport's thread, which also gives all answers to the kernel: whoever
// gets an open or a lock has everything that was told before (rule C1). What may block there (pages, which
// may have to be written first; names, for which the kernel takes the directory's lock) is posted.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "fuse/kernel/inode_table.h"
#include "fuse/kernel/kernel_reply.h"
#include "protocol/messages.h"

namespace baton {

class Mount;

class Coherence {
 public:
  Coherence(Mount& mount, double attr_timeout, double entry_timeout);

  // Before the kernel uses the mount. A kernel that cannot forget all names at once is given none to keep.
  void CheckKernel();

  // --- The transport's thread, save Now
  // -----------------------------------------------------------------------------------

  // Any thread; before a request is sent.
  NoticeMark Now() const { return NoticeMark{told_.load(std::memory_order_acquire)}; }

  // How long the kernel may believe what batond answered to a request that began at `since`; seconds.
  double AttrTimeout(NoticeMark since, const Attr& attr, bool watched) const;
  double EntryTimeout(NoticeMark since, std::uint64_t directory) const;

  void Told(const protocol::FileChange& change);
  // An open or a lock is about to be granted.
  void BeforeGrant(const std::shared_ptr<Inode>& inode);

  // --- The root's attributes: the transport's thread, save RootAttributes
  // ----------------------------------------------------------------------------------------

  // The kernel may not keep them: it asks for them at the begin of every path, and so a program is seen before it destroys its
  // environment (rule I2 b). The mount keeps them instead.
  std::optional<Attr> RootAttributes() const;
  void KeepRootAttributes(NoticeMark since, const protocol::AttrReply& reply);
  // This mount itself changed names or attributes, of whatever file: nobody tells it.
  void ForgetRootAttributes();

  // --- Any thread
  // ---------------------------------------------------------------------------------------------------

  // Notices may be missing: the connection was broken, or the session lost.
  void TrustNothing();
  // Each second: without batond for longer than `lease` nothing is believed.
  void CheckLink(bool live, Instant since, Instant now);
  void SetLease(Duration lease) { lease_ = lease; }

 private:
  static constexpr std::size_t kRemembered =
      1024;  // notices; what was asked for before them all counts as told of

  struct RootAttr {
    Attr attr;
    Instant until{};
  };

  bool IsRoot(std::uint64_t ino) const;
  bool ToldSince(NoticeMark since, std::uint64_t ino) const;
  void Note(std::uint64_t ino);
  void ForgetAttributes(const std::shared_ptr<Inode>& inode);
  void TryAgain(const std::shared_ptr<Inode>& inode, int tries_left);
  void ForgetName(const std::shared_ptr<Inode>& directory, std::string name);
  void ForgetNamesOf(const std::shared_ptr<Inode>& directory);

  Mount& mount_;
  const double attr_timeout_;
  double entry_timeout_;
  std::atomic<Duration> lease_{};
  std::atomic<bool> trusted_{true};  // since the link was last there

  std::mutex told_mutex_;  // for who moves told_
  std::atomic<std::uint64_t> told_{0};
  std::atomic<std::uint64_t> distrusted_{0};  // marks up to here are worth nothing
  std::array<std::uint64_t, kRemembered>
      recent_{};  // inodes, by number of the notice; the transport's thread

  mutable std::mutex root_mutex_;
  std::optional<RootAttr> root_;

  // One thread at a time for each directory: the kernel may make it wait.
  std::mutex names_mutex_;
  std::unordered_map<Inode*, std::vector<std::string>> names_to_forget_;
};

}  // namespace baton
