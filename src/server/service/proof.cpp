#include "server/service/proof.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "protocol/codec.h"
#include "protocol/messages.h"

namespace baton::server {
namespace {

constexpr std::size_t kMostGroups = 16;
constexpr std::size_t kMostProgram = 32;
constexpr std::size_t kMostAncestors = 16;
constexpr std::size_t kMostPath = 96;
constexpr std::size_t kMacSize = 16;
using Mac = std::array<unsigned char, kMacSize>;

Mac MacOf(const std::array<unsigned char, 32>& key, const void* bytes, std::size_t size) {
  Mac mac{};
  crypto_generichash(mac.data(), mac.size(), static_cast<const unsigned char*>(bytes), size, key.data(), key.size());
  return mac;
}

template <class List>
void Shorten(List& list, std::size_t most) {
  if (list.size() > most) list.resize(most);
}

}  // namespace

// Not the key itself, which seals file references.
ProofSeal::ProofSeal(const ServerKey& key) {
  static constexpr char kPurpose[] = "batonfs proof of an open";
  crypto_generichash(key_.data(), key_.size(), reinterpret_cast<const unsigned char*>(kPurpose), sizeof kPurpose,
                     reinterpret_cast<const unsigned char*>(key.data()), key.size());
}

std::string ProofSeal::Seal(Proof proof) const {
  Shorten(proof.groups, kMostGroups);
  Shorten(proof.program, kMostProgram);
  Shorten(proof.ancestors, kMostAncestors);
  if (proof.path.size() > kMostPath) proof.path = "..." + proof.path.substr(proof.path.size() - kMostPath + 3);
  std::vector<std::byte> body;
  protocol::Encoder(body).Put(proof);
  const Mac mac = MacOf(key_, body.data(), body.size());
  std::string sealed(reinterpret_cast<const char*>(mac.data()), mac.size());
  sealed.append(reinterpret_cast<const char*>(body.data()), body.size());
  BATON_CHECK(sealed.size() <= protocol::kMaxProofSize);
  return sealed;
}

std::optional<Proof> ProofSeal::Open(const std::string& sealed) const {
  if (sealed.size() < kMacSize || sealed.size() > protocol::kMaxProofSize) return std::nullopt;
  const std::string_view body = std::string_view(sealed).substr(kMacSize);
  const Mac mac = MacOf(key_, body.data(), body.size());
  if (sodium_memcmp(mac.data(), sealed.data(), mac.size()) != 0) return std::nullopt;
  const auto proof = protocol::Decode<Proof>(std::as_bytes(std::span(body.data(), body.size())));
  return proof ? std::optional(*proof) : std::nullopt;
}

}  // namespace baton::server
