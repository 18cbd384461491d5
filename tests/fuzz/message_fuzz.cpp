// libFuzzer target: every message of the operations table, decoded from arbitrary bytes.
#include "fuzz/harness/harness.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  baton::fuzz::Message(std::as_bytes(std::span(bytes, size)));
  return 0;
}
