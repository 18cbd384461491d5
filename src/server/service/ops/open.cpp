// OPEN and CREATE (rules O2, O3, O5, T1-T4): everything is resolved and checked first, nothing is created or truncated before
// the arbiter has granted.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "server/service/ops/change.h"
#include "server/service/ops/operations.h"
#include "server/service/ops/return.h"
#include "server/service/ops/stale_locks.h"

namespace baton::server::ops {
namespace {

// A program that waits longer is better told; and the sum with the clock must not overflow.
constexpr Duration kMostClaimWait = std::chrono::hours(1);

// What an OPEN and the second half of a CREATE have in common.
struct Opening {
  protocol::Caller caller;
  FileRef ref;
  int flags = 0;        // open(2)
  Duration claim_wait{};
  bool created = false; // by this very request: counts as an open for writing (rule O2)
  bool is_new = false;  // as `created`, and nobody else can have opened it since
  bool adopts = false;  // a stale lock file, used as it is by whom it looks absent to: from now on like any other (rule X1)
};

bool Writes(const Opening& opening) {
  return (opening.flags & O_ACCMODE) != O_RDONLY || (opening.flags & O_TRUNC) != 0 || opening.created;
}

// With what nobody but the grant knows left open.
Proof ProofFor(const Opening& opening, const OpenWish& wish) {
  constexpr int kLasting = O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC | O_NOATIME;
  Proof proof;
  proof.session = wish.who.session;
  proof.file = opening.ref;
  proof.flags = static_cast<std::uint32_t>(opening.flags & kLasting);
  proof.writes = wish.writes;
  proof.mode = wish.mode;
  if (wish.who.instance) {
    proof.guid = wish.who.instance->guid;
    proof.by_policy = wish.who.instance->by_policy;
    if (wish.writes) proof.ancestors = wish.who.ancestors;
  }
  proof.uid = opening.caller.uid;
  proof.gid = opening.caller.gid;
  proof.groups = opening.caller.groups;
  proof.pid = wish.who.pid;
  proof.program = wish.who.program;
  proof.path = wish.path;
  return proof;
}

void Granted(Service& service, Call& call, const Opening& opening, const std::shared_ptr<OpenFile>& file, Proof proof) {
  if ((opening.flags & O_TRUNC) != 0 && !opening.created) {
    int error = 0;
    {
      const HandleEntry entry(*file);
      error = entry.error();
      if (error == 0) {
        const int access = opening.flags & O_ACCMODE;
        const bool writable = access == O_WRONLY || access == O_RDWR;
        Result<void> truncated;
        if (writable) {
          truncated = file->file->Truncate(0);
        } else {  // O_RDONLY|O_TRUNC, or neither: its own descriptor may not write
          const auto again = service.store().Open(Service::CredentialsOf(opening.caller), opening.ref, opening.flags);
          if (!again) truncated = Fail(again.error().value);
        }
        if (!truncated) error = truncated.error().value;
      }
    }
    if (error != 0) {
      service.coordinator().Tell(CloseHandle{file->id});
      return call.Fail(error);
    }
    service.NoteData(*file);
  }
  if (opening.adopts) {
    if (const auto forgotten = service.store().ForgetCreator(opening.ref); !forgotten) {
      service.coordinator().Tell(CloseHandle{file->id});
      return call.Fail(forgotten.error().value);
    }
  }
  for (const auto what : {Watches::What::kAttributes, Watches::What::kData}) {
    service.watches().Watch(call.session(), file->file->Key(), what);
  }
  const auto attr = file->file->GetAttr();
  if (!attr) {
    service.coordinator().Tell(CloseHandle{file->id});
    return call.Fail(attr.error().value);
  }
  proof.handle = file->id;
  proof.epoch = file->epoch;
  call.Answer(protocol::OpenReply{file->id, opening.ref, *attr, file->shared->ChangesByOthers(file->session),
                                  service.proofs().Seal(std::move(proof))},
              file->epoch);
}

// Asks the arbiter for a handle on a file whose store file is open already.
void AskForHandle(Service& service, Call call, const Opening& opening, std::shared_ptr<store::StoreFile> store_file) {
  const auto policy = service.store().PolicyOf(opening.ref);
  if (!policy) return call.Fail(policy.error().value);
  const bool writes = Writes(opening);
  // Readers stay anonymous where the id is only the directory's (rule I2 d).
  auto who = service.RequesterFor(call, opening.caller, writes ? *policy : store::DirectoryPolicy());
  if (!who && !(who.error().value == EACCES && !writes)) return call.Fail(who.error().value);

  OpenWish wish;
  wish.request = service.coordinator().NewRequest();
  if (who) {
    wish.who = std::move(*who);
  } else {
    protocol::Caller reader = opening.caller;
    reader.identified = true;  // an unidentified caller may read (rule I5)
    wish.who = *service.RequesterFor(call, reader, store::DirectoryPolicy());
  }
  wish.file = store_file->Key();
  wish.reads = (opening.flags & O_ACCMODE) != O_WRONLY;
  wish.writes = writes;
  wish.mode = service.ClaimModeFor(*policy);
  // What was created is not given up: told EINTR the program would try again, and meet its own file.
  const bool may_give_up = !opening.created;
  wish.wait_until = service.clock().Now();
  if (may_give_up) wish.wait_until += std::clamp(opening.claim_wait, Duration::zero(), kMostClaimWait);
  wish.path = store_file->Path();

  wish.made = opening.is_new;

  const auto file = MakeOpenFile(service, wish, std::move(store_file));
  const auto session = call.session();
  const protocol::FrameHeader request = call.request();
  if (may_give_up) session->SetWaiting(request, wish.request);
  const auto waiting = std::make_shared<Call>(std::move(call));
  service.coordinator().Open(wish, file, [&service, waiting, opening, file, proof = ProofFor(opening, wish)](Coordinator::Answer& answer) {
    if (answer.error != 0) return waiting->Fail(answer.error);
    Granted(service, *waiting, opening, file, proof);
  });
  if (may_give_up && session->IsCancelled(request)) service.coordinator().Withdraw(wish.request);
}

void OpenExisting(Service& service, Call call, const Opening& opening) {
  auto& store = service.store();
  const Credentials who = Service::CredentialsOf(opening.caller);
  if ((opening.flags & O_TRUNC) != 0) {
    if (const auto allowed = store.WouldOpen(who, opening.ref, opening.flags); !allowed) {
      return call.Fail(allowed.error().value);
    }
  }
  auto file = store.Open(who, opening.ref, opening.flags & ~O_TRUNC);
  if (!file) return call.Fail(file.error().value);
  AskForHandle(service, std::move(call), opening, std::move(*file));
}

// The name is there after all.
void CreateExisting(Service& service, Call call, const protocol::CreateRequest& wish, const store::Node& node) {
  if ((wish.flags & O_EXCL) != 0) return call.Fail(EEXIST);
  if (S_ISDIR(node.attr.mode)) return call.Fail(EISDIR);
  if (!S_ISREG(node.attr.mode)) return call.Fail(ESTALE);  // the kernel looks the name up again and goes its own way
  const bool adopts = StaleFor(service, *call.session(), wish.caller, wish.name, node).has_value();
  OpenExisting(service, std::move(call),
               {wish.caller, node.ref, static_cast<int>(wish.flags), wish.claim_wait, false, false, adopts});
}

Change ChangeFor(Service& service, const FileKey& directory, const protocol::CreateRequest& wish) {
  const Credentials who = Service::CredentialsOf(wish.caller);
  Change change;
  change.caller = wish.caller;
  change.policy_of = wish.directory;
  change.by_name = true;
  change.directories = {directory, directory};
  change.names = {{directory, wish.name}};
  change.targets = [] { return std::vector<ChangeWish::Target>{}; };
  change.intent = [&service, wish](const auto&) { return IntentToMake(service, wish.directory, wish.name); };
  change.probe = [&service, who, wish]() -> Result<void> {
    auto would = service.store().WouldCreate(who, wish.directory, wish.name);
    if (would || would.error().value != EEXIST || (wish.flags & O_EXCL) != 0) return would;
    const auto node = service.store().Lookup(who, wish.directory, wish.name);  // somebody else was faster
    if (!node || !S_ISREG(node->attr.mode)) return {};                         // the act has the answer
    return service.store().WouldOpen(who, node->ref, static_cast<int>(wish.flags));
  };
  return change;
}

// With the name kept still: later, others may change what it stands for.
void NoteMade(Call& call, const store::CreatedFile& made) { call.Note(MadeFile{made.node.ref}); }

void AskForCreated(Service& service, Call call, const protocol::CreateRequest& wish, store::CreatedFile made,
                   bool is_new = true) {
  const Opening opening{wish.caller, made.node.ref, static_cast<int>(wish.flags), wish.claim_wait, true, is_new};
  AskForHandle(service, std::move(call), opening, std::move(made.file));
}

// What this very request made before the server was started again, whatever its name and mode are by now.
void OpenMade(Service& service, Call call, const protocol::CreateRequest& wish, const FileRef& made) {
  const Credentials who = Service::CredentialsOf(wish.caller);
  auto file = service.store().OpenAgain(who, made, static_cast<int>(wish.flags));
  if (!file) return call.Fail(file.error().value == ENOENT ? ESTALE : file.error().value);
  AskForCreated(service, std::move(call), wish, {{.ref = made}, std::move(*file)}, false);
}

// With O_EXCL, by an instance, under a name of which its earlier incarnations leave files behind (rule X1). Both the look and the
// act have the name kept still; what an earlier incarnation does meanwhile ends with its gate, before the act.
void CreateLock(Service& service, Call call, const FileKey& directory, const protocol::CreateRequest& wish,
                store::Creator creator) {
  const Credentials who = Service::CredentialsOf(wish.caller, wish.umask);
  const auto stale = [&service, wish, session = call.session()](const store::Node& node) {
    return StaleFor(service, *session, wish.caller, wish.name, node);
  };
  Change change = ChangeFor(service, directory, wish);
  change.targets = [&service, who, wish, stale]() -> Result<std::vector<ChangeWish::Target>> {
    const auto node = service.store().Lookup(who, wish.directory, wish.name);
    if (!node && node.error().value == ENOENT) return std::vector<ChangeWish::Target>{};
    if (!node) return Fail(node.error().value);
    if (!stale(*node)) return Fail(EEXIST);
    return std::vector<ChangeWish::Target>{{node->key, Act::kNames}};
  };
  change.intent = [wish](const auto& targets) -> Intention {
    NameIntent intent{.directory = wish.directory, .name = wish.name};
    if (!targets.empty()) intent.file = Identity::Of(targets.front().file);
    return intent;
  };
  change.probe = [&service, who, wish] {
    auto would = service.store().WouldCreate(who, wish.directory, wish.name);
    if (!would && would.error().value == EEXIST) would = service.store().WouldUnlink(who, wish.directory, wish.name);
    return would;
  };
  change.act = [&service, who, wish, stale, creator = std::move(creator)](Call& done, Epoch epoch) mutable {
    creator.epoch = epoch;
    const auto node = service.store().Lookup(who, wish.directory, wish.name);
    if (!node && node.error().value != ENOENT) return done.Fail(node.error().value);
    if (node) {
      const auto old = stale(*node);
      if (!old || old->epoch >= epoch) return done.Fail(EEXIST);
    }
    auto made = service.store().CreateBy(who, wish.directory, wish.name, static_cast<int>(wish.flags), wish.mode, creator,
                                         node.has_value());
    if (!made) return done.Fail(made.error().value);
    NoteMade(done, *made);
    AskForCreated(service, std::move(done), wish, std::move(*made));
  };
  RunChange(service, std::move(call), std::move(change));
}

}  // namespace

void Open(Service& service, Call call, const protocol::OpenRequest& wish, std::span<const std::byte>) {
  OpenExisting(service, std::move(call),
               {wish.caller, wish.file, static_cast<int>(wish.flags) & ~(O_CREAT | O_EXCL), wish.claim_wait, false});
}

void Create(Service& service, Call call, const protocol::CreateRequest& wish, std::span<const std::byte>) {
  auto& store = service.store();
  const auto key = store.KeyOf(wish.directory);
  if (!key) return call.Fail(key.error().value);
  if (const auto made = MadeBy(call.session()->NotesOf(call.request()))) {
    return OpenMade(service, std::move(call), wish, *made);
  }
  if ((wish.flags & O_EXCL) != 0) {
    if (auto creator = CreatorFor(service, wish.caller, wish.name)) {
      return CreateLock(service, std::move(call), *key, wish, std::move(*creator));
    }
  }
  const Credentials who = Service::CredentialsOf(wish.caller, wish.umask);
  if (const auto node = store.Lookup(who, wish.directory, wish.name)) {
    return CreateExisting(service, std::move(call), wish, *node);
  } else if (node.error().value != ENOENT) {
    return call.Fail(node.error().value);
  }
  Change change = ChangeFor(service, *key, wish);
  change.act = [&service, who, wish](Call& done, Epoch) {
    constexpr int kTries = 16;  // somebody creates and removes the name all the time
    for (int tried = 0; tried < kTries; ++tried) {
      auto made = service.store().Create(who, wish.directory, wish.name, static_cast<int>(wish.flags), wish.mode);
      if (made) {
        NoteMade(done, *made);
        return AskForCreated(service, std::move(done), wish, std::move(*made));
      }
      if (made.error().value != EEXIST) return done.Fail(made.error().value);
      const auto node = service.store().Lookup(who, wish.directory, wish.name);
      if (node) return CreateExisting(service, std::move(done), wish, *node);
      if (node.error().value != ENOENT) return done.Fail(node.error().value);
    }
    done.Fail(ESTALE);
  };
  RunChange(service, std::move(call), std::move(change));
}

}  // namespace baton::server::ops
