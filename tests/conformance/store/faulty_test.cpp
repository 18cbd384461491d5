// FaultyStore: fails and stalls exactly what it was told to.
#include <thread>

#include "conformance/store/bench.h"
#include "server/store/faulty_store.h"

namespace baton::store {
namespace {

using std::chrono::seconds;

class FaultyStoreTest : public ::testing::Test {
 protected:
  FaultyStoreTest() {
    auto inner = PosixStore::Open(bench_.Dir(), kKey, {});
    store_ = MakeFaultyStore(std::move(*inner), faults_);
  }

  StoreBench bench_;
  std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
  std::unique_ptr<BackingStore> store_;
};

TEST_F(FaultyStoreTest, FailsAsOftenAsItWasTold) {
  faults_->FailNext(StoreOperation::kCreate, ENOSPC, 2);
  EXPECT_ERRNO(ENOSPC, store_->Create(kMe, bench_.Root(), "file", O_RDWR, 0644));
  EXPECT_ERRNO(ENOSPC, store_->Create(kMe, bench_.Root(), "file", O_RDWR, 0644));
  EXPECT_ERRNO(ENOENT, store_->Lookup(kMe, bench_.Root(), "file"));
  const auto created = store_->Create(kMe, bench_.Root(), "file", O_RDWR, 0644);
  ASSERT_OK(created);
  faults_->FailNext(StoreOperation::kSync, EIO);
  EXPECT_ERRNO(EIO, created->file->Sync(false));
  EXPECT_ERRNO(0, created->file->Sync(false));
}

TEST_F(FaultyStoreTest, AStalledWriteHasNoEffectUntilItIsReleased) {
  const auto created = store_->Create(kMe, bench_.Root(), "file", O_RDWR, 0644);
  ASSERT_OK(created);
  faults_->Stall(StoreOperation::kWrite);
  faults_->Stall(StoreOperation::kReadNoWait);
  std::thread writer([&] { EXPECT_EQ(4u, created->file->Write(Bytes("text"), 0).value_or(0)); });
  EXPECT_TRUE(faults_->AwaitStalled(StoreOperation::kWrite, 1, seconds(10)));
  EXPECT_EQ(0u, created->file->GetAttr()->size);
  std::array<std::byte, 4> buffer;
  EXPECT_ERRNO(EAGAIN, created->file->ReadNoWait(buffer, 0));
  faults_->Release(StoreOperation::kWrite);
  writer.join();
  EXPECT_EQ(4u, created->file->GetAttr()->size);
  EXPECT_FALSE(faults_->AwaitStalled(StoreOperation::kWrite, 1, std::chrono::milliseconds(1)));
}

}  // namespace
}  // namespace baton::store
