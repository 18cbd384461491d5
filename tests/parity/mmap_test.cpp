// Mapped files: shared and private, msync, growth and truncation under a mapping, SIGBUS beyond the end.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cstring>

#include "parity/parity.h"

namespace baton::parity {
namespace {

const size_t kPage = ::sysconf(_SC_PAGESIZE);

class Mapping {
 public:
  Mapping(int fd, size_t size, int protection = PROT_READ | PROT_WRITE, int flags = MAP_SHARED,
          off_t offset = 0)
      : size_(size), data_(static_cast<char*>(::mmap(nullptr, size, protection, flags, fd, offset))) {
    Must(data_ == MAP_FAILED ? -1 : 0);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(data_, size_); }
  char* data() const { return data_; }
  Outcome Sync(int flags = MS_SYNC) const { return Did(::msync(data_, size_, flags)); }
  std::string Text(size_t offset, size_t size) const { return {data_ + offset, size}; }

 private:
  size_t size_;
  char* data_;
};

// What becomes of a process that touches the address.
Outcome Touch(volatile char* address, bool write = false) {
  return Apart([=] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    if (write) {
      *address = 'x';
      return kOk;
    }
    return Gives(*address);
  });
}

class Mapped : public Parity {
 protected:
  void SetUp() override {
    Parity::SetUp();
    Make("file", "0123456789");
    fd_ = Open("file", O_RDWR);
  }
  void TearDown() override {
    fd_.Close();
    Parity::TearDown();
  }
  Fd fd_;
};

TEST_F(Mapped, SharedReads) {
  EXPECT_EQ(Mapping(fd_, 10, PROT_READ).Text(0, 10), "0123456789");
}

TEST_F(Mapped, SharedStoreIsSeenByRead) {
  const Mapping map(fd_, 10);
  std::memcpy(map.data() + 2, "XY", 2);
  EXPECT_EQ(At(fd_, 0, 10), "01XY456789");
  EXPECT_EQ(Content("file"), "01XY456789");
}

TEST_F(Mapped, WriteIsSeenByTheMapping) {
  const Mapping map(fd_, 10);
  EXPECT_EQ(map.Text(0, 2), "01");
  Must(::pwrite(fd_, "XY", 2, 0));
  EXPECT_EQ(map.Text(0, 4), "XY23");
}

TEST_F(Mapped, WriteByAnotherProcessIsSeen) {
  const Mapping map(fd_, 10);
  EXPECT_EQ(map.Text(0, 2), "01");
  EXPECT_EQ(Apart([] { return Did(::pwrite(Open("file", O_WRONLY), "XY", 2, 0)); }), Gives(2));
  EXPECT_EQ(map.Text(0, 4), "XY23");
}

TEST_F(Mapped, StoreInAChildIsSeen) {
  const Mapping map(fd_, 10);
  EXPECT_EQ(Apart([&] {
              map.data()[0] = 'C';
              return kOk;
            }),
            kOk);
  EXPECT_EQ(map.data()[0], 'C');
}

TEST_F(Mapped, PrivateStoreStaysPrivate) {
  const Mapping map(fd_, 10, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  map.data()[0] = 'X';
  EXPECT_EQ(Content("file"), "0123456789");
  EXPECT_EQ(map.Text(0, 2), "X1");
}

TEST_F(Mapped, PrivateWritableOfAReadOnlyOpen) {
  const Mapping map(Open("file", O_RDONLY), 10, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  map.data()[0] = 'X';
  EXPECT_EQ(map.Text(0, 2), "X1");
}

TEST_F(Mapped, OutlivesItsDescriptor) {
  const Mapping map(fd_, 10);
  fd_.Close();
  map.data()[9] = 'Z';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_EQ(Content("file"), "012345678Z");
}

TEST_F(Mapped, OutlivesItsName) {
  const Mapping map(fd_, 10);
  Must(::unlink("file"));
  map.data()[0] = 'Z';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_EQ(At(fd_, 0, 3), "Z12");
}

TEST_F(Mapped, SyncKinds) {
  const Mapping map(fd_, 10);
  map.data()[0] = 'a';
  EXPECT_EQ(map.Sync(MS_ASYNC), kOk);
  EXPECT_EQ(map.Sync(MS_SYNC | MS_INVALIDATE), kOk);
  EXPECT_EQ(map.Sync(MS_SYNC | MS_ASYNC), Fails(EINVAL));
  EXPECT_EQ(Did(::msync(map.data() + 1, 1, MS_SYNC)), Fails(EINVAL));
}

TEST_F(Mapped, RestOfTheLastPageIsZeroAndNotWritten) {
  const Mapping map(fd_, kPage);
  EXPECT_EQ(map.Text(10, 3), std::string(3, '\0'));
  map.data()[10] = 'X';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_EQ(Content("file"), "0123456789");
  Must(::ftruncate(fd_, 12));
  EXPECT_EQ(Content("file"), std::string("0123456789\0\0", 12));
}

TEST_F(Mapped, BeyondTheLastPageIsSigbus) {
  const Mapping map(fd_, 3 * kPage);
  EXPECT_EQ(Touch(map.data() + kPage - 1), Gives(0));
  EXPECT_EQ(Touch(map.data() + kPage), Dies(SIGBUS));
  EXPECT_EQ(Touch(map.data() + 2 * kPage, true), Dies(SIGBUS));
}

TEST_F(Mapped, TruncatedUnderTheMappingIsSigbus) {
  Must(::ftruncate(fd_, 2 * kPage));
  const Mapping map(fd_, 2 * kPage);
  map.data()[kPage] = 'x';
  Must(::ftruncate(fd_, kPage));
  EXPECT_EQ(Touch(map.data() + kPage), Dies(SIGBUS));
  EXPECT_EQ(Touch(map.data()), Gives('0'));
}

TEST_F(Mapped, TruncatedAndGrownAgainIsZero) {
  Must(::ftruncate(fd_, 2 * kPage));
  const Mapping map(fd_, 2 * kPage);
  std::memset(map.data(), 'x', 2 * kPage);
  Must(::ftruncate(fd_, 5));
  Must(::ftruncate(fd_, 2 * kPage));
  EXPECT_EQ(map.Text(0, 7), std::string("xxxxx\0\0", 7));
  EXPECT_EQ(map.data()[kPage], '\0');
}

TEST_F(Mapped, GrownUnderTheMapping) {
  const Mapping map(fd_, 2 * kPage);
  Must(::pwrite(fd_, "far", 3, kPage));
  EXPECT_EQ(map.Text(kPage, 3), "far");
}

TEST_F(Mapped, StoresOverManyPages) {
  Must(::ftruncate(fd_, 500 * kPage));
  {
    const Mapping map(fd_, 500 * kPage);
    for (size_t page = 0; page < 500; ++page) {
      std::memcpy(map.data() + page * kPage, &page, sizeof page);
    }
    EXPECT_EQ(map.Sync(), kOk);
  }
  const Fd fd = Open("file", O_RDONLY);
  for (size_t page = 0; page < 500; ++page) {
    size_t found = ~0ul;
    Must(::pread(fd, &found, sizeof found, page * kPage));
    ASSERT_EQ(found, page);
  }
}

TEST_F(Mapped, StoreIntoAHoleAllocates) {
  Must(::ftruncate(fd_, 100 * kPage));
  Must(::fsync(fd_));
  const long before = Fstat(fd_).st_blocks;
  const Mapping map(fd_, 100 * kPage);
  map.data()[50 * kPage] = 'x';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_GT(Fstat(fd_).st_blocks, before);
}

TEST_F(Mapped, AtAnOffset) {
  Must(::ftruncate(fd_, 3 * kPage));
  Must(::pwrite(fd_, "there", 5, 2 * kPage));
  EXPECT_EQ(Mapping(fd_, 5, PROT_READ, MAP_SHARED, 2 * kPage).Text(0, 5), "there");
}

TEST_F(Mapped, StoreMovesModificationTime) {
  const timespec old[2] = {{100, 0}, {200, 0}};
  Must(::futimens(fd_, old));
  const Mapping map(fd_, 10);
  map.data()[0] = 'x';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_GT(Fstat(fd_).st_mtim.tv_sec, 1'000'000'000);
}

TEST_F(Mapped, OfADirectOpen) {
  const Fd direct = Open("file", O_RDWR | O_DIRECT);
  const Mapping map(direct, 10);
  map.data()[0] = 'D';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_EQ(Content("file"), "D123456789");
}

TEST_F(Mapped, SharedOfAnAppendingOpen) {
  const Fd append = Open("file", O_RDWR | O_APPEND);
  const Mapping map(append, 10);
  map.data()[0] = 'A';
  EXPECT_EQ(map.Sync(), kOk);
  EXPECT_EQ(Content("file"), "A123456789");
}

TEST_F(Mapped, PrivateOfAnAppendingOpen) {
  EXPECT_EQ(Mapping(Open("file", O_RDWR | O_APPEND), 10, PROT_READ, MAP_PRIVATE).Text(0, 3), "012");
}

TEST_F(Mapped, Executable) {
  EXPECT_EQ(Mapping(fd_, 10, PROT_READ | PROT_EXEC, MAP_PRIVATE).Text(0, 3), "012");
}

Outcome TryMap(const char* path, int flags, int protection, int kind, off_t offset = 0, size_t size = 10) {
  void* const data = ::mmap(nullptr, size, protection, kind, Open(path, flags), offset);
  return data == MAP_FAILED ? Fails(errno) : kOk;
}

BATON_PARITY_TABLE(
    MapErrors,
    {
        {"SharedWritableOfAReadOnlyOpen",
         [] { return TryMap("file", O_RDONLY, PROT_READ | PROT_WRITE, MAP_SHARED); }, Fails(EACCES)},
        {"WriteOnlyOpen", [] { return TryMap("file", O_WRONLY, PROT_WRITE, MAP_SHARED); }, Fails(EACCES)},
        {"Directory", [] { return TryMap("dir", O_RDONLY, PROT_READ, MAP_SHARED); }, Fails(ENODEV)},
        {"Fifo", [] { return TryMap("fifo", O_RDWR, PROT_READ, MAP_SHARED); }, Fails(ENODEV)},
        {"PathOnly", [] { return TryMap("file", O_PATH, PROT_READ, MAP_SHARED); }, Fails(EBADF)},
        {"UnalignedOffset", [] { return TryMap("file", O_RDONLY, PROT_READ, MAP_SHARED, 1); }, Fails(EINVAL)},
        {"NoLength", [] { return TryMap("file", O_RDONLY, PROT_READ, MAP_SHARED, 0, 0); }, Fails(EINVAL)},
        {"Neither", [] { return TryMap("file", O_RDONLY, PROT_READ, 0); }, Fails(EINVAL)},
        {"WhollyBeyondTheEnd", [] { return TryMap("file", O_RDONLY, PROT_READ, MAP_SHARED, 1 << 20); }, kOk},
        {"ReadIntoAMappingOfItself",
         [] {
           const Fd fd = Open("file", O_RDWR);
           const Mapping map(fd, 10);
           return Did(::pread(fd, map.data(), 5, 5));
         },
         Gives(5)},
        {"WriteFromAMappingOfAnother",
         [] {
           const Mapping map(Open("file", O_RDWR), 10);
           const Fd other = Open("other", O_RDWR | O_CREAT);
           Must(::write(other, map.data(), 10));
           return Gives(Content("other") == "0123456789");
         },
         Gives(1)},
    });

}  // namespace
}  // namespace baton::parity
