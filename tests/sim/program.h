// Program: what one process of a simulation does until it is killed, told to stop, or an error makes it give
// up: it appends to its log and syncs it, takes locks and does its work under them, contends with other
// instances for prizes (files that only one instance may write at a time), makes, renames and removes files.
// Everything it asks and hears goes to the Checker. A fiber of its node.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/checker.h"
#include "sim/mount.h"

namespace baton::sim {

inline constexpr int kPrizes = 2;
inline constexpr int kLocks = 2;
std::string PrizeName(int index);
std::string LockName(int index);

class Program {
 public:
  // `instance` -1: none.
  Program(Scheduler& scheduler, Checker& checker, Mount& mount, std::unique_ptr<Run> run, int instance);

  void Main();

  void Kill() { mount_.Kill(*run_); }
  void Stop() { is_to_stop_ = true; }
  bool has_ended() const { return has_ended_; }
  int run() const { return run_->id; }
  int rounds() const { return rounds_; }

 private:
  struct Opened {
    std::shared_ptr<OpenFile> file;
    std::uint64_t number = 0;
    TenureId tenure = kNoTenure;  // that ends with its close
    explicit operator bool() const { return file != nullptr; }
  };

  Opened Open(OpKind kind, const Mount::OpenWish& wish, TenureId tenure = kNoTenure);
  void Close(Opened& opened);
  bool Append(const Opened& to, std::vector<TenureId> under = {});
  bool Fsync(const Opened& file);
  bool Unlink(const std::string& name);
  bool Rename(const std::string& from, const std::string& to);

  void OneRound();
  void AppendRound();
  void LockRound();
  void PrizeRound();
  void FileRound();
  // Makes a file under a name of its own.
  Opened Make(std::string& name);

  // False: it gives up.
  bool Note(OpId op, const Mount::Outcome& outcome, Ino ino = 0, std::size_t size = 0);
  bool Chance(double probability) { return scheduler_.random().Chance(probability); }
  std::string InstanceGroup() const;

  Scheduler& scheduler_;
  Checker& checker_;
  Mount& mount_;
  const std::unique_ptr<Run> run_;
  const int instance_;
  bool is_to_stop_ = false;
  bool gives_up_ = false;
  bool has_ended_ = false;
  int rounds_ = 0;
  std::uint64_t last_open_ = 0;
  Opened log_;
};

}  // namespace baton::sim
