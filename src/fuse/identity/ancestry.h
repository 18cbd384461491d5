// Ancestry: a process and its living ancestors as /proc has them now, each with its record in the process
// table; and which id each of them carries (rule I2; rule T7: a child that drops the id is still a member).
// No epochs. Any thread that may block.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fuse/identity/environment.h"
#include "fuse/identity/proc_reader.h"
#include "fuse/identity/process_table.h"
#include "fuse/identity/registry.h"

namespace baton {

struct Ancestor {
  TaskStat stat;
  ProcessRecord record;
};

struct Ancestry {
  std::vector<Ancestor> chain;  // the process itself first
  bool cut = false;             // the last one's parent exists but cannot be read
};

class AncestryReader {
 public:
  using ReadProgramXattr = std::function<ProgramXattr(pid_t pid)>;
  AncestryReader(const ProcReader& proc, ProcessTable* table, ReadProgramXattr read_program_xattr,
                 VariableNames names)
      : proc_(proc), table_(table), read_program_xattr_(std::move(read_program_xattr)), names_(names) {}

  // `reader` is a living thread of the process `tgid`: its leader may have ended already.
  Result<Ancestry> Read(pid_t tgid, pid_t reader) const;

 private:
  Result<Ancestor> Load(pid_t tgid, pid_t reader) const;
  Result<ProcessRecord> ReadRecord(const TaskStat& stat, pid_t reader) const;

  const ProcReader& proc_;
  ProcessTable* table_;
  ReadProgramXattr read_program_xattr_;
  VariableNames names_;
};

// The id one process carries.
struct Carried {
  std::optional<Membership> member;  // epoch and owner are not set
  RegistrationId registration{};
  std::string malformed;
};

// For each process of the chain. Completes the records of children that were forked and have not called exec
// with what is known of their parent's environment.
std::vector<Carried> CarriedIds(Ancestry* ancestry, const Registry& registry, ProcessTable* table);

}  // namespace baton
