// ReplyFile: what each slot of each session did last, kept where a SIGKILL of batond does not reach it (rules
// D2, T10): a file of fixed records, mapped shared. Whoever has a record writes it with plain stores, the
// word that makes them count last; no system call, and nothing that two sessions share.
//
// Not the state store: nothing here is ever synced, and what another boot of the machine wrote counts for
// nothing. No protocol: replies and notes are bytes.
//
// Never SIGBUS: every page is allocated before it is touched. Bounded: a record for each slot that was ever
// used of each session that lives. A ReplyFile: any thread. A ReplyRecord: one thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/unique_fd.h"

namespace baton {

// One slot's, in the file. A process that is killed between any two stores leaves a record that reads as
// before or as after the call.
class ReplyRecord {
 public:
  static constexpr std::size_t kMostNotes = 1000;
  static constexpr std::size_t kMostReply = 1008;

  struct Reply {
    std::int32_t error = 0;
    std::uint64_t epoch = 0;
    std::span<const std::byte> body;
  };

  SessionId Session() const { return SessionId{session_.load(std::memory_order_acquire)}; }
  std::uint32_t Slot() const { return slot_; }
  std::uint32_t Sequence() const {
    return static_cast<std::uint32_t>(mark_.load(std::memory_order_acquire) >> 32);
  }
  std::uint16_t Operation() const {
    return static_cast<std::uint16_t>(mark_.load(std::memory_order_acquire) >> 16);
  }
  bool HasReply() const { return (mark_.load(std::memory_order_acquire) & kDone) != 0; }
  // Only if HasReply().
  Reply LastReply() const { return {error_, epoch_, std::span(body_).first(body_size_)}; }
  std::span<const std::byte> Notes() const {
    return std::span(notes_).first(notes_size_.load(std::memory_order_acquire));
  }

  // The slot's next request, or the same once more: what was here is over.
  void Begin(std::uint32_t sequence, std::uint16_t operation);
  // Adds to what a restart must know of the request. Requires that it fits.
  void Note(std::span<const std::byte> bytes);
  // Requires that the body fits.
  void Finish(const Reply& reply);

 private:
  friend class ReplyFile;
  static constexpr std::uint64_t kDone = 1;

  bool IsSane() const;

  std::atomic<std::uint64_t> session_;  // 0: free
  std::atomic<std::uint64_t> mark_;     // sequence, operation, whether there is a reply
  std::uint64_t epoch_;
  std::uint32_t slot_;
  std::int32_t error_;
  std::atomic<std::uint32_t> notes_size_;
  std::uint32_t body_size_;
  std::array<std::byte, kMostNotes> notes_;
  std::array<std::byte, kMostReply> body_;
};
static_assert(sizeof(ReplyRecord) == 2048 && std::atomic<std::uint64_t>::is_always_lock_free);

class ReplyFile {
 public:
  static constexpr std::size_t kRecordsInPiece = 128;  // it grows by 256 KiB

  // The file `replies` of the state directory. A file that is of no use (of another boot, damaged, foreign)
  // is begun anew, with one line in the log. The error is a sentence for the person who started the server.
  static tl::expected<std::unique_ptr<ReplyFile>, std::string> Open(const std::filesystem::path& directory,
                                                                    const std::string& boot);
  ~ReplyFile();
  ReplyFile(const ReplyFile&) = delete;
  ReplyFile& operator=(const ReplyFile&) = delete;

  // What was in it when it was opened: of this session, and of all. To be asked before anything is taken.
  std::vector<ReplyRecord*> RecordsOf(SessionId session) const;
  std::vector<ReplyRecord*> Records() const;
  // Gives back what others have: sessions that are gone.
  void KeepOnly(std::span<const SessionId> sessions);

  // A record for a slot that has none; null: there is no room on the disk.
  ReplyRecord* Take(SessionId session, std::uint32_t slot);
  void GiveBack(std::span<ReplyRecord* const> records);

 private:
  struct Header;

  ReplyFile(std::filesystem::path path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  int Load(const std::string& boot, std::string& why_not);
  int Empty(const std::string& boot);
  int MapHeader();
  int MapPiece(std::size_t index);
  bool Read();
  int Grow();

  const std::filesystem::path path_;
  const UniqueFd fd_;
  Header* header_ = nullptr;
  std::unordered_map<std::uint64_t, std::vector<ReplyRecord*>> found_;

  std::mutex mutex_;                  // guards what follows
  std::vector<ReplyRecord*> pieces_;  // the first record of each
  std::vector<ReplyRecord*> free_;    // the last one is taken next
  bool told_of_no_room_ = false;
};

}  // namespace baton
