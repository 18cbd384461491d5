// The messages: one struct for each request and reply, with its one field list. Which operation carries which is the table
// in operations.h. Sizes in bytes, times as written. A file is named by its FileRef, an open by its HandleId, never by path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/attr.h"
#include "base/clock.h"
#include "base/fields.h"
#include "base/file_ref.h"
#include "base/guid.h"
#include "base/ids.h"
#include "protocol/caller.h"

namespace baton::protocol {

struct Nothing {
  BATON_NO_FIELDS
};

// --- Sessions -------------------------------------------------------------------------------------------------------

// The 128 bit secret by which a session is resumed (rule S1).
struct SessionSecret {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  BATON_FIELDS(high, low)
  friend bool operator==(const SessionSecret&, const SessionSecret&) = default;
};

// An incarnation that was fenced away from a node (rule T7).
struct Fence {
  Guid guid{};
  Epoch epoch{};                            // the fenced incarnation
  std::optional<InstanceVersion> version;   // its version
  std::optional<Instant> acknowledged;      // when the node acknowledged, by its own clock; none: not yet
  BATON_FIELDS(guid, epoch, version, acknowledged)
};

// The mount keeps names, and wants to be told of those that change (rule C2).
inline constexpr std::uint64_t kFeatureKeepsNames = 1;

struct HelloRequest {
  std::uint32_t magic = 0;
  std::uint16_t oldest_version = 0;  // protocol versions that the mount speaks
  std::uint16_t newest_version = 0;
  std::uint64_t features = 0;        // kFeature...
  SessionId session{};               // the session to resume, or none
  SessionSecret secret;
  std::string node;                  // the node's name
  std::string boot;                  // its boot id
  std::string machine;               // its machine id
  std::string mount_point;
  std::string run;                   // this run of this mount: random
  BATON_FIELDS(magic, oldest_version, newest_version, features, session, secret, node, boot, machine, mount_point, run)
};

// error ESTALE: the session to resume is gone, for good; begin a new one. EBUSY: the node name is in use by another machine
// (rule S3). EPROTO: no common version.
struct HelloReply {
  std::uint16_t version = 0;
  std::uint64_t features = 0;
  SessionId session{};
  SessionSecret secret;
  bool resumed = false;
  std::uint32_t slots = 0;        // requests the session may have outstanding
  Duration lease{};               // rule S2
  FileRef root;
  std::uint64_t root_ino = 0;
  std::vector<Fence> fences;      // all that was fenced away from this node in this boot
  std::vector<std::string> stale_locks;  // NamePatterns: LOOKUPs of such names carry the caller's instance (rule X1)
  bool must_assert = false;       // resumed by a server that was started again: ASSERT comes first, all of it (rule D4)
  std::uint64_t server_boot = 0;  // another one than before: what was not synced may be lost (rule D3)
  BATON_FIELDS(version, features, session, secret, resumed, slots, lease, root, root_ino, fences, stale_locks, must_assert,
               server_boot)
};

// Notice to every session of the node; repeated in HelloReply until acknowledged.
struct FencedNotice {
  Fence fence;
  std::string to_node;  // where the successor is; empty if none
  BATON_FIELDS(fence, to_node)
};

// Notice: these handles, and no others of the incarnation, are gone (--reclaim-scope file, rule T5; or claimed over, O3).
struct RevokedNotice {
  std::vector<HandleId> handles;
  BATON_FIELDS(handles)
};

// What a session was told of a file is no longer so (rule C2).
enum class ChangeKind : std::uint8_t {
  kAttributes = 1,
  kData = 2,        // and attributes
  kName = 3,        // `name` in the directory, and its attributes
  kEverything = 4,  // of every file
};

struct FileChange {
  ChangeKind kind = ChangeKind::kAttributes;
  std::uint64_t ino = 0;  // Attr::ino
  std::string name;
  BATON_FIELDS(kind, ino, name)
};

// Notice: somebody else changed what this session was told. Sent before the other gets the answer to his change.
struct ChangedNotice {
  FileChange change;
  BATON_FIELDS(change)
};

enum class LockKind : std::uint8_t { kRecord = 1, kFlock = 2 };  // kRecord: POSIX and OFD
enum class LockMode : std::uint8_t { kUnlock = 0, kRead = 1, kWrite = 2 };

// A lock as it was granted.
struct HeldLock {
  LockKind kind = LockKind::kRecord;
  LockMode mode = LockMode::kRead;
  std::uint64_t owner = 0;  // as in LockRequest, as are the others
  std::uint64_t start = 0;
  std::uint64_t last = 0;
  std::int32_t pid = 0;
  BATON_FIELDS(kind, mode, owner, start, last, pid)
};

// An open as it was granted. One with very many locks may come in several parts.
struct HeldHandle {
  HandleId handle{};
  std::string proof;  // OpenReply's
  std::vector<HeldLock> locks;
  BATON_FIELDS(handle, proof, locks)
};

// What the session holds, after HELLO's must_assert, in as many requests as it takes, before any other request. After a break
// from the beginning.
struct AssertRequest {
  std::vector<HeldHandle> handles;
  bool is_last = false;
  BATON_FIELDS(handles, is_last)
};

// Error ESTALE: the session was too late, and all of it is gone.
struct AssertReply {
  std::vector<HandleId> refused;  // fenced, taken by another, or not to be found: gone as with REVOKED
  BATON_FIELDS(refused)
};

struct FenceAcknowledgedRequest {
  Guid guid{};
  Epoch epoch{};
  Instant at{};  // the node's CLOCK_BOOTTIME after it retired the incarnation's inodes
  BATON_FIELDS(guid, epoch, at)
};

// No process of the incarnation lives on the mount's node any more, as far as the mount knows (rule T3).
struct InstanceGoneRequest {
  Guid guid{};
  Epoch epoch{};
  BATON_FIELDS(guid, epoch)
};

// The mount has refused what a program wanted to do through a handle that a fence took (rule T13). Once a handle.
struct LateRequest {
  HandleId handle{};
  BATON_FIELDS(handle)
};

// Withdraws a request of this session that waits for another's claim or lock; that one is then answered with EINTR.
struct CancelRequest {
  std::uint32_t slot = 0;
  std::uint32_t sequence = 0;
  BATON_FIELDS(slot, sequence)
};

// --- Names ----------------------------------------------------------------------------------------------------------

struct NodeReply {
  FileRef file;          // LOOKUP: none, if there is no such name and the session will be told when there is
  Attr attr;
  bool watched = false;  // the session will be told of the next change of the attributes (rule C2)
  BATON_FIELDS(file, attr, watched)
};

struct LookupRequest {
  FileRef directory;
  std::string name;
  Caller caller;
  BATON_FIELDS(directory, name, caller)
};

struct MakeDirectoryRequest {
  FileRef directory;
  std::string name;
  std::uint32_t mode = 0;
  std::uint32_t umask = 0;  // the server applies it, unless the directory has a default ACL
  Caller caller;
  BATON_FIELDS(directory, name, mode, umask, caller)
};

struct MakeNodeRequest {
  FileRef directory;
  std::string name;
  std::uint32_t mode = 0;
  std::uint32_t umask = 0;
  std::uint64_t device = 0;
  Caller caller;
  BATON_FIELDS(directory, name, mode, umask, device, caller)
};

struct SymlinkRequest {
  FileRef directory;
  std::string name;
  std::string target;
  Caller caller;
  BATON_FIELDS(directory, name, target, caller)
};

struct LinkRequest {
  FileRef file;
  FileRef directory;
  std::string name;
  Caller caller;
  BATON_FIELDS(file, directory, name, caller)
};

// UNLINK and RMDIR. RMDIR's reply is the directory as it was last.
struct RemoveRequest {
  FileRef directory;
  std::string name;
  Caller caller;
  BATON_FIELDS(directory, name, caller)
};

struct RenameRequest {
  FileRef directory;
  std::string name;
  FileRef new_directory;
  std::string new_name;
  std::uint32_t flags = 0;  // renameat2(2)
  Caller caller;
  BATON_FIELDS(directory, name, new_directory, new_name, flags, caller)
};

struct ReadlinkRequest {
  FileRef file;
  Caller caller;
  BATON_FIELDS(file, caller)
};

struct ReadlinkReply {
  std::string target;
  BATON_FIELDS(target)
};

struct ReaddirRequest {
  FileRef directory;
  std::uint64_t cookie = 0;     // where to go on: 0, or an entry's
  std::uint32_t size = 0;       // about so many bytes of entries
  bool with_attributes = false;
  Caller caller;
  BATON_FIELDS(directory, cookie, size, with_attributes, caller)
};

struct ReaddirEntry {
  std::string name;
  std::uint64_t ino = 0;
  std::uint32_t type = 0;          // the S_IFMT bits
  std::uint64_t cookie = 0;        // the position behind this entry
  std::optional<NodeReply> node;   // none: look it up
  BATON_FIELDS(name, ino, type, cookie, node)
};

struct ReaddirReply {
  std::vector<ReaddirEntry> entries;  // none: the end
  BATON_FIELDS(entries)
};

// --- Attributes -----------------------------------------------------------------------------------------------------

struct GetattrRequest {
  FileRef file;
  Caller caller;
  BATON_FIELDS(file, caller)
};

struct AttrReply {
  Attr attr;
  bool watched = false;  // as in NodeReply
  BATON_FIELDS(attr, watched)
};

struct SetattrRequest {
  FileRef file;
  HandleId handle{};  // ftruncate(2) and its like: the handle knows whose it is (rule I7)
  AttrChange change;
  Caller caller;
  BATON_FIELDS(file, handle, change, caller)
};

struct StatfsRequest {
  FileRef file;
  Caller caller;
  BATON_FIELDS(file, caller)
};

struct StatfsReply {
  StatFs statfs;
  BATON_FIELDS(statfs)
};

struct GetxattrRequest {
  FileRef file;
  std::string name;
  Caller caller;
  BATON_FIELDS(file, name, caller)
};

struct XattrReply {
  std::string value;  // LISTXATTR: the names, each with its zero byte
  BATON_FIELDS(value)
};

struct ListxattrRequest {
  FileRef file;
  Caller caller;
  BATON_FIELDS(file, caller)
};

struct SetxattrRequest {
  FileRef file;
  std::string name;
  std::string value;
  std::uint32_t flags = 0;  // setxattr(2)
  Caller caller;
  BATON_FIELDS(file, name, value, flags, caller)
};

struct RemovexattrRequest {
  FileRef file;
  std::string name;
  Caller caller;
  BATON_FIELDS(file, name, caller)
};

// --- Opens ----------------------------------------------------------------------------------------------------------

struct OpenRequest {
  FileRef file;
  std::uint32_t flags = 0;  // open(2): access mode, O_TRUNC, O_APPEND, O_DIRECT, O_SYNC, O_DSYNC; 040: to execute it
  Duration claim_wait{};    // rule O5
  Caller caller;
  BATON_FIELDS(file, flags, claim_wait, caller)
};

struct CreateRequest {
  FileRef directory;
  std::string name;
  std::uint32_t flags = 0;  // open(2), O_CREAT understood
  std::uint32_t mode = 0;
  std::uint32_t umask = 0;
  Duration claim_wait{};
  Caller caller;
  BATON_FIELDS(directory, name, flags, mode, umask, claim_wait, caller)
};

inline constexpr std::size_t kMaxProofSize = 512;

struct OpenReply {
  HandleId handle{};
  FileRef file;
  Attr attr;                 // watched, as is the data (rule C2)
  std::uint64_t change = 0;  // rises whenever another session changes the data (rule C1)
  std::string proof;         // for AssertRequest; the mount does not look inside. At most kMaxProofSize
  BATON_FIELDS(handle, file, attr, change, proof)
};

struct ReadRequest {
  HandleId handle{};
  std::uint64_t offset = 0;
  std::uint32_t size = 0;
  BATON_FIELDS(handle, offset, size)
};

struct WriteRequest {
  HandleId handle{};
  std::uint64_t offset = 0;
  bool cached = false;   // from the kernel's page cache: the handle may not be the writer's own (rule C3)
  bool append = false;   // to the end of the file, wherever that is (rule O7)
  BATON_FIELDS(handle, offset, cached, append)
};

struct WriteReply {
  std::uint32_t written = 0;
  std::uint64_t offset = 0;  // where it went
  BATON_FIELDS(written, offset)
};

struct FlushRequest {
  HandleId handle{};
  std::uint64_t lock_owner = 0;  // its POSIX locks on the file go (rule L1)
  BATON_FIELDS(handle, lock_owner)
};

struct CloseRequest {
  HandleId handle{};
  BATON_FIELDS(handle)
};

struct AllocateRequest {
  HandleId handle{};
  std::uint32_t mode = 0;  // fallocate(2)
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  BATON_FIELDS(handle, mode, offset, length)
};

struct SeekRequest {
  HandleId handle{};
  std::uint64_t offset = 0;
  bool hole = false;  // SEEK_HOLE; otherwise SEEK_DATA
  BATON_FIELDS(handle, offset, hole)
};

struct SeekReply {
  std::uint64_t offset = 0;
  BATON_FIELDS(offset)
};

// copy_file_range(2): the data does not travel.
struct CopyRangeRequest {
  HandleId from{};
  std::uint64_t from_offset = 0;
  HandleId to{};
  std::uint64_t to_offset = 0;
  std::uint64_t length = 0;
  BATON_FIELDS(from, from_offset, to, to_offset, length)
};

struct CopyRangeReply {
  std::uint64_t copied = 0;  // less than asked for: the end of the file, no room for the rest, or it took too long
  BATON_FIELDS(copied)
};

struct FsyncRequest {
  HandleId handle{};
  bool data_only = false;
  BATON_FIELDS(handle, data_only)
};

struct FsyncDirectoryRequest {
  FileRef directory;
  bool data_only = false;
  Caller caller;
  BATON_FIELDS(directory, data_only, caller)
};

// --- Locks ----------------------------------------------------------------------------------------------------------

struct LockRequest {
  HandleId handle{};
  LockKind kind = LockKind::kRecord;
  LockMode mode = LockMode::kUnlock;
  std::uint64_t owner = 0;  // the kernel's lock owner
  std::uint64_t start = 0;
  std::uint64_t last = 0;
  bool wait = false;
  std::int32_t pid = 0;
  BATON_FIELDS(handle, kind, mode, owner, start, last, wait, pid)
};

struct LockReply {
  std::uint64_t change = 0;  // as in OpenReply
  BATON_FIELDS(change)
};

struct GetlkRequest {
  HandleId handle{};
  LockMode mode = LockMode::kRead;
  std::uint64_t owner = 0;
  std::uint64_t start = 0;
  std::uint64_t last = 0;
  BATON_FIELDS(handle, mode, owner, start, last)
};

struct GetlkReply {
  LockMode mode = LockMode::kUnlock;  // kUnlock: nothing is in the way
  std::uint64_t start = 0;
  std::uint64_t last = 0;
  std::int32_t pid = 0;  // 0: the holder is on another node (rule L1)
  BATON_FIELDS(mode, start, last, pid)
};

}  // namespace baton::protocol
