#include "server/state/reply_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace baton {
namespace {

constexpr std::array<char, 8> kMagic = {'B', 'A', 'T', 'O', 'N', 'R', 'P', 'L'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderSize = 4096;
constexpr std::size_t kPieceSize = ReplyFile::kRecordsInPiece * sizeof(ReplyRecord);

off_t OffsetOf(std::size_t piece) {
  return static_cast<off_t>(kHeaderSize + piece * kPieceSize);
}

// A file system that writes every block to a new place would want room for it again when a page is touched.
void WriteInPlace(int fd) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  (void)::ioctl(fd, FS_IOC_SETFLAGS, &flags);  // others refuse it
}

}  // namespace

struct ReplyFile::Header {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t record_size;
  std::array<char, 64> boot;
  std::atomic<std::uint32_t> pieces;
};

void ReplyRecord::Begin(std::uint32_t sequence, std::uint16_t operation) {
  // In this order: notes must not seem to be the new request's.
  notes_size_.store(0, std::memory_order_release);
  mark_.store(std::uint64_t{sequence} << 32 | std::uint64_t{operation} << 16, std::memory_order_release);
}

void ReplyRecord::Note(std::span<const std::byte> bytes) {
  const std::uint32_t size = notes_size_.load(std::memory_order_relaxed);
  BATON_CHECK(bytes.size() <= kMostNotes - size);
  if (!bytes.empty()) std::memcpy(notes_.data() + size, bytes.data(), bytes.size());
  notes_size_.store(size + static_cast<std::uint32_t>(bytes.size()), std::memory_order_release);
}

void ReplyRecord::Finish(const Reply& reply) {
  BATON_CHECK(reply.body.size() <= kMostReply);
  error_ = reply.error;
  epoch_ = reply.epoch;
  body_size_ = static_cast<std::uint32_t>(reply.body.size());
  if (!reply.body.empty()) std::memcpy(body_.data(), reply.body.data(), reply.body.size());
  mark_.store(mark_.load(std::memory_order_relaxed) | kDone, std::memory_order_release);
}

bool ReplyRecord::IsSane() const {
  const std::uint64_t unused_bits = mark_.load() & 0xfffe;
  return unused_bits == 0 && notes_size_.load() <= kMostNotes && (!HasReply() || body_size_ <= kMostReply);
}

tl::expected<std::unique_ptr<ReplyFile>, std::string> ReplyFile::Open(const std::filesystem::path& directory,
                                                                      const std::string& boot) {
  const std::filesystem::path path = directory / "replies";
  const auto refuse = [&](int error) {
    return tl::unexpected("cannot keep replies in " + path.string() + ": " + std::strerror(error) +
                          "; without them a restart could carry out a request twice");
  };
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return refuse(errno);
  std::unique_ptr<ReplyFile> file(new ReplyFile(path, std::move(fd)));
  std::string why_not;
  if (const int error = file->Load(boot, why_not); error != 0) return refuse(error);
  if (why_not.empty()) return file;
  file.reset();
  log::Warn("{} {}: it is begun anew, and requests that an earlier batond had in hand are carried out again",
            path.string(), why_not);
  fd = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return refuse(errno);
  file.reset(new ReplyFile(path, std::move(fd)));
  if (const int error = file->Empty(boot); error != 0) return refuse(error);
  return file;
}

ReplyFile::~ReplyFile() {
  for (ReplyRecord* piece : pieces_) ::munmap(piece, kPieceSize);
  if (header_ != nullptr) ::munmap(header_, kHeaderSize);
}

