#include "server/state/boot_id.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <fstream>

namespace baton {

tl::expected<BootId, std::string> ReadBootId(const std::filesystem::path& file) {
  BootId boot;
  std::ifstream in(file);
  if (!std::getline(in, boot.text) || boot.text.empty()) {
    return tl::unexpected(fmt::format("cannot read the machine's boot id from {}", file.string()));
  }
  static_assert(sizeof boot.number <= crypto_generichash_BYTES);
  unsigned char hash[crypto_generichash_BYTES];
  crypto_generichash(hash, sizeof hash, reinterpret_cast<const unsigned char*>(boot.text.data()), boot.text.size(),
                     nullptr, 0);
  std::copy_n(hash, sizeof boot.number, reinterpret_cast<unsigned char*>(&boot.number));
  boot.number |= 1;
  return boot;
}

}  // namespace baton
