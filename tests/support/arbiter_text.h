// Effects of the arbiter in words, one line each, for scenarios and for the traces of random tests. Instances
// are named by one letter (InstanceNamed). Values; any thread.
#pragma once

#include <cctype>
#include <cerrno>
#include <string>
#include <variant>
#include <vector>

#include "server/arbiter/types.h"

namespace baton::test {

inline Guid InstanceNamed(char letter) {
  Guid guid{};
  guid.data[15] = static_cast<std::uint8_t>(letter);
  return guid;
}

inline std::string Name(const Guid& guid) {
  return std::string(1, static_cast<char>(guid.data[15]));
}
inline std::string Name(const std::optional<Guid>& guid) {
  return guid ? Name(*guid) : "-";
}
template <class Id>
std::string Numbered(char letter, Id id) {
  return letter + std::to_string(Raw(id));
}

inline std::string ErrorName(int error) {
  switch (error) {
    case 0:
      return "ok";
    case EINTR:
      return "EINTR";
    case EAGAIN:
      return "EAGAIN";
    case EACCES:
      return "EACCES";
    case EBUSY:
      return "EBUSY";
    case ESTALE:
      return "ESTALE";
    case EIO:
      return "EIO";
    case ENOENT:
      return "ENOENT";
    case ENFILE:
      return "ENFILE";
    case ENOLCK:
      return "ENOLCK";
    case ENOMEM:
      return "ENOMEM";
    case ENOSPC:
      return "ENOSPC";
    case EDEADLK:
      return "EDEADLK";
    default:
      return "errno " + std::to_string(error);
  }
}

inline std::string RangeText(const ByteRange& range) {
  return std::to_string(range.start) + "-" + (range.last == kRangeEnd ? "" : std::to_string(range.last));
}

namespace text_detail {

template <class Ids>
std::string List(char letter, const Ids& ids) {
  std::string text;
  for (const auto id : ids) text += " " + Numbered(letter, id);
  return text;
}

inline std::string Version(const std::optional<InstanceVersion>& version) {
  return version ? " version=" + ToString(*version) : "";
}

struct ToText {
  std::string operator()(const OpenGranted& e) const {
    return Numbered('r', e.request) + " opened " + Numbered('h', e.handle) + " gate " +
           Numbered('g', e.gate) + Epochs(e.epoch);
  }
  std::string operator()(const ChangeGranted& e) const {
    return Numbered('r', e.request) + " may change, gate " + Numbered('g', e.gate) + Epochs(e.epoch);
  }
  std::string operator()(const CheckFirst& e) const {
    return Numbered('r', e.request) + " must be checked first";
  }
  std::string operator()(const LockGranted& e) const { return Numbered('r', e.request) + " locked"; }
  std::string operator()(const FenceDone& e) const { return Numbered('r', e.request) + " fenced"; }
  std::string operator()(const Refused& e) const {
    std::string text = Numbered('r', e.request) + " " + ErrorName(e.error);
    if (e.holder) {
      text += ", held by " + Name(e.holder->guid) +
              (e.holder->node.empty() ? ", reserved" : " on " + e.holder->node);
      if (e.holder->pid != 0) text += " pid " + std::to_string(e.holder->pid);
    }
    return text;
  }
  std::string operator()(const Commit& e) const {
    return "commit " + Name(e.record.guid) + Epochs(e.record.epoch) + " node=" + e.record.node +
           " owner=" + std::to_string(e.record.owner) + Version(e.record.version);
  }
  std::string operator()(const CommitUse& e) const {
    const std::string of = "commit-use " + Numbered('s', e.use.session);
    return e.use.guid.is_nil() ? of + " locks" : of + " " + Name(e.use.guid) + Epochs(e.use.epoch);
  }
  std::string operator()(const CommitEnd& e) const { return "commit-end " + Numbered('s', e.session); }
  std::string operator()(const KeepFence& e) const {
    return "keep-fence " + e.fence.node + " " + Name(e.fence.guid) + Epochs(e.fence.epoch);
  }
  std::string operator()(const CloseGates& e) const {
    return "close-gates " + Numbered('d', e.drain) + ":" + List('g', e.gates) + List('h', e.handles) + " " +
           ErrorName(e.error);
  }
  std::string operator()(const RefuseCachedWrites& e) const {
    return "refuse-cached-writes" + List('h', e.handles);
  }
  std::string operator()(const HandlesDropped& e) const {
    std::string text;
    for (const HandleId id : e.handles)
      text += (text.empty() ? "dropped " : "\ndropped ") + Numbered('h', id);
    return text;
  }
  std::string operator()(const GateDropped& e) const { return "dropped " + Numbered('g', e.gate); }
  std::string operator()(const NotifyFenced& e) const {
    return "tell " + Numbered('s', e.session) + " fenced " + Name(e.guid) + Epochs(e.epoch) +
           Version(e.version) + (e.to_node.empty() ? "" : " to " + e.to_node);
  }
  std::string operator()(const NotifyRevoked& e) const {
    return "tell " + Numbered('s', e.session) + " revoked" + List('h', e.handles);
  }
  std::string operator()(const SessionEnded& e) const {
    return "ended " + Numbered('s', e.session) + ": " + e.reason;
  }
  std::string operator()(const Emit& e) const {
    const EventRecord& r = e.event;
    std::string text = std::string("event ") + EventKindName(r.kind);
    if (r.guid) text += " " + Name(r.guid);
    if (r.old_epoch != Epoch{} || r.new_epoch != Epoch{}) {
      text += " epochs " + std::to_string(Raw(r.old_epoch)) + ">" + std::to_string(Raw(r.new_epoch));
    }
    if (!r.from_node.empty() || !r.to_node.empty()) text += " nodes " + r.from_node + ">" + r.to_node;
    if (r.handles != 0 || r.locks != 0) {
      text += " handles=" + std::to_string(r.handles) + " locks=" + std::to_string(r.locks);
    }
    if (!r.file.empty()) text += " file=" + r.file;
    if (!r.detail.empty()) text += " (" + r.detail + ")";
    return text;
  }

  static std::string Epochs(Epoch epoch) {
    return epoch == Epoch{} ? "" : " epoch=" + std::to_string(Raw(epoch));
  }
};

}  // namespace text_detail

inline std::string Text(const Effect& effect) {
  return std::visit(text_detail::ToText{}, effect);
}

}  // namespace baton::test
