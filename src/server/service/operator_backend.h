// OperatorBackend: what `baton` asks and orders, answered from the coordinator (see control_backend.h). Any thread.
#pragma once

#include <functional>
#include <string>

#include "server/service/control_backend.h"
#include "server/service/coordinator.h"
#include "server/store/backing_store.h"

namespace baton::server {

class OperatorBackend final : public ControlBackend {
 public:
  // `status`: what does not change while the server runs; `connections`: how many there are now.
  OperatorBackend(StatusInfo status, Coordinator& coordinator, store::BackingStore& store, StateStore& state, const Clock& clock,
                  std::function<std::uint64_t()> connections);

  StatusInfo Status() override;
  std::vector<SessionRow> Sessions() override;
  std::vector<InstanceInfo> Instances() override;
  ControlAnswer<std::vector<OpenInfo>> Opens(const std::optional<std::string>& path) override;
  ControlAnswer<std::vector<LockInfo>> Locks(const std::optional<std::string>& path) override;
  void Fence(const Guid& guid, Fenced done) override;
  ControlAnswer<> Reset(const Guid& guid) override;
  ControlAnswer<> Forget(const Guid& guid) override;
  ControlAnswer<> BackUpState(const std::string& file, bool replace) override;

 private:
  // The file that a path of the export names; an error if there is none.
  ControlAnswer<FileKey> FileAt(const std::string& path);

  const StatusInfo status_;
  Coordinator& coordinator_;
  store::BackingStore& store_;
  StateStore& state_;
  const Clock& clock_;
  const std::function<std::uint64_t()> connections_;
  const Instant started_;
};

}  // namespace baton::server
