// A second process that a case drives step by step: for locks, FIFOs and everything else where it matters
// whose process a call is. It has the case's working directory; it ends with the object. Steps are functions
// without captures, since the partner has only what the case's process had when it was started, and a state
// of its own.
#pragma once

#include "parity/parity.h"

namespace baton::parity {

class Partner {
 public:
  // The partner's own: descriptors that its steps open.
  struct State {
    int fd = -1;
    int other = -1;
  };
  using Step = Outcome (*)(State&);

  Partner();
  ~Partner();
  Partner(const Partner&) = delete;
  Partner& operator=(const Partner&) = delete;

  Outcome Do(Step step);
  // A step that may wait: Begin it, see that it waits (in a system call, not on its next step), and fetch its
  // outcome.
  void Begin(Step step);
  // False if it ended instead, or did not come to wait within ten seconds.
  bool Waits();
  // {kBroken, ETIMEDOUT} if it takes longer than ten seconds.
  Outcome Result();
  // Interrupts a waiting step with a signal whose handler does nothing.
  void Interrupt();
  // Ends it without a word.
  void Kill();
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] static void Serve(int channel);
  bool Answered(int milliseconds) const;

  Fd channel_;
  pid_t pid_ = -1;
};

}  // namespace baton::parity