// An errno, or why what is there cannot be used.
int ReplyFile::Load(const std::string& boot, std::string& why_not) {
  struct stat status {};
  if (::fstat(fd_.Get(), &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return EINVAL;
  if (status.st_size == 0) return Empty(boot);
  if (status.st_size < static_cast<off_t>(kHeaderSize)) {
    why_not = "is too short";
    return 0;
  }
  if (const int error = MapHeader(); error != 0) return error;
  if (header_->magic != kMagic) {
    why_not = "was not written by batond";
  } else if (header_->version != kVersion || header_->record_size != sizeof(ReplyRecord)) {
    why_not = "was written by another version of batond";
  } else if (const auto& of = header_->boot;
             boot.empty() || std::string_view(of.data(), ::strnlen(of.data(), of.size())) !=
                                 std::string_view(boot).substr(0, of.size() - 1)) {
    why_not = "is of an earlier boot of this machine";
  } else if (status.st_size < OffsetOf(header_->pieces.load())) {
    why_not = "is too short";
  } else if (!Read()) {
    why_not = "is damaged";
  }
  return 0;
}

// The magic comes last: without it nothing counts.
int ReplyFile::Empty(const std::string& boot) {
  if (::ftruncate(fd_.Get(), 0) != 0) return errno;
  WriteInPlace(fd_.Get());
  if (const int error = ::posix_fallocate(fd_.Get(), 0, kHeaderSize); error != 0) return error;
  if (const int error = MapHeader(); error != 0) return error;
  header_->version = kVersion;
  header_->record_size = sizeof(ReplyRecord);
  boot.copy(header_->boot.data(), header_->boot.size() - 1);
  std::atomic_thread_fence(std::memory_order_release);
  header_->magic = kMagic;
  return 0;
}

int ReplyFile::MapHeader() {
  void* at = ::mmap(nullptr, kHeaderSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.Get(), 0);
  if (at == MAP_FAILED) return errno;
  header_ = static_cast<Header*>(at);
  return 0;
}

int ReplyFile::MapPiece(std::size_t index) {
  void* at = ::mmap(nullptr, kPieceSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.Get(), OffsetOf(index));
  if (at == MAP_FAILED) return errno;
  pieces_.push_back(static_cast<ReplyRecord*>(at));
  return 0;
}

// False: there is something in it that no batond wrote.
bool ReplyFile::Read() {
  for (std::size_t index = 0; index < header_->pieces.load(); ++index) {
    // A hole would be allocated when it is touched.
    if (::posix_fallocate(fd_.Get(), OffsetOf(index), kPieceSize) != 0 || MapPiece(index) != 0) return false;
    for (ReplyRecord& record : std::span(pieces_.back(), kRecordsInPiece)) {
      if (record.Session() == SessionId{}) {
        free_.push_back(&record);
        continue;
      }
      auto& same = found_[Raw(record.Session())];
      const bool is_twice =
          std::ranges::any_of(same, [&](auto* other) { return other->Slot() == record.Slot(); });
      if (!record.IsSane() || is_twice) return false;
      same.push_back(&record);
    }
  }
  return true;
}

// By one piece. All of it is there before the header says so.
int ReplyFile::Grow() {
  const std::size_t index = pieces_.size();
  if (const int error = ::posix_fallocate(fd_.Get(), OffsetOf(index), kPieceSize); error != 0) {
    (void)::ftruncate(fd_.Get(), OffsetOf(index));
    return error;
  }
  if (const int error = MapPiece(index); error != 0) return error;
  header_->pieces.store(static_cast<std::uint32_t>(index + 1), std::memory_order_release);
  for (std::size_t i = kRecordsInPiece; i > 0; --i) free_.push_back(pieces_.back() + (i - 1));
  return 0;
}

std::vector<ReplyRecord*> ReplyFile::RecordsOf(SessionId session) const {
  const auto at = found_.find(Raw(session));
  return at == found_.end() ? std::vector<ReplyRecord*>() : at->second;
}

std::vector<ReplyRecord*> ReplyFile::Records() const {
  std::vector<ReplyRecord*> all;
  for (const auto& [session, records] : found_) all.insert(all.end(), records.begin(), records.end());
  return all;
}

void ReplyFile::KeepOnly(std::span<const SessionId> sessions) {
  auto others = std::exchange(found_, {});
  for (SessionId session : sessions) {
    if (auto records = others.extract(Raw(session))) found_.insert(std::move(records));
  }
  for (const auto& [session, records] : others) GiveBack(records);
}

ReplyRecord* ReplyFile::Take(SessionId session, std::uint32_t slot) {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    const int error = Grow();
    if (error != 0) {
      if (!std::exchange(told_of_no_room_, true)) {
        log::Error("{} cannot grow: {}; changes that want a new slot are refused", path_.string(),
                   std::strerror(error));
      }
      return nullptr;
    }
    told_of_no_room_ = false;
  }
  ReplyRecord* record = free_.back();
  free_.pop_back();
  record->slot_ = slot;
  record->Begin(0, 0);
  record->session_.store(Raw(session), std::memory_order_release);
  return record;
}

void ReplyFile::GiveBack(std::span<ReplyRecord* const> records) {
  const std::lock_guard lock(mutex_);
  for (ReplyRecord* record : records) {
    record->session_.store(0, std::memory_order_release);
    free_.push_back(record);
  }
}

}  // namespace baton
