#include "fuse/ops/handles.h"

#include <fcntl.h>

namespace baton::ops {

void CloseHandle(Mount& mount, HandleId handle, client::Generation generation) {
  client::CallOptions<Operation::kClose> call;
  call.generation = generation;
  mount.session.Call<Operation::kClose>(
      {handle}, [](client::Answer<Operation::kClose>&&) {}, std::move(call));
}

void LimitFateWait(Mount& mount, client::CallToken token) {
  const Duration limit = mount.options.op_timeout;
  if (limit == Duration::zero()) return;
  mount.housekeeping.After(limit, [&mount, token] { mount.fates.Withdraw(token, ETIMEDOUT); });
}

void FillOpenFlags(const baton::Open& open, fuse_file_info& info) {
  info.direct_io = open.Uncached();
  info.keep_cache = open.inode->Pages() == open.pages;
}

void LogRefusal(Mount& mount, const FileRef& file, std::string_view what, std::uint64_t key,
                const protocol::Caller& caller) {
  if (!mount.refusals.First(key, caller.pid)) return;
  std::string line = fmt::format("{} by pid {} ({}){} refused: EBUSY", what, caller.pid, caller.program,
                                 caller.member ? " of instance " + ToString(caller.member->guid) : "");
  if (file.Empty()) {
    log::Warn("{}", line);
    return;
  }
  protocol::Caller reader{.uid = caller.uid, .gid = caller.gid, .groups = caller.groups, .pid = caller.pid};
  mount.session.Call<Operation::kGetxattr>(
      {file, "user.baton.holders", std::move(reader)},
      [line = std::move(line)](client::Answer<Operation::kGetxattr>&& answer) {
        if (answer.reply && !answer.reply->value.empty()) {
          log::Warn("{}; held by (node, instance, pid, mode): {}", line, answer.reply->value);
        } else {
          log::Warn("{}", line);
        }
      });
}

}  // namespace baton::ops
