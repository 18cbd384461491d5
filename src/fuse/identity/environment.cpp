#include "fuse/identity/environment.h"

#include <fmt/format.h>

#include <algorithm>

namespace baton {
namespace {

bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool LooksLikeVariable(std::string_view entry) {
  std::size_t equals = entry.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  // bash exports functions as BASH_FUNC_name%%=
  return std::all_of(entry.begin(), entry.begin() + static_cast<std::ptrdiff_t>(equals),
                     [](char c) { return IsNameChar(c) || c == '%' || c == '.' || c == '-'; });
}

// The first variable of that name, as getenv(3) would find it.
std::optional<std::string_view> Find(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    std::string_view entry = text.substr(0, text.find('\0'));
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
      return entry.substr(name.size() + 1);
    }
    text.remove_prefix(std::min(text.size(), entry.size() + 1));
  }
  return std::nullopt;
}

void Malformed(std::string_view name, std::string_view value, OwnId* own) {
  own->kind = OwnId::Kind::kMalformed;
  own->what = fmt::format("{}='{}'", name, Excerpt(value));
}

}  // namespace

OwnId ReadOwnId(const Environ& environment, const VariableNames& names) {
  OwnId own;
  std::string_view text = environment.text;
  bool intact = LooksLikeVariable(text.substr(0, text.find('\0'))) && !environment.truncated;
  std::optional<std::string_view> instance = Find(text, names.instance);
  if (intact || instance) {
    std::string_view takeover = Find(text, names.takeover).value_or("");
    own.may_take_over = takeover.empty() || takeover == "yes";
  }
  if (!instance) {
    own.kind = intact ? OwnId::Kind::kNone : OwnId::Kind::kDestroyed;
    return own;
  }
  std::optional<Guid> guid = ParseGuid(*instance);
  if (!guid) {
    Malformed(names.instance, *instance, &own);
    return own;
  }
  own.guid = *guid;
  own.kind = OwnId::Kind::kId;
  if (std::optional<std::string_view> version = Find(text, names.version)) {
    own.version = ParseInstanceVersion(*version);
    if (!own.version) Malformed(names.version, *version, &own);
  }
  return own;
}

OwnId ReadProgramId(const ProgramXattr& program) {
  OwnId id;
  id.kind = OwnId::Kind::kNone;
  id.source = IdentitySource::kProgram;
  if (!program.value) return id;
  if (std::optional<Guid> guid = ParseGuid(*program.value)) {
    id.kind = OwnId::Kind::kId;
    id.guid = *guid;
  } else {
    Malformed("the program's xattr user.app_instance_id", *program.value, &id);
  }
  return id;
}

std::string Excerpt(std::string_view value) {
  constexpr std::size_t kMax = 128;
  std::string out;
  for (char c : value) {
    if (out.size() >= kMax) return out + "...";
    if (c >= ' ' && c <= '~' && c != '\\') {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace baton
