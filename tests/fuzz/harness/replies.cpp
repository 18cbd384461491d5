// What an earlier life of the server left of its requests, and the seals of what it gave away.
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <fstream>

#include "base/check.h"
#include "fuzz/harness/choices.h"
#include "fuzz/harness/harness.h"
#include "protocol/codec.h"
#include "server/service/intent.h"
#include "server/service/proof.h"
#include "server/service/reconcile.h"
#include "server/service/session.h"
#include "server/store/handle.h"
#include "server/store/posix_store.h"
#include "support/temp_dir.h"

namespace baton::fuzz {
namespace {

using namespace server;
constexpr std::string_view kContent = "what was appended before";

// One export for all inputs: reconciling removes nothing, and cuts only what it takes for its own append.
struct Export {
  test::TempDir folder;
  test::TempDir state;
  std::unique_ptr<store::BackingStore> store;
  std::vector<FileRef> refs;
  Export() {
    std::filesystem::create_directory(folder.Path() / "d");
    std::filesystem::create_symlink("f", folder.Path() / "l");
    Restore();
    store = store::PosixStore::Open(folder.Path(), {std::byte{7}}, {}).value();
    refs = {store->Root().ref, FileRef()};
    for (const char* name : {"d", "l", "f"}) refs.push_back(store->Find(refs[0], name).value().ref);
  }
  void Restore() { std::ofstream(folder.Path() / "f", std::ios::binary | std::ios::trunc) << kContent; }

  FileRef Ref(Choices& choices) const {
    const std::uint8_t which = choices.Byte();
    if (which % 8 < refs.size()) return refs[which % 8];
    return FileRef(std::as_bytes(std::span(choices.Text().substr(0, FileRef::kCapacity))));
  }
  std::optional<server::Identity> IdentityOf(Choices& choices) const {
    const auto key = store->KeyOf(Ref(choices));
    return key ? std::optional(server::Identity::Of(*key)) : std::nullopt;
  }
};

std::vector<std::byte> Intent(const Export& on, Choices& choices) {
  std::vector<std::byte> bytes;
  protocol::Encoder encoder(bytes);
  const std::uint8_t kind = choices.Byte() % 5;
  if (kind <= 1) {
    NameIntent intent{Epoch{choices.Byte()},  on.Ref(choices), std::string(choices.Text()),
                      on.IdentityOf(choices), on.Ref(choices), std::string(choices.Text()),
                      on.IdentityOf(choices)};
    for (std::uint8_t more = choices.Byte() % 4; more > 0; --more) intent.new_name += std::string(255, 'n');
    encoder.Put(intent);
    if (kind == 1) encoder.Put(MadeFile{on.Ref(choices)});
  } else if (kind == 2) {
    encoder.Put(XattrIntent{Epoch{choices.Byte()}, on.Ref(choices), std::string(choices.Text())});
  } else if (kind == 3) {
    const std::uint64_t offset = choices.Byte();
    AppendIntent intent = IntentToAppend(on.Ref(choices), offset, std::as_bytes(std::span(choices.Text())));
    if ((choices.Byte() & 1) != 0) intent.length = choices.Number<std::uint32_t>();
    if ((choices.Byte() & 1) != 0) intent.offset = choices.Number<std::uint64_t>();
    encoder.Put(intent);
  } else {
    const auto raw = choices.Bytes(choices.Number<std::uint16_t>() % (ReplyRecord::kMostNotes + 1));
    bytes.assign(raw.begin(), raw.end());
  }
  bytes.resize(std::min(bytes.size(), ReplyRecord::kMostNotes));
  return bytes;
}

void WriteRecords(ReplyFile& file, const Export& on, Choices& choices) {
  for (std::uint8_t count = choices.Byte() % 8; count > 0; --count) {
    ReplyRecord* record = file.Take(SessionId{choices.Byte() % 3u + 1}, choices.Number<std::uint16_t>());
    record->Begin(choices.Byte(), choices.Byte() % 64u);
    record->Note(Intent(on, choices));
    const std::uint8_t reply = choices.Byte();
    if ((reply & 1) == 0) continue;
    record->Finish({reply >> 1, choices.Byte(), choices.Bytes(choices.Byte())});
  }
}

void DamageRecords(const std::filesystem::path& path, Choices& choices) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  while (!choices.Done()) {
    const std::uint32_t at = choices.Number<std::uint32_t>() % (4096 + 16 * 2048);
    const std::string_view bytes = choices.Text();
    BATON_CHECK(::pwrite(fd, bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size()));
  }
  ::close(fd);
}

}  // namespace

bool Replies(std::span<const std::byte> input) {
  static Export on;
  const std::filesystem::path path = on.state.Path() / "replies";
  std::filesystem::remove(path);
  Choices choices(input);
  WriteRecords(**ReplyFile::Open(on.state.Path(), "boot"), on, choices);
  DamageRecords(path, choices);
  const auto file = ReplyFile::Open(on.state.Path(), "boot");
  BATON_CHECK(file.has_value());
  const std::size_t found = (*file)->Records().size();
  Reconcile(**file, *on.store);
  for (const ReplyRecord* record : (*file)->Records())
    BATON_CHECK(record->HasReply() || record->Notes().empty() || MadeBy(record->Notes()));
  const std::array sessions{SessionId{1}, SessionId{2}};
  (*file)->KeepOnly(sessions);
  for (const SessionId id : sessions) {
    Session session(id, protocol::SessionSecret{}, "node", false, Instant());
    session.Restore(**file);
    for (std::uint32_t slot = 0; slot < 3; ++slot)
      (void)session.Begin({.operation = 31, .slot = slot, .sequence = 1});
  }
  on.Restore();
  return found > 0;
}

bool Sealed(std::span<const std::byte> input) {
  static const ProofSeal seal(ServerKey{std::byte{3}});
  static const store::RefCodec refs(store::StoreKey{std::byte{3}});
  BATON_CHECK(!seal.Open(std::string(TextOf(input))));
  if (input.size() <= FileRef::kCapacity) BATON_CHECK(!refs.Open(FileRef(input)));
  const auto proof = protocol::Decode<Proof>(input);
  if (!proof) return false;
  std::string sealed = seal.Seal(*proof);
  const auto opened = seal.Open(sealed);
  BATON_CHECK(opened && opened->session == proof->session && opened->file == proof->file);
  BATON_CHECK(opened->groups.size() <= proof->groups.size() && seal.Seal(*opened) == sealed);
  sealed[sealed.size() / 2] = static_cast<char>(sealed[sealed.size() / 2] ^ 1);
  BATON_CHECK(!seal.Open(sealed));
  return true;
}

}  // namespace baton::fuzz
