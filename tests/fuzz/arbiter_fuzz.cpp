// libFuzzer target: the arbiter's events, from arbitrary bytes.
#include "fuzz/harness/arbiter_events.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  baton::fuzz::ArbiterEvents(std::as_bytes(std::span(bytes, size)));
  return 0;
}
