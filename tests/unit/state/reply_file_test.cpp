// ReplyFile: what it finds again after the process that wrote it is gone, what it does not trust, and its
// bounds (rule D2).
#include "server/state/reply_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#include "support/temp_dir.h"

namespace baton {
namespace {

std::vector<std::byte> Bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ReplyFileTest : public testing::Test {
 protected:
  std::unique_ptr<ReplyFile> Open(const std::string& boot = "this boot") {
    auto file = ReplyFile::Open(dir_.Path(), boot);
    EXPECT_TRUE(file) << file.error();
    return std::move(*file);
  }
  std::filesystem::path Path() const { return dir_.Path() / "replies"; }
  // One session with one answered request.
  void WriteOne() {
    const auto file = Open();
    ReplyRecord* record = file->Take(SessionId{7}, 3);
    ASSERT_NE(record, nullptr);
    record->Begin(5, 33);
    record->Finish({0, 9, Bytes("reply")});
  }
  void Overwrite(std::streamoff offset, std::string_view bytes) {
    std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file);
  }

  test::TempDir dir_;
};

TEST_F(ReplyFileTest, FindsWhatItWasToldAgain) {
  {
    const auto file = Open();
    ReplyRecord* answered = file->Take(SessionId{7}, 3);
    answered->Begin(5, 33);
    answered->Note(Bytes("in"));
    answered->Note(Bytes("tent"));
    answered->Finish({EBUSY, 9, Bytes("reply")});
    ReplyRecord* begun = file->Take(SessionId{8}, 0);
    begun->Begin(0xffffffff, 65535);
    begun->Note(Bytes("intent"));
  }
  const auto file = Open();
  EXPECT_EQ(file->Records().size(), 2u);
  ASSERT_EQ(file->RecordsOf(SessionId{7}).size(), 1u);
  const ReplyRecord& answered = *file->RecordsOf(SessionId{7})[0];
  EXPECT_EQ(answered.Slot(), 3u);
  EXPECT_EQ(answered.Sequence(), 5u);
  EXPECT_EQ(answered.Operation(), 33);
  ASSERT_TRUE(answered.HasReply());
  EXPECT_EQ(answered.LastReply().error, EBUSY);
  EXPECT_EQ(answered.LastReply().epoch, 9u);
  EXPECT_EQ(Text(answered.LastReply().body), "reply");
  ASSERT_EQ(file->RecordsOf(SessionId{8}).size(), 1u);
  const ReplyRecord& begun = *file->RecordsOf(SessionId{8})[0];
  EXPECT_EQ(begun.Sequence(), 0xffffffffU);
  EXPECT_EQ(begun.Operation(), 65535);
  EXPECT_FALSE(begun.HasReply());
  EXPECT_EQ(Text(begun.Notes()), "intent");
  EXPECT_TRUE(file->RecordsOf(SessionId{9}).empty());
}

TEST_F(ReplyFileTest, BeginsTheNextRequestWithoutWhatWasKnownOfTheLast) {
  {
    const auto file = Open();
    ReplyRecord* record = file->Take(SessionId{7}, 0);
    record->Begin(1, 20);
    record->Note(Bytes("intent"));
    record->Finish({0, 0, Bytes("reply")});
    record->Begin(2, 21);
  }
  const auto file = Open();
  const ReplyRecord& record = *file->RecordsOf(SessionId{7}).at(0);
  EXPECT_EQ(record.Sequence(), 2u);
  EXPECT_FALSE(record.HasReply());
  EXPECT_TRUE(record.Notes().empty());
}

TEST_F(ReplyFileTest, HoldsTheLargestNotesAndReply) {
  const std::string notes(ReplyRecord::kMostNotes, 'n'), body(ReplyRecord::kMostReply, 'b');
  {
    const auto file = Open();
    ReplyRecord* record = file->Take(SessionId{7}, 0);
    record->Begin(1, 1);
    record->Note(Bytes(notes));
    record->Finish({0, 0, Bytes(body)});
    file->Take(SessionId{7}, 1)->Begin(8, 8);  // the record behind it
  }
  const auto file = Open();
  for (const ReplyRecord* record : file->RecordsOf(SessionId{7})) {
    if (record->Slot() == 1) {
      EXPECT_EQ(record->Sequence(), 8u);
      continue;
    }
    EXPECT_EQ(Text(record->Notes()), notes);
    EXPECT_EQ(Text(record->LastReply().body), body);
  }
}

TEST_F(ReplyFileTest, OutlivesAProcessThatIsKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto file = ReplyFile::Open(dir_.Path(), "this boot");
    ReplyRecord* record = (*file)->Take(SessionId{7}, 0);
    record->Begin(1, 33);
    record->Finish({0, 0, Bytes("reply")});
    record = (*file)->Take(SessionId{7}, 1);
    record->Begin(4, 20);
    record->Note(Bytes("intent"));
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto file = Open();
  std::set<std::string> found;
  for (const ReplyRecord* record : file->RecordsOf(SessionId{7})) {
    found.insert(record->HasReply() ? Text(record->LastReply().body) : Text(record->Notes()));
  }
  EXPECT_THAT(found, testing::ElementsAre("intent", "reply"));
}

TEST_F(ReplyFileTest, GivesWhatWasGivenBackToOthers) {
  const auto file = Open();
  std::vector<ReplyRecord*> first;
  for (std::uint32_t slot = 0; slot < ReplyFile::kRecordsInPiece; ++slot)
    first.push_back(file->Take(SessionId{1}, slot));
  const auto size = std::filesystem::file_size(Path());
  file->GiveBack(first);
  for (std::uint32_t slot = 0; slot < ReplyFile::kRecordsInPiece; ++slot) {
    EXPECT_THAT(first, testing::Contains(file->Take(SessionId{2}, slot)));
  }
  EXPECT_EQ(std::filesystem::file_size(Path()), size);
}

TEST_F(ReplyFileTest, GivesBackWhatSessionsHadThatAreGone) {
  {
    const auto file = Open();
    for (std::uint64_t session = 1; session <= 3; ++session) {
      ASSERT_NE(file->Take(SessionId{session}, 0), nullptr);
      ASSERT_NE(file->Take(SessionId{session}, 1), nullptr);
    }
  }
  {
    const auto file = Open();
    const std::array<SessionId, 2> kept = {SessionId{2}, SessionId{4}};
    file->KeepOnly(kept);
    EXPECT_EQ(file->Records().size(), 2u);
  }
  EXPECT_EQ(Open()->Records().size(), 2u);
}

TEST_F(ReplyFileTest, IsBegunAnewAfterABootOfTheMachine) {
  WriteOne();
  EXPECT_TRUE(Open("another boot")->Records().empty());
  EXPECT_TRUE(Open("this boot")->Records().empty());  // it is the other boot's now
}

TEST_F(ReplyFileTest, TrustsNoFileIfTheBootIsUnknown) {
  { (void)Open("")->Take(SessionId{7}, 0); }
  EXPECT_TRUE(Open("")->Records().empty());
}

TEST_F(ReplyFileTest, IsBegunAnewIfItIsForeignOrDamaged) {
  struct Damage {
    const char* what;
    std::streamoff offset;
    std::string bytes;
  };
  const std::streamoff record = 4096;
  for (const Damage& damage :
       {Damage{"foreign", 0, "#!/bin/sh"}, Damage{"version", 8, std::string(1, '\x7f')},
        Damage{"record size", 12, std::string(1, '\x7f')},
        Damage{"boot without an end", 16, std::string(64, 'x')},
        Damage{"mark", record + 8, std::string(1, '\x40')},
        Damage{"notes", record + 32, std::string(4, '\xff')},
        Damage{"body", record + 36, std::string(4, '\xff')}}) {
    std::filesystem::remove(Path());
    WriteOne();
    ASSERT_EQ(Open()->Records().size(), 1u);
    Overwrite(damage.offset, damage.bytes);
    if (std::string(damage.what) == "mark") Overwrite(record + 9, "\x40");
    EXPECT_TRUE(Open()->Records().empty()) << damage.what;
    WriteOne();
    EXPECT_EQ(Open()->Records().size(), 1u) << "of use again, after " << damage.what;
  }
}

TEST_F(ReplyFileTest, IsBegunAnewIfASlotHasTwoRecords) {
  {
    const auto file = Open();
    for (int i = 0; i < 2; ++i) ASSERT_NE(file->Take(SessionId{7}, 3), nullptr);
  }
  EXPECT_TRUE(Open()->Records().empty());
}

TEST_F(ReplyFileTest, IsBegunAnewIfItWasCut) {
  for (const std::uintmax_t left : {1u, 4095u, 4096u, 4097u, 8192u}) {
    std::filesystem::remove(Path());
    WriteOne();
    std::filesystem::resize_file(Path(), left);
    EXPECT_TRUE(Open()->Records().empty()) << left;
  }
}

// Whoever is killed while it grows leaves a tail behind.
TEST_F(ReplyFileTest, KeepsWhatItHasIfItIsLongerThanItSays) {
  WriteOne();
  std::filesystem::resize_file(Path(), std::filesystem::file_size(Path()) + 12345);
  const auto file = Open();
  EXPECT_EQ(file->Records().size(), 1u);
  for (std::uint32_t slot = 0; slot < 2 * ReplyFile::kRecordsInPiece; ++slot) {
    ASSERT_NE(file->Take(SessionId{8}, slot), nullptr);
  }
}

TEST_F(ReplyFileTest, IsRefusedWithAReasonWhereNoneCanBe) {
  std::filesystem::create_directory(Path());
  const auto file = ReplyFile::Open(dir_.Path(), "this boot");
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error(), testing::HasSubstr(Path().string()));
  EXPECT_THAT(file.error(), testing::HasSubstr("Is a directory"));
}

