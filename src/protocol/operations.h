// The one table of the protocol: a row per operation. Everything that must know all operations is made from it: dispatch,
// the mount's stubs, printing, the fuzz targets and the list in docs/protocol.md. A number is never used again.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "protocol/messages.h"

namespace baton::protocol {

// Changes what others see, or only reads.
enum class Effect : std::uint8_t { kReads, kChanges };
// What a request that comes again after a broken connection gets: its first reply, or it runs again. kFirstReplyOfOneLife: its
// first reply, unless the server was started again since: then it runs again, which does no harm.
enum class Replay : std::uint8_t { kFirstReply, kFirstReplyOfOneLife, kRunsAgain };
// kOrdered: takes effect before any later frame of its connection is looked at (rule O5: closes before opens).
enum class Order : std::uint8_t { kAny, kOrdered };

//  number, name, request, reply, effect, replay, order
#define BATON_OPERATIONS(X)                                                                     \
  X(1, Hello, HelloRequest, HelloReply, kReads, kRunsAgain, kOrdered)                           \
  BATON_SESSION_OPERATIONS(X)

// All that belong to a session.
#define BATON_SESSION_OPERATIONS(X)                                                             \
  X(2, Ping, Nothing, Nothing, kReads, kRunsAgain, kOrdered)                                    \
  X(3, Bye, Nothing, Nothing, kChanges, kFirstReplyOfOneLife, kAny)                             \
  X(4, Cancel, CancelRequest, Nothing, kReads, kRunsAgain, kOrdered)                            \
  X(5, Settle, Nothing, Nothing, kReads, kFirstReplyOfOneLife, kAny)                            \
  X(6, FenceAcknowledged, FenceAcknowledgedRequest, Nothing, kReads, kRunsAgain, kOrdered)      \
  X(7, InstanceGone, InstanceGoneRequest, Nothing, kReads, kRunsAgain, kOrdered)                \
  X(8, Late, LateRequest, Nothing, kReads, kRunsAgain, kAny)                                    \
  X(9, Assert, AssertRequest, AssertReply, kChanges, kRunsAgain, kOrdered)                      \
  X(10, Lookup, LookupRequest, NodeReply, kReads, kRunsAgain, kAny)                             \
  X(11, Getattr, GetattrRequest, AttrReply, kReads, kRunsAgain, kAny)                           \
  X(12, Setattr, SetattrRequest, AttrReply, kChanges, kFirstReply, kAny)                        \
  X(13, Readlink, ReadlinkRequest, ReadlinkReply, kReads, kRunsAgain, kAny)                     \
  X(14, Symlink, SymlinkRequest, NodeReply, kChanges, kFirstReply, kAny)                        \
  X(15, MakeNode, MakeNodeRequest, NodeReply, kChanges, kFirstReply, kAny)                      \
  X(16, MakeDirectory, MakeDirectoryRequest, NodeReply, kChanges, kFirstReply, kAny)            \
  X(17, Unlink, RemoveRequest, Nothing, kChanges, kFirstReply, kAny)                            \
  X(18, RemoveDirectory, RemoveRequest, NodeReply, kChanges, kFirstReply, kAny)                 \
  X(19, Rename, RenameRequest, NodeReply, kChanges, kFirstReply, kAny)                            \
  X(20, Link, LinkRequest, NodeReply, kChanges, kFirstReply, kAny)                              \
  X(21, Readdir, ReaddirRequest, ReaddirReply, kReads, kRunsAgain, kAny)                        \
  X(22, Statfs, StatfsRequest, StatfsReply, kReads, kRunsAgain, kAny)                           \
  X(23, Getxattr, GetxattrRequest, XattrReply, kReads, kRunsAgain, kAny)                        \
  X(24, Listxattr, ListxattrRequest, XattrReply, kReads, kRunsAgain, kAny)                      \
  X(25, Setxattr, SetxattrRequest, Nothing, kChanges, kFirstReply, kAny)                        \
  X(26, Removexattr, RemovexattrRequest, Nothing, kChanges, kFirstReply, kAny)                  \
  X(30, Open, OpenRequest, OpenReply, kChanges, kFirstReply, kAny)                              \
  X(31, Create, CreateRequest, OpenReply, kChanges, kFirstReply, kAny)                          \
  X(32, Read, ReadRequest, Nothing, kReads, kRunsAgain, kAny)                                   \
  X(33, Write, WriteRequest, WriteReply, kChanges, kFirstReply, kAny)                           \
  X(34, Flush, FlushRequest, Nothing, kChanges, kFirstReplyOfOneLife, kOrdered)                 \
  X(35, Close, CloseRequest, Nothing, kChanges, kFirstReplyOfOneLife, kOrdered)                 \
  X(36, Fsync, FsyncRequest, Nothing, kReads, kRunsAgain, kAny)                                 \
  X(37, FsyncDirectory, FsyncDirectoryRequest, Nothing, kReads, kRunsAgain, kAny)               \
  X(38, Allocate, AllocateRequest, Nothing, kChanges, kFirstReply, kAny)                        \
  X(39, Seek, SeekRequest, SeekReply, kReads, kRunsAgain, kAny)                                 \
  X(40, Lock, LockRequest, LockReply, kChanges, kFirstReplyOfOneLife, kOrdered)                 \
  X(41, Getlk, GetlkRequest, GetlkReply, kReads, kRunsAgain, kOrdered)                          \
  X(42, CopyRange, CopyRangeRequest, CopyRangeReply, kChanges, kFirstReply, kAny)

// Sent by the server, unasked: number, name, message.
#define BATON_NOTICES(X)              \
  X(100, Fenced, FencedNotice)        \
  X(101, Revoked, RevokedNotice)      \
  X(102, Changed, ChangedNotice)

enum class Operation : std::uint16_t {
#define X(number, name, ...) k##name = number,
  BATON_OPERATIONS(X) BATON_NOTICES(X)
#undef X
};

struct OperationProperties {
  std::string_view name;
  Effect effect;
  Replay replay;
  Order order;
};

// Nothing for a number that is no request.
constexpr std::optional<OperationProperties> PropertiesOf(Operation operation) {
  switch (operation) {
#define X(number, name, request, reply, effect, replay, order) \
  case Operation::k##name:                                     \
    return OperationProperties{#name, Effect::effect, Replay::replay, Order::order};
    BATON_OPERATIONS(X)
#undef X
    default:
      return std::nullopt;
  }
}

template <Operation>
struct MessagesOf;
#define X(number, name, request, reply, ...)   \
  template <>                                  \
  struct MessagesOf<Operation::k##name> {      \
    using Request = request;                   \
    using Reply = reply;                       \
  };
BATON_OPERATIONS(X)
#undef X

}  // namespace baton::protocol
