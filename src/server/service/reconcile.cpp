#include "server/service/reconcile.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/text.h"
#include "protocol/codec.h"
#include "protocol/operations.h"
#include "server/service/intent.h"
#include "server/store/thread_credentials.h"

namespace baton::server {
namespace {

using protocol::Operation;

enum class Fate : std::uint8_t { kHappened, kDidNot, kUnclear };

// What a name stands for by now; none: nothing.
using Found = Result<std::optional<store::Node>>;
Found Look(store::BackingStore& store, const FileRef& directory, const std::string& name) {
  auto node = store.Find(directory, name);
  if (node) return std::optional(std::move(*node));
  if (node.error().value == ENOENT) return std::optional<store::Node>();
  return tl::unexpected(node.error());
}

bool StandsFor(const std::optional<store::Node>& found, const std::optional<Identity>& file) {
  return found && file && file->Is(found->key);
}

Fate FateOfRename(store::BackingStore& store, const NameIntent& intent) {
  const auto from = Look(store, intent.directory, intent.name);
  const auto to = Look(store, intent.new_directory, intent.new_name);
  if (!from || !to) return Fate::kUnclear;
  // Two names of one file, or one name twice: nothing changes, however often.
  const bool are_same =
      intent.file && intent.new_file && intent.file->Is({intent.new_file->ino, intent.new_file->handle_hash});
  if (are_same) return Fate::kDidNot;
  const bool has_moved = StandsFor(*to, intent.file) && !StandsFor(*from, intent.file);
  return has_moved ? Fate::kHappened : Fate::kDidNot;
}

class Reconciler {
 public:
  explicit Reconciler(store::BackingStore& store) : store_(store) {}

  void Decide(ReplyRecord& record) {
    switch (static_cast<Operation>(record.Operation())) {
      case Operation::kSymlink:
      case Operation::kMakeNode:
      case Operation::kMakeDirectory:
      case Operation::kLink:
        return WithNames(record, [&](const NameIntent& intent) { DecideMade(record, intent); });
      case Operation::kUnlink:
      case Operation::kRemoveDirectory:
        return WithNames(record, [&](const NameIntent& intent) { DecideRemoved(record, intent); });
      case Operation::kRename:
        return WithNames(record, [&](const NameIntent& intent) { DecideRenamed(record, intent); });
      case Operation::kCreate:
        return DecideCreated(record);
      case Operation::kWrite:
        return DecideAppended(record);
      case Operation::kSetxattr:
      case Operation::kRemovexattr:
        return DecideXattr(record);
      default:
        Unclear(record);
    }
  }

 private:
  template <class Then>
  void WithNames(ReplyRecord& record, Then then) {
    if (const auto intent = protocol::Decode<NameIntent>(record.Notes())) return then(*intent);
    Unclear(record);
  }

  void DecideMade(ReplyRecord& record, const NameIntent& intent) {
    const auto now = Look(store_, intent.directory, intent.name);
    if (!now) return Unclear(record);
    if (!*now) return RunAgain(record);
    Answer(record, protocol::NodeReply{(*now)->ref, (*now)->attr}, intent.epoch);
  }

  void DecideRemoved(ReplyRecord& record, const NameIntent& intent) {
    const auto now = Look(store_, intent.directory, intent.name);
    if (!now) return Unclear(record);
    if (StandsFor(*now, intent.file)) return RunAgain(record);
    if (record.Operation() == static_cast<std::uint16_t>(Operation::kUnlink)) {
      return Answer(record, protocol::Nothing(), intent.epoch);
    }
    Answer(record, protocol::NodeReply(), intent.epoch);
  }

  void DecideRenamed(ReplyRecord& record, const NameIntent& intent) {
    switch (FateOfRename(store_, intent)) {
      case Fate::kHappened:
        return Answer(record, protocol::NodeReply(), intent.epoch);
      case Fate::kDidNot:
        return RunAgain(record);
      case Fate::kUnclear:
        return Unclear(record);
    }
  }

