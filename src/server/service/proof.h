// Proof: what batond must know of a handle that it granted in an earlier life (rules D2, D4). It travels to the mount with the
// open's answer and comes back with ASSERT, sealed: nobody else can make one, or change it, or use another session's. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/credentials.h"
#include "base/fields.h"
#include "base/file_ref.h"
#include "base/guid.h"
#include "base/ids.h"
#include "server/arbiter/claim_rules.h"
#include "server/state/state_store.h"

namespace baton::server {

struct Proof {
  SessionId session{};
  HandleId handle{};
  FileRef file;
  std::uint32_t flags = 0;  // open(2), of those that last
  bool writes = false;      // as the arbiter counts it
  ClaimMode mode = ClaimMode::kWrite;
  std::optional<Guid> guid;
  Epoch epoch{};
  bool by_policy = false;
  std::uint32_t uid = 0;    // the opener's, not squashed, as are the next two
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;    // the first of them
  std::int32_t pid = 0;
  std::string program;                  // its beginning
  std::vector<std::int32_t> ancestors;  // of who claims (rule I7): the nearest
  std::string path;                     // for people: its end
  BATON_FIELDS(session, handle, file, flags, writes, mode, guid, epoch, by_policy, uid, gid, groups, pid, program, ancestors,
               path)
};

class ProofSeal {
 public:
  explicit ProofSeal(const ServerKey& key);

  // At most protocol::kMaxProofSize bytes: of lists and names only as much as has room.
  std::string Seal(Proof proof) const;
  // None: it is not one of ours.
  std::optional<Proof> Open(const std::string& sealed) const;

 private:
  std::array<unsigned char, 32> key_{};
};

}  // namespace baton::server