// A process of its own may not write files beyond a size: for the file it is as a full disk.
TEST_F(ReplyFileTest, HasNoRecordLeftWhenTheDiskIsFullAndGoesOn) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const auto file = ReplyFile::Open(dir_.Path(), "this boot");
    std::vector<ReplyRecord*> taken;
    const rlimit limit{4096 + 300 * 1024, RLIM_INFINITY};  // one piece, and not another
    ::setrlimit(RLIMIT_FSIZE, &limit);
    for (std::uint32_t slot = 0; slot < ReplyFile::kRecordsInPiece; ++slot) {
      ReplyRecord* record = (*file)->Take(SessionId{7}, slot);
      if (record == nullptr) ::_exit(1);
      taken.push_back(record);
    }
    for (std::uint32_t slot = 0; slot < 3; ++slot) {
      if ((*file)->Take(SessionId{8}, slot) != nullptr) ::_exit(2);
    }
    for (ReplyRecord* record : taken) {  // every byte of what it has is there
      record->Begin(1, 1);
      record->Note(std::vector<std::byte>(ReplyRecord::kMostNotes, std::byte{1}));
      record->Finish({0, 0, std::vector<std::byte>(ReplyRecord::kMostReply, std::byte{1})});
    }
    const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &none);
    ::_exit((*file)->Take(SessionId{8}, 0) != nullptr ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(Open()->Records().size(), ReplyFile::kRecordsInPiece + 1);
}

