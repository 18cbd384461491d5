// The common way of the operations that change names or attributes: identity in full, a fate to be known if
// the program is killed meanwhile, the epoch that the answer counted it to.
#pragma once

#include <memory>
#include <utility>

#include "fuse/ops/mount.h"

namespace baton::ops {

// Sends `request` with the caller filled in; `then(KernelReply, Answer&&)`. `inode`: what new opens must wait
// for if the request is given up, the directory of a name or the file of an attribute (rule S5).
template <Operation kOp, class Then>
void Change(Mount& mount, KernelReply reply, std::shared_ptr<Inode> inode,
            typename protocol::MessagesOf<kOp>::Request request, Then then) {
  mount.WithCaller(std::move(reply), Purpose::kChange,
                   [&mount, inode = std::move(inode), request = std::move(request), then = std::move(then)](
                       KernelReply to, Who caller) mutable {
                     request.caller = caller;
                     client::CallOptions<kOp> call;
                     call.generation = caller.generation;
                     call.late = [&mount, inode, ticket = caller.ticket](client::Answer<kOp>&&) {
                       mount.fates.Known(inode->FateKey());
                     };
                     mount.Call<kOp>(
                         std::move(to), WaitKind::kPlain, request,
                         [&mount, inode, caller = std::move(caller), then = std::move(then)](
                             KernelReply last, client::Answer<kOp>&& answer) mutable {
                           mount.NoteFate(answer, inode->FateKey());
                           mount.PinCaller(caller, answer.epoch);
                           then(std::move(last), std::move(answer));
                         },
                         std::move(call));
                   });
}

// ... with an answer that is only an errno.
template <Operation kOp>
void ChangeAndAcknowledge(Mount& mount, KernelReply reply, std::shared_ptr<Inode> inode,
                          typename protocol::MessagesOf<kOp>::Request request) {
  Change<kOp>(mount, std::move(reply), std::move(inode), std::move(request),
              [](KernelReply to, client::Answer<kOp>&& answer) {
                to.Error(answer.reply ? 0 : answer.reply.error().value);
              });
}

// ... with an answer that is a directory that has lost its name, if any: programs may work in it still.
template <Operation kOp>
void ChangeAndNoteRemoved(Mount& mount, KernelReply reply, std::shared_ptr<Inode> inode,
                          typename protocol::MessagesOf<kOp>::Request request) {
  Change<kOp>(mount, std::move(reply), std::move(inode), std::move(request),
              [&mount](KernelReply to, client::Answer<kOp>&& answer) {
                if (!answer.reply) return to.Error(answer.reply.error().value);
                const auto removed = mount.inodes.Find(answer.reply->file);
                if (removed) removed->SetRemoved(answer.reply->attr);
                to.Ok();
              });
}

// ... with an answer that is a new name.
template <Operation kOp>
void ChangeAndReplyEntry(Mount& mount, KernelReply reply, std::shared_ptr<Inode> directory, std::string name,
                         typename protocol::MessagesOf<kOp>::Request request) {
  Change<kOp>(mount, std::move(reply), directory, std::move(request),
              [&mount, directory, name = std::move(name)](KernelReply to, client::Answer<kOp>&& answer) {
                mount.ReplyEntry(std::move(to), answer.reply, directory, name);
              });
}

}  // namespace baton::ops
