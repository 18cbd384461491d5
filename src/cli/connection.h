// ControlConnection: batond's control socket as the command sees it: one request, then lines. Blocking; one
// thread.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "base/unique_fd.h"

namespace baton::cli {

using Json = nlohmann::ordered_json;

class ControlConnection {
 public:
  // The error is what to tell the person: which socket, why, what to try.
  static tl::expected<ControlConnection, std::string> Open(const std::filesystem::path& state_dir);

  // False: batond went away; Next may still find an answer.
  bool Ask(const Json& request);
  // The next line, without its newline. Nothing: batond closed the connection.
  std::optional<std::string> Next();

 private:
  explicit ControlConnection(UniqueFd socket) : socket_(std::move(socket)) {}

  UniqueFd socket_;
  std::string buffer_;
  std::size_t read_ = 0;
};

}  // namespace baton::cli
