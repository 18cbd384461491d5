#include "fuse/ops/registration.h"

#include "fuse/ops/xattr_reply.h"

namespace baton::ops {
namespace {

std::string_view SourceName(IdentitySource source) {
  switch (source) {
    case IdentitySource::kRegistration:
      return "registration";
    case IdentitySource::kEnvironment:
      return "environment";
    case IdentitySource::kProgram:
      return "program";
  }
  return "unknown";
}

void Answer(KernelReply& reply, const Result<>& done, AnsweredAs as) {
  if (!done) {
    reply.Error(done.error().value);
  } else if (as == AnsweredAs::kIoctl) {
    reply.Ioctl(0);
  } else {
    reply.Ok();
  }
}

}  // namespace

std::optional<std::string> IdentityText(const Resolution& resolution) {
  using Kind = Resolution::Kind;
  if (resolution.kind != Kind::kInstance && resolution.kind != Kind::kFenced) return std::nullopt;
  const Membership& member = resolution.member;
  const std::string epoch = member.epoch == kNewEpoch ? "new" : std::to_string(Raw(member.epoch));
  return fmt::format("{} {} {}{} {}", ToString(member.guid), member.version ? ToString(*member.version) : "-",
                     epoch, resolution.kind == Kind::kFenced ? "(fenced)" : "", SourceName(member.source));
}

void RegisterCaller(Mount& mount, KernelReply reply, const Registration& registration, AnsweredAs as) {
  mount.identity_pool.Post([&mount, reply = std::move(reply), registration, as]() mutable {
    const fuse_ctx& context = reply.Context();
    const Result<> done = mount.identity.Register(context.uid, context.pid, registration);
    Answer(reply, done, as);
  });
}

void UnregisterCaller(Mount& mount, KernelReply reply, pid_t pid, AnsweredAs as) {
  mount.identity_pool.Post([&mount, reply = std::move(reply), pid, as]() mutable {
    const fuse_ctx& context = reply.Context();
    const Result<> done = mount.identity.Unregister(context.uid, context.pid, pid);
    Answer(reply, done, as);
  });
}

void TellIdentity(Mount& mount, KernelReply reply, std::size_t room) {
  mount.identity_pool.Post([&mount, reply = std::move(reply), room]() mutable {
    const auto text = IdentityText(mount.identity.Resolve(reply.Context().pid));
    if (text) {
      ReplyXattr(std::move(reply), *text, room);
    } else {
      reply.Error(ENODATA);
    }
  });
}

}  // namespace baton::ops
