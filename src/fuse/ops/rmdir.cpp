#include "fuse/ops/change.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(parent);
  protocol::RemoveRequest remove{directory->File(), name, {}};
  using Answer = client::Answer<Operation::kRemoveDirectory>;
  Change<Operation::kRemoveDirectory>(mount, KernelReply(request), directory, std::move(remove),
                                      [&mount](KernelReply to, Answer&& answer) {
                                        if (!answer.reply) return to.Error(answer.reply.error().value);
                                        // Programs may work in it still.
                                        const auto removed = mount.inodes.Find(answer.reply->file);
                                        if (removed) removed->SetRemoved(answer.reply->attr);
                                        to.Ok();
                                      });
}

}  // namespace baton::ops
