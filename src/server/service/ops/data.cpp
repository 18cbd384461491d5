// READ, WRITE, ALLOCATE, SEEK, COPY_RANGE, FSYNC, FLUSH, CLOSE: through a handle, past its gates; the arbiter is not asked (rules T4, T6, O7, C3).
#include <algorithm>
#include <mutex>
#include <vector>

#include "base/planted.h"
#include "server/service/intent.h"
#include "server/service/ops/operations.h"
#include "server/service/service.h"

namespace baton::server::ops {
namespace {

// False: the handle is closed to its owner, and the call is answered so.
bool StillOpen(Service& service, Call& call, OpenFile& file) {
  const int error = file.membership->Closed();
  if (error == 0) return true;
  service.coordinator().ReportLate(file);
  call.Fail(error);
  return false;
}

// Each piece of a copy passes the gate for itself, so that a fence waits for one at most (rule T4).
constexpr std::uint64_t kCopyPiece = std::uint64_t{4} << 20;
// Then it is answered short, as copy_file_range(2) may be: the caller can be interrupted between two requests.
constexpr Duration kLongestCopy = std::chrono::seconds(1);

Result<std::size_t> CopyPiece(Service& service, OpenFile& from, OpenFile& to, const protocol::CopyRangeRequest& wish,
                              std::uint64_t done, std::size_t size) {
  if (const int error = from.Closed(); error != 0) {
    service.coordinator().ReportLate(from);
    return Fail(error);
  }
  const HandleEntry entry(to);
  if (entry.error() != 0) {
    service.coordinator().ReportLate(to);
    return Fail(entry.error());
  }
  auto copied = to.file->CopyFrom(*from.file, wish.from_offset + done, wish.to_offset + done, size);
  if (copied && *copied > 0) service.NoteData(to);
  return copied;
}

// With the file's other appends kept away, so that what is found at the noted offset after a restart is this one's.
Result<store::AppendedAt> Append(Call& call, OpenFile& file, std::span<const std::byte> data) {
  const std::lock_guard lock(file.shared->appends);
  const auto attr = file.file->GetAttr();
  if (!attr) return tl::unexpected(attr.error());
  if (!data.empty()) call.Note(IntentToAppend(file.file->Ref(), attr->size, data));
  return file.file->WriteAppend(data);
}

}  // namespace

void Read(Service& service, Call call, const protocol::ReadRequest& wish, std::span<const std::byte>) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file || !StillOpen(service, call, *file)) return;
  if (wish.size > protocol::kMaxDataSize) return call.Fail(EINVAL);
  service.watches().Watch(call.session(), file->file->Key(), Watches::What::kData);
  thread_local std::vector<std::byte> buffer(protocol::kMaxDataSize);
  const std::span<std::byte> to(buffer.data(), wish.size);
  const auto count = file->file->Read(to, wish.offset);
  if (!count) return call.Fail(count.error().value);
  call.AnswerDone({}, to.first(*count));
}

void Write(Service& service, Call call, const protocol::WriteRequest& wish, std::span<const std::byte> data) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file) return;
  const HandleEntry entry(*file);
  int error = entry.error();
  if (error == 0 && wish.cached && file->refuses_cached_writes.load(std::memory_order_acquire)) error = ESTALE;
  if (error != 0) {
    service.coordinator().ReportLate(*file);
    return call.Fail(error);
  }
  protocol::WriteReply reply;
  if (wish.append) {
    const auto appended = Append(call, *file, data);
    if (!appended) return call.Fail(appended.error().value);
    reply = {static_cast<std::uint32_t>(appended->count), appended->offset};
  } else {
    const auto written = file->file->Write(data, wish.offset);
    if (!written) return call.Fail(written.error().value);
    reply = {static_cast<std::uint32_t>(*written), wish.offset};
  }
  service.NoteData(*file);
  call.Answer(reply);
}

void Allocate(Service& service, Call call, const protocol::AllocateRequest& wish, std::span<const std::byte>) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file) return;
  const HandleEntry entry(*file);
  if (entry.error() != 0) {
    service.coordinator().ReportLate(*file);
    return call.Fail(entry.error());
  }
  const auto allocated = file->file->Allocate(wish.mode, wish.offset, wish.length);
  if (!allocated) return call.Fail(allocated.error().value);
  service.NoteData(*file);
  call.AnswerDone();
}

void Seek(Service& service, Call call, const protocol::SeekRequest& wish, std::span<const std::byte>) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file || !StillOpen(service, call, *file)) return;
  const auto found = file->file->Seek(wish.offset, wish.hole ? store::SeekFor::kHole : store::SeekFor::kData);
  if (!found) return call.Fail(found.error().value);
  call.Answer(protocol::SeekReply{*found});
}

void CopyRange(Service& service, Call call, const protocol::CopyRangeRequest& wish, std::span<const std::byte>) {
  const auto from = service.FileOf(call, wish.from);
  if (!from) return;
  const auto to = service.FileOf(call, wish.to);
  if (!to) return;
  // In pieces it would copy what it has just written.
  const std::uint64_t apart = std::max(wish.from_offset, wish.to_offset) - std::min(wish.from_offset, wish.to_offset);
  if (from->file->Key() == to->file->Key() && apart < wish.length) return call.Fail(EINVAL);
  const Instant until = service.clock().Now() + kLongestCopy;
  std::uint64_t done = 0;
  while (done < wish.length) {
    const auto size = static_cast<std::size_t>(std::min(wish.length - done, kCopyPiece));
    const auto copied = CopyPiece(service, *from, *to, wish, done, size);
    // What is done is told; the rest meets the error again.
    if (!copied && done == 0) return call.Fail(copied.error().value);
    if (!copied || *copied == 0) break;
    done += *copied;
    if (service.clock().Now() >= until) break;
  }
  call.Answer(protocol::CopyRangeReply{done});
}

void Fsync(Service& service, Call call, const protocol::FsyncRequest& wish, std::span<const std::byte>) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file || !StillOpen(service, call, *file)) return;
  const auto synced = Planted("fsync forgotten") ? Result<void>() : file->file->Sync(wish.data_only);
  if (!synced) return call.Fail(synced.error().value);
  if (!StillOpen(service, call, *file)) return;  // fenced meanwhile: do not promise
  call.AnswerDone();
}

void Flush(Service& service, Call call, const protocol::FlushRequest& wish, std::span<const std::byte>) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file || !StillOpen(service, call, *file)) return;
  if (file->guid || file->shared->locks.load(std::memory_order_acquire)) {
    service.coordinator().Tell(FlushHandle{wish.handle, wish.lock_owner});
  }
  call.AnswerDone();
}

void Close(Service& service, Call call, const protocol::CloseRequest& wish, std::span<const std::byte>) {
  call.session()->ForgetRevoked(wish.handle);
  const auto file = service.FileOf(call, wish.handle);
  if (!file) return;
  service.coordinator().Tell(CloseHandle{wish.handle});
  call.AnswerDone();
}

}  // namespace baton::server::ops
