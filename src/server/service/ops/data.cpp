// READ, WRITE, FSYNC, FLUSH, CLOSE: through a handle, past its gates; the arbiter is not asked (rules T4, T6, O7, C3).
#include <vector>

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
    const auto appended = file->file->WriteAppend(data);
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

void Fsync(Service& service, Call call, const protocol::FsyncRequest& wish, std::span<const std::byte>) {
  const auto file = service.FileOf(call, wish.handle);
  if (!file || !StillOpen(service, call, *file)) return;
  const auto synced = file->file->Sync(wish.data_only);
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
