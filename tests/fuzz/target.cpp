// A libFuzzer program: BATON_FUZZ_TARGET of the harness on each input.
#include "base/log.h"
#include "fuzz/harness/arbiter_events.h"
#include "fuzz/harness/harness.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  baton::log::Open("fuzz", "", baton::log::Level::kOff);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  baton::fuzz::BATON_FUZZ_TARGET(std::as_bytes(std::span(bytes, size)));
  return 0;
}
