#include "oracle/lock_script.h"

#include <algorithm>
#include <sstream>

namespace baton::oracle {
namespace {

std::optional<std::uint64_t> ParseOffset(const std::string& text) {
  if (text == "$") return kRangeEnd;
  if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != std::string::npos)
    return {};
  const std::uint64_t offset = std::stoull(text);
  return offset <= kRangeEnd ? std::optional(offset) : std::nullopt;
}

bool IsOwner(const std::string& text) {
  return text.size() >= 2 && std::string("pof").find(text[0]) != std::string::npos && text.size() <= 5 &&
         text.find_first_not_of("0123456789", 1) == std::string::npos;
}

bool ParseRange(std::istream& words, ByteRange& range) {
  std::string start;
  std::string last;
  if (!(words >> start >> last)) return false;
  const auto from = ParseOffset(start);
  const auto to = ParseOffset(last);
  if (!from || !to || *from > *to) return false;
  range = {*from, *to};
  return true;
}

}  // namespace

std::optional<Command> ParseCommand(const std::string& line) {
  std::istringstream words(line);
  Command command;
  if (!(words >> command.owner >> command.verb) || !IsOwner(command.owner)) return {};
  if (command.verb == "cancel") return command;
  if (!(words >> command.file)) return {};
  if (command.verb == "close") return command;
  const bool typed = command.verb == "lock" || command.verb == "wait" || command.verb == "test";
  if (!typed && command.verb != "unlock") return {};
  if (typed && (!(words >> command.type) || std::string("rwu").find(command.type) == std::string::npos))
    return {};
  if (command.type == 'u' && (command.verb != "test" || command.owner[0] != 'o')) return {};
  if (command.owner[0] == 'f') return command.verb == "test" ? std::nullopt : std::optional(command);
  return ParseRange(words, command.range) ? std::optional(command) : std::nullopt;
}

std::string ToString(char type, const ByteRange& range) {
  const std::string last = range.last == kRangeEnd ? "$" : std::to_string(range.last);
  return (type == 0 ? "" : std::string(1, type) + " ") + std::to_string(range.start) + " " + last;
}

std::string ToString(const Command& command) {
  std::string text = command.owner + " " + command.verb;
  if (command.verb == "cancel") return text;
  text += " " + command.file;
  if (command.verb == "close") return text;
  if (command.owner[0] == 'f') return command.type == 0 ? text : text + " " + command.type;
  return text + " " + ToString(command.type, command.range);
}

std::string WithGranted(std::string answer, std::vector<std::string> granted) {
  if (granted.empty()) return answer;
  std::sort(granted.begin(), granted.end());
  answer += " granted";
  for (const std::string& owner : granted) answer += " " + owner;
  return answer;
}

}  // namespace baton::oracle