TEST_F(ReplyFileTest, GivesEachRecordToOneThread) {
  constexpr std::uint64_t kThreads = 8;
  constexpr std::uint32_t kSlots = 200;
  {
    const auto file = Open();
    std::vector<std::thread> threads;
    for (std::uint64_t session = 1; session <= kThreads; ++session) {
      threads.emplace_back([&file, session] {
        for (int round = 0; round < 3; ++round) {
          std::vector<ReplyRecord*> taken;
          for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
            taken.push_back(file->Take(SessionId{session}, slot));
            taken.back()->Begin(slot + 1, 33);
            taken.back()->Finish({0, session, Bytes(std::to_string(session))});
          }
          if (round < 2) file->GiveBack(taken);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  const auto file = Open();
  for (std::uint64_t session = 1; session <= kThreads; ++session) {
    std::set<std::uint32_t> slots;
    for (const ReplyRecord* record : file->RecordsOf(SessionId{session})) {
      slots.insert(record->Slot());
      EXPECT_EQ(record->Sequence(), record->Slot() + 1);
      EXPECT_EQ(record->LastReply().epoch, session);
      EXPECT_EQ(Text(record->LastReply().body), std::to_string(session));
    }
    EXPECT_EQ(slots.size(), kSlots);
  }
}

}  // namespace
}  // namespace baton