  // Its handle is still to be had: the request runs again, with what it made.
  void DecideCreated(ReplyRecord& record) {
    NameIntent intent;
    protocol::Decoder decoder(record.Notes());
    decoder.Get(intent);
    const auto now = Look(store_, intent.directory, intent.name);
    if (MadeBy(record.Notes())) return;
    if (!decoder.Done() || !now) return Unclear(record);
    if (!*now || StandsFor(*now, intent.file)) return RunAgain(record);
    std::vector<std::byte> note;
    protocol::Encoder(note).Put(MadeFile{(*now)->ref});
    // CREATE has one name: what has no room for this was not noted by it.
    if (note.size() > ReplyRecord::kMostNotes - record.Notes().size()) return Unclear(record);
    record.Note(note);
  }

  void DecideXattr(ReplyRecord& record) {
    const auto intent = protocol::Decode<XattrIntent>(record.Notes());
    if (!intent) return Unclear(record);
    const auto now = store_.GetXattr(Own(), intent->file, intent->name);
    const int error = now ? 0 : now.error().value;
    if (error == ESTALE || error == ENOENT) return RunAgain(record);  // the file is gone: that is its answer
    if (error != 0 && error != ENODATA) return Unclear(record);
    const bool sets = record.Operation() == static_cast<std::uint16_t>(Operation::kSetxattr);
    if (now.has_value() != sets) return RunAgain(record);
    Answer(record, protocol::Nothing(), intent->epoch);
  }

  void DecideAppended(ReplyRecord& record) {
    const auto intent = protocol::Decode<AppendIntent>(record.Notes());
    if (!intent) return Unclear(record);
    const auto file = store_.OpenAgain(Own(), intent->file, O_RDWR);
    if (!file) return file.error().value == ENOENT ? RunAgain(record) : Unclear(record);
    const auto attr = (*file)->GetAttr();
    if (!attr) return Unclear(record);
    if (attr->size <= intent->offset) return RunAgain(record);
    const Fate fate = FateOfAppend(**file, *intent, attr->size);
    if (fate == Fate::kUnclear) return Unclear(record);
    if (fate == Fate::kDidNot) return RunAgain(record);
    Answer(record, protocol::WriteReply{intent->length, intent->offset}, Epoch{});
  }

  // There is something where its bytes would be. A part of them, which is all that came after, is taken back.
  static Fate FateOfAppend(store::StoreFile& file, const AppendIntent& intent, std::uint64_t size) {
    std::vector<std::byte> there(std::min<std::uint64_t>(intent.length, size - intent.offset));
    const auto count = file.Read(there, intent.offset);
    if (!count || *count != there.size()) return Fate::kUnclear;
    const AppendIntent same = IntentToAppend(intent.file, intent.offset, there);
    if (there.size() == intent.length) {
      // What an O_SYNC handle is told is on stable storage (rule D1).
      return same.hash == intent.hash && file.Sync(true) ? Fate::kHappened : Fate::kUnclear;
    }
    const std::size_t part = same.parts.size();
    const bool is_ours =
        part < intent.parts.size() && static_cast<std::uint16_t>(same.hash) == intent.parts[part];
    return is_ours && file.Truncate(intent.offset) ? Fate::kDidNot : Fate::kUnclear;
  }

  static Credentials Own() { return {::geteuid(), ::getegid(), {}, 0}; }
  template <class Reply>
  void Answer(ReplyRecord& record, const Reply& reply, Epoch epoch) {
    std::vector<std::byte> body;
    protocol::Encoder(body).Put(reply);
    record.Finish({0, Raw(epoch), body});
  }
  void RunAgain(ReplyRecord& record) { record.Begin(record.Sequence(), record.Operation()); }
  void Unclear(ReplyRecord& record) {
    const auto properties = protocol::PropertiesOf(static_cast<Operation>(record.Operation()));
    log::Warn(
        "cannot tell whether a {} of session {} was carried out when batond was killed; it is answered with "
        "EIO",
        properties ? properties->name : "request", Raw(record.Session()));
    record.Finish({EIO, 0, {}});
  }

  store::BackingStore& store_;
};

}  // namespace

void Reconcile(ReplyFile& replies, store::BackingStore& store) {
  Reconciler reconciler(store);
  for (ReplyRecord* record : replies.Records()) {
    if (!record->HasReply() && !record->Notes().empty()) reconciler.Decide(*record);
  }
  store::BecomeServer();
}

}  // namespace baton::server
