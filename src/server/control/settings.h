// The settings of batond as one table: a row per option of the command line and key of the TOML file. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/control/config.h"

namespace baton {

struct Setting {
  enum class Kind : std::uint8_t { kText, kNumber, kFlag, kList };  // kList: may be given several times

  const char* name;  // as in --name, and as the key
  Kind kind;
  const char* value;  // what --help calls its value
  const char* help;
  // Writes it into the config; of a list all values, each ended by a zero byte. Answers what is wrong with
  // the value; empty: nothing.
  std::string (*apply)(std::string_view text, Config& config);
};

std::span<const Setting> AllSettings();
const Setting* FindSetting(std::string_view name);  // null: there is none

}  // namespace baton
