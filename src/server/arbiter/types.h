// What goes into the arbiter (events) and what comes out (effects): values only. See arbiter.h for the promises.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/file_key.h"
#include "base/guid.h"
#include "base/ids.h"
#include "base/range.h"
#include "locks/lock.h"
#include "server/arbiter/claim_rules.h"
#include "server/arbiter/limits.h"

namespace baton {

enum class DrainId : std::uint64_t {};  // one closing of gates whose end the arbiter waits for

// --- Who asks -------------------------------------------------------------------------------------------------------

// The app instance of a request. From the process (rule I2 a-c) or, `by_policy`, from the file or its directory (I2 d).
struct InstanceClaim {
  Guid guid{};
  std::optional<InstanceVersion> version;
  Epoch epoch = kNewEpoch;
  std::uint32_t owner = 0;       // rule T3; after squashing
  bool may_take_over = true;     // rule T1
  bool by_policy = false;
  bool takes_over_alive = true;  // by_policy: the directory says user.baton.takeover=any
};

struct Requester {
  SessionId session{};
  std::optional<InstanceClaim> instance;
  std::uint32_t uid = 0;
  std::int32_t pid = 0;
  std::vector<std::int32_t> ancestors;  // pids on its node; for writing opens of an instance (rule I7)
  std::string program;
};

// --- Events ---------------------------------------------------------------------------------------------------------

struct SessionBegins {
  SessionId session{};
  std::string node;
  std::string boot;
  std::string machine;
  std::string mount_point;
};
struct SessionSilent { SessionId session{}; };   // its lease ended (rule S2)
struct SessionHeard { SessionId session{}; };    // it spoke again
struct SessionUnmounts { SessionId session{}; }; // rule S4
struct SessionEvicted { SessionId session{}; };  // silent, and its place is needed (rules S2, A4)
// One from before the server's restart, by its secret, says what it held (rule D4): it returns, each of its handles returns and
// each of their locks, then it has returned. A break in between: from the beginning.
struct SessionReturns { SessionId session{}; };
struct SessionReturned { SessionId session{}; };
// The server's port is open, or the server itself was away: who is absent has so long, and no less.
struct WaitForAbsentUntil { Instant until{}; };
struct FenceAcknowledged {
  SessionId session{};
  Guid guid{};
  Epoch epoch{};
  Instant at{};  // the node's clock
};
struct InstanceGone {
  SessionId session{};
  Guid guid{};
  Epoch epoch{};
};

// An open of an existing regular file, or of one that the same request has just created.
struct OpenWish {
  RequestId request{};
  Requester who;
  FileKey file{};
  bool reads = false;
  bool writes = false;          // O_WRONLY, O_RDWR, O_TRUNC, create
  ClaimMode mode = ClaimMode::kWrite;  // of the export or the directory
  Instant wait_until{};         // rule O5
  std::string path;             // as opened, for people
  bool made = false;            // created by this very request: nobody can have held it before
};
// As it was granted before the server's restart, to the incarnation in `open.who`. Granted again, or ESTALE.
struct HandleReturns {
  HandleId handle{};
  OpenWish open;
};
// A change that needs no handle: by name, of attributes, or a create. Granted: the gate is entered and the caller may act.
struct ChangeWish {
  struct Target {
    FileKey file{};
    Act act = Act::kNames;
  };
  RequestId request{};
  Requester who;
  std::vector<Target> targets;  // existing files it touches; none for a create
  Instant wait_until{};
  std::string path;
  bool checked = false;  // would succeed but for others; until then it harms nobody (CheckFirst, rule T2)
  ClaimMode mode = ClaimMode::kWrite;  // of claims there that the server does not know of since its restart (rule D4)
  bool opens = false;    // a create: an open of what it makes follows
};
struct CloseHandle { HandleId handle{}; };
struct FlushHandle {
  HandleId handle{};
  std::uint64_t lock_owner = 0;
};
enum class LockKind : std::uint8_t { kRecord, kFlock };
struct LockWish {
  RequestId request{};
  HandleId handle{};
  LockKind kind = LockKind::kRecord;
  LockType type = LockType::kRead;
  std::uint64_t owner = 0;
  ByteRange range;
  bool wait = false;
  std::int32_t pid = 0;
};
struct LockReturns { LockWish lock; };  // as it was granted; ESTALE: it is another's
struct Unlock {
  HandleId handle{};
  LockKind kind = LockKind::kRecord;
  std::uint64_t owner = 0;
  ByteRange range;
  RequestId request{};  // to be answered; none: nobody asks
};
struct Withdraw { RequestId request{}; };  // the caller gave up: EINTR

struct Committed {  // the record is on stable storage, or not
  Guid guid{};
  bool durable = false;
};
struct UseCommitted {
  SessionId session{};
  Guid guid{};
  Epoch epoch{};
  bool durable = false;
};
struct EndCommitted {
  SessionId session{};
  bool durable = true;  // false: it will be tried again
};
struct Drained { DrainId drain{}; };

struct FenceByHand {
  RequestId request{};
  Guid guid{};
};
struct Tick {};

using Event = std::variant<SessionBegins, SessionSilent, SessionHeard, SessionUnmounts, SessionEvicted, SessionReturns,
                           SessionReturned, HandleReturns, LockReturns, WaitForAbsentUntil, FenceAcknowledged, InstanceGone, OpenWish,
                           ChangeWish, CloseHandle, FlushHandle, LockWish, Unlock,
                           Withdraw, Committed, UseCommitted, EndCommitted, Drained, FenceByHand, Tick>;

// --- Effects: to be carried out in their order, before the next Step ---------------------------------------------------

// Who stands in the way, for the log and the person who reads it.
struct Holder {
  std::string node;
  std::optional<Guid> guid;
  std::int32_t pid = 0;
  std::string program;
};

struct OpenGranted {
  RequestId request{};
  HandleId handle{};
  GateId gate{};
  Epoch epoch{};
};
// Enter the gate at once, before the next Step; then act; then leave it.
struct ChangeGranted {
  RequestId request{};
  GateId gate{};
  Epoch epoch{};
};
// It cannot be granted as it is: to be asked for again once everything else about it is checked (rule T2).
struct CheckFirst {
  RequestId request{};
};
struct LockGranted {
  RequestId request{};
  FileKey file{};
};
struct FenceDone { RequestId request{}; };
struct Refused {
  RequestId request{};
  int error = 0;
  std::optional<Holder> holder;
};

// An instance's record, as it must survive (rule T12).
struct InstanceRecord {
  Guid guid{};
  Epoch epoch{};
  std::uint32_t owner = 0;
  std::optional<InstanceVersion> version;
  std::string node;
};
// An incarnation that a session has acted for (rule D4); the nil GUID: it has had locks without an instance.
struct SessionUse {
  SessionId session{};
  Guid guid{};
  Epoch epoch{};
};
// What was fenced away from a node in one boot of it (rule T7).
struct FenceRecord {
  std::string node;
  std::string boot;
  Guid guid{};
  Epoch epoch{};
  std::optional<InstanceVersion> version;
  std::optional<Instant> acknowledged;  // the node's clock
  friend bool operator==(const FenceRecord&, const FenceRecord&) = default;
};

// In one: the record, the use of it by the session that takes over, what is fenced thereby, and that something is reserved.
// Answer with Committed.
struct Commit {
  InstanceRecord record;
  SessionId used_by{};              // none: fenced by hand
  std::vector<FenceRecord> fences;
  Duration reserved{};              // so long from now on; 0: nothing is
};
struct CommitUse { SessionUse use; };         // answer with UseCommitted
// The session is not to be known any more after a restart; what it held is kept for the instances that used it. Answer with
// EndCommitted at each attempt, until it is durable.
struct CommitEnd {
  SessionId session{};
  std::vector<FenceRecord> fences;
};
struct KeepFence { FenceRecord fence; };      // durable soon: nobody waits for it

// Close these gates for good: later entries get `error`; answer with Drained when nobody is inside.
struct CloseGates {
  DrainId drain{};
  std::vector<GateId> gates;
  std::vector<HandleId> handles;  // each handle has a gate of its own
  int error = 0;
};
// From now on page-cache writes through these handles are refused: they may be another's (rule C3).
struct RefuseCachedWrites { std::vector<HandleId> handles; };
struct HandlesDropped {
  std::vector<HandleId> handles;
};
struct GateDropped { GateId gate{}; };
struct NotifyFenced {
  SessionId session{};
  Guid guid{};
  Epoch epoch{};
  std::optional<InstanceVersion> version;
  std::string to_node;
};
struct NotifyRevoked {
  SessionId session{};
  std::vector<HandleId> handles;
};
struct SessionEnded {
  SessionId session{};
  std::string reason;
};

// What the server knows of its earlier life (rules D2, D4). Sessions and what they used are those that had not ended.
struct Survivors {
  std::vector<InstanceRecord> instances;
  Epoch last_epoch{};                   // the highest ever given, of records that were forgotten too
  std::vector<SessionBegins> sessions;
  std::vector<SessionUse> uses;
  std::map<Guid, Instant> reserved;     // something was reserved for them, nobody knows what, until then (rule T9)
  std::vector<FenceRecord> fences;
  Instant absent_until{};               // so long others wait for what sessions may have held; max: until it is said
  HandleId first_handle{};              // of this life: the earlier ones' are below
};

enum class EventKind : std::uint8_t {
  kStarted,        // an incarnation began; nobody was fenced
  kTakeover,
  kFenced,         // by hand, or with its session
  kRefused,        // by a claim, a lock, a version, an epoch
  kLate,           // a request of a fenced incarnation was refused on the data path
  kOwnerMismatch,  // audit: another uid came with the GUID (rule T3)
  kFlapping,       // rule T11
  kLimit,          // rule A4
  kSessionBegan,
  kSessionSilent,
  kSessionHeard,
  kSessionEnded,
};
// Lower-case words with hyphens: "takeover", "owner-mismatch".
const char* EventKindName(EventKind kind);

struct EventRecord {
  EventKind kind{};
  std::optional<Guid> guid;
  Epoch old_epoch{};
  Epoch new_epoch{};
  std::string from_node;
  std::string to_node;
  std::uint32_t uid = 0;
  std::int32_t pid = 0;
  std::string program;
  std::string file;
  std::uint64_t handles = 0;
  std::uint64_t locks = 0;
  Duration took{};
  std::string detail;
};
struct Emit { EventRecord event; };

using Effect = std::variant<OpenGranted, ChangeGranted, CheckFirst, LockGranted, FenceDone, Refused, Commit, CommitUse, CommitEnd,
                            KeepFence, CloseGates,
                            RefuseCachedWrites, HandlesDropped, GateDropped, NotifyFenced, NotifyRevoked,
                            SessionEnded, Emit>;
using Effects = std::vector<Effect>;

// --- Options and listings -----------------------------------------------------------------------------------------------

enum class ReclaimScope : std::uint8_t { kInstance, kFile };

struct ArbiterOptions {
  Duration reservation = std::chrono::seconds(10);            // rule T9
  Duration lease = std::chrono::seconds(10);                  // rule D4: for a session to say what it held
  ReclaimScope scope = ReclaimScope::kInstance;               // rule T5
  bool strict = false;                                        // rule O3
  std::uint32_t flap_limit = 3;                               // rule T11; 0: no limit
  Duration flap_window = std::chrono::seconds(60);
  bool root_may = true;                                       // rule T3; false when the export squashes root
  std::size_t max_instances = 1'000'000;                      // rule T12: records are kept, so they are bounded
  Limits limits;                                              // rule A4
};

struct SessionInfo {
  SessionId session{};
  std::string node, boot, machine, mount_point;
  std::string state;  // "active", "silent", "absent", "ending"
  std::uint64_t handles = 0;
};
struct InstanceInfo {
  InstanceRecord record;
  std::string state;  // "live", "idle", "taking over", "fenced"
  std::uint64_t handles = 0;
  std::uint64_t locks = 0;
  std::uint64_t reservations = 0;
};
struct OpenInfo {
  HandleId handle{};
  FileKey file{};
  std::string path;
  std::string node;
  std::optional<Guid> guid;
  Epoch epoch{};
  std::uint32_t uid = 0;
  std::int32_t pid = 0;
  std::string program;
  std::string mode;  // "read", "write", "claim", "exclusive", "demoted", "reserved"
};
struct LockInfo {
  FileKey file{};
  std::string path;
  std::string node;
  std::optional<Guid> guid;
  std::int32_t pid = 0;
  std::string program;
  std::string kind;  // "record", "flock"
  std::string type;  // "read", "write"
  ByteRange range;
  std::string state;  // "held", "waiting", "reserved"
};

}  // namespace baton
