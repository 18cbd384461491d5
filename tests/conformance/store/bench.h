// What the store's conformance tests stand on: a directory of their own, a PosixStore on it, and
// CONFORMANCE(Name), a test that runs twice: by a server that is root for an ordinary caller, and by a server
// that is that ordinary user.
#pragma once

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/store/posix_store.h"
#include "server/store/thread_credentials.h"

namespace baton::store {

inline constexpr std::uint32_t kUser = 1000;
inline constexpr std::uint32_t kOther = 1001;
inline const StoreKey kKey{std::byte{7}, std::byte{1}};
inline const Credentials kRootUser{0, 0, {}};
inline const Credentials kMe{kUser, kUser, {}};
inline const Credentials kThem{kOther, kOther, {}};

// 0, or the errno.
template <class T>
int ErrorOf(const Result<T>& result) {
  return result ? 0 : result.error().value;
}

#define EXPECT_ERRNO(error, expression) EXPECT_EQ(error, ErrorOf(expression))
#define ASSERT_OK(expression) ASSERT_EQ(0, ErrorOf(expression))

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string ReadAll(StoreFile& file) {
  std::string text(1 << 16, '\0');
  const auto size = file.Read(std::as_writable_bytes(std::span(text)), 0);
  text.resize(size.value_or(0));
  return text;
}

class StoreBench {
 public:
  explicit StoreBench(PosixStore::Options options = {}) {
    std::string name = "/tmp/baton-store-XXXXXX";
    base_ = ::mkdtemp(name.data());
    exported_ = base_ / "export";
    std::filesystem::create_directory(exported_);
    ::chmod(base_.c_str(), 0755);
    ::chmod(exported_.c_str(), 0755);
    if (::geteuid() == 0 && ::chown(exported_.c_str(), kUser, kUser) != 0) std::abort();
    Reopen(options);
  }
  ~StoreBench() {
    store_.reset();
    BecomeServer();
    std::filesystem::remove_all(base_);
  }
  StoreBench(const StoreBench&) = delete;
  StoreBench& operator=(const StoreBench&) = delete;

  void Reopen(PosixStore::Options options = {}) {
    store_.reset();
    auto store = PosixStore::Open(exported_, kKey, options);
    if (!store) {
      ADD_FAILURE() << store.error();
      std::abort();
    }
    store_ = std::move(*store);
  }

  // As if the server were killed and started again. What it had open goes with it: nothing is closed.
  void Kill(std::vector<std::shared_ptr<StoreFile>> open, PosixStore::Options options = {}) {
    struct Dead {
      std::unique_ptr<PosixStore> store;
      std::vector<std::shared_ptr<StoreFile>> open;
    };
    static auto& dead = *new std::vector<Dead>;  // never destroyed
    dead.push_back({std::move(store_), std::move(open)});
    Reopen(options);
  }

  PosixStore& Store() { return *store_; }
  const std::filesystem::path& Dir() const { return exported_; }  // the export, seen from the server's side
  const std::filesystem::path& Base() const { return base_; }     // above it
  FileRef Root() { return store_->Root().ref; }

  // By root, or by the server's user: "a/b/c" from the root.
  Node At(const std::string& path) {
    Node node = store_->Root();
    for (const auto& name : std::filesystem::path(path)) {
      const auto next = store_->Lookup(::geteuid() == 0 ? kRootUser : kMe, node.ref, name.string());
      if (!next) {
        ADD_FAILURE() << path << " at " << name << ": " << next.error().value;
        return node;
      }
      node = *next;
    }
    return node;
  }
  // A file made past the store.
  void Put(const std::string& path, const std::string& text, mode_t mode = 0644,
           std::uint32_t owner = kUser) {
    BecomeServer();
    std::ofstream(exported_ / path) << text;
    ::chmod((exported_ / path).c_str(), mode);
    Own(path, owner);
  }
  void PutDirectory(const std::string& path, mode_t mode = 0755, std::uint32_t owner = kUser) {
    BecomeServer();
    std::filesystem::create_directory(exported_ / path);
    ::chmod((exported_ / path).c_str(), mode);
    Own(path, owner);
  }

 private:
  void Own(const std::string& path, std::uint32_t owner) {
    if (::geteuid() != 0) return;
    EXPECT_EQ(0, ::lchown((exported_ / path).c_str(), owner, owner));
  }

  std::filesystem::path base_;
  std::filesystem::path exported_;
  std::unique_ptr<PosixStore> store_;
};

// Runs `body` in a child process and fails if it failed there.
inline void InChild(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    std::thread(body).join();  // not one that acted already
    std::fflush(nullptr);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "failed in the child, status " << status;
}

inline void BecomeUser() {
  if (::setgroups(0, nullptr) != 0 || ::setgid(kUser) != 0 || ::setuid(kUser) != 0) std::abort();
}

#define CONFORMANCE(Name)                    \
  static void Name##Body(StoreBench& bench); \
  TEST(AsRoot, Name) {                       \
    StoreBench bench;                        \
    Name##Body(bench);                       \
  }                                          \
  TEST(AsUser, Name) {                       \
    InChild([] {                             \
      BecomeUser();                          \
      StoreBench bench;                      \
      Name##Body(bench);                     \
    });                                      \
  }                                          \
  static void Name##Body(StoreBench& bench)

}  // namespace baton::store
