// What the person who starts batond or batonfs has written: the command lines and the configuration.
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/duration.h"
#include "base/unique_fd.h"
#include "fuse/kernel/options.h"
#include "fuse/net/endpoint.h"
#include "fuzz/harness/choices.h"
#include "fuzz/harness/harness.h"
#include "server/control/config.h"

namespace baton::fuzz {
namespace {

constexpr Duration kCentury = std::chrono::hours(24 * 365 * 100);

void CheckConfig(const tl::expected<Config, ConfigExit>& config) {
  if (!config) {
    BATON_CHECK(!config.error().text.empty() && (config.error().code == 0 || config.error().code == 2));
    return;
  }
  BATON_CHECK(config->lease >= std::chrono::milliseconds(100) && config->lease <= std::chrono::hours(24));
  BATON_CHECK(config->reservation >= Duration::zero() && config->reservation <= std::chrono::hours(24));
  BATON_CHECK(config->limits.connections > 0 && config->export_dir.is_absolute());
  BATON_CHECK(config->stale_locks.size() <= 64 && !config->listen.host.empty());
}

}  // namespace

bool Configuration(std::span<const std::byte> input) {
  Choices choices(input);
  const bool is_file = (choices.Byte() & 1) == 0;
  std::vector<std::string> words{"batond"};
  UniqueFd file;
  if (is_file) {
    file.Reset(::memfd_create("config", MFD_CLOEXEC));
    const auto text = choices.Rest();
    BATON_CHECK(::write(file.Get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    words.insert(words.end(),
                 {"--config", "/proc/self/fd/" + std::to_string(file.Get()), "--export", "/usr"});
  } else {
    words.emplace_back("--export=/usr");
    for (std::string& word : Words(TextOf(choices.Rest()))) {
      if (!word.starts_with("--config"))
        words.push_back(std::move(word));  // it would be read, whatever it is
    }
  }
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const auto config = ReadConfig(static_cast<int>(arguments.size()), arguments.data());
  CheckConfig(config);
  return config.has_value();
}

bool Options(std::span<const std::byte> input) {
  const std::vector<std::string> words = Words(TextOf(input));
  for (const std::string& word : words) {
    const auto duration = ParseDuration(word);
    BATON_CHECK(!duration ||
                (*duration >= Duration::zero() && *duration <= kCentury + std::chrono::hours(24)));
    if (duration) BATON_CHECK(!ToString(*duration).empty());
    const auto endpoints = ParseEndpoints(word);
    if (!endpoints) continue;
    for (const Endpoint& endpoint : *endpoints) {
      const auto again = ParseEndpoints(ToString(endpoint));
      BATON_CHECK(endpoint.host.find(']') != std::string::npos ||
                  endpoint.host.find('[') != std::string::npos ||
                  (again && again->size() == 1 && again->front() == endpoint));
    }
  }
  const auto options = ParseMountOptions(words);
  if (!options) {
    BATON_CHECK(!options.error().empty());
    return false;
  }
  BATON_CHECK(options->op_timeout >= Duration::zero() && options->claim_wait >= Duration::zero());
  BATON_CHECK(options->attr_timeout >= 0 && options->entry_timeout >= 0);
  return true;
}

}  // namespace baton::fuzz
