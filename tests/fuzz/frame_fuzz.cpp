// libFuzzer target: the cutting of a byte stream into frames.
#include "fuzz/harness/harness.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  baton::fuzz::Frame(std::as_bytes(std::span(bytes, size)));
  return 0;
}
