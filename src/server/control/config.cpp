#include "server/control/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <toml.hpp>

#include "base/state_dir.h"
#include "base/version.h"
#include "server/control/settings.h"

namespace baton {
namespace {

constexpr const char* kFooter = R"(The file of --config is TOML; its keys are the options' names, for example:
  export = "/srv/data"
  lease = "10s"
  squash-root = true
What the command line says counts more than the file.

Durations: 500ms, 10s, 2m, 1h. Exit codes: 0 ended as asked, 1 failed, 2 not started because of what it was told.)";

// What one source says: by name of the setting.
using Given = std::map<std::string_view, std::string>;

tl::unexpected<ConfigExit> Mistake(const std::string& text) {
  return tl::unexpected(ConfigExit{2, fmt::format("batond: {}\n", text)});
}

tl::expected<std::string, std::string> TextOfList(const toml::value& value) {
  std::string text;
  const auto add = [&text](const toml::value& element) {
    if (!element.is_string()) return false;
    text += element.as_string().str;
    text += '\0';
    return true;
  };
  const bool is_list = value.is_array() ? std::ranges::all_of(value.as_array(), add) : add(value);
  if (!is_list) return tl::unexpected(std::string(" must be a text in quotes, or a list of such"));
  return text;
}

// The value as the text that the command line would have had.
tl::expected<std::string, std::string> TextOf(const Setting& setting, const toml::value& value) {
  switch (setting.kind) {
    case Setting::Kind::kFlag:
      if (value.is_boolean()) return value.as_boolean() ? "true" : "false";
      return tl::unexpected(std::string(" must be true or false"));
    case Setting::Kind::kNumber:
      if (value.is_integer()) return std::to_string(value.as_integer());
      return tl::unexpected(std::string(" must be a whole number, without quotes"));
    case Setting::Kind::kText:
      if (value.is_string()) return value.as_string().str;
      return tl::unexpected(std::string(" must be a text in quotes"));
    case Setting::Kind::kList:
      return TextOfList(value);
  }
  return tl::unexpected(std::string(" has no type"));
}

// The TOML reader calls itself for every bracket that is open: a file full of them would end the process.
bool IsNestedTooDeep(std::string_view text) {
  constexpr std::ptrdiff_t kMostBrackets = 512;  // no setting needs any; the patterns of stale-locks may
  return std::ranges::count_if(text, [](char c) { return c == '[' || c == '{'; }) > kMostBrackets;
}

std::string ReadFile(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error(std::strerror(errno));
  return {std::istreambuf_iterator<char>(in), {}};
}

tl::expected<void, ConfigExit> ApplyFile(const std::string& file, Config& config) {
  toml::value root;
  try {
    const std::string text = ReadFile(file);
    if (IsNestedTooDeep(text))
      return Mistake(fmt::format("{}: more brackets than a configuration of batond has", file));
    std::istringstream stream(text);
    root = toml::parse(stream, file);
  } catch (const toml::exception& error) {
    return Mistake(fmt::format("{}:{}: not valid TOML: {}", file, error.location().line(), error.what()));
  } catch (const std::exception& error) {
    return Mistake(fmt::format("cannot read the configuration {}: {}", file, error.what()));
  }
  for (const auto& [key, value] : root.as_table()) {
    const auto wrong = [&, line = value.location().line()](const std::string& why) {
      return Mistake(fmt::format("{}:{}: \"{}\"{}", file, line, key, why));
    };
    std::string name = key;  // both spellings are usual in TOML
    std::ranges::replace(name, '_', '-');
    const Setting* setting = FindSetting(name);
    if (setting == nullptr) return wrong(" is no setting of batond; batond --help names them");
    const auto text = TextOf(*setting, value);
    if (!text) return wrong(text.error());
    if (const std::string why = setting->apply(*text, config); !why.empty()) return wrong(": " + why);
  }
  return {};
}

struct CommandLine {
  Given given;
  std::string config_file;
};

tl::expected<CommandLine, ConfigExit> ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app("batond serves a directory to batonfs mounts and decides who may have which file.", "batond");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("batond ") + Version());
  CommandLine line;
  app.add_option("--config", line.config_file, "read settings from this TOML file")->type_name("FILE");
  for (const Setting& setting : AllSettings()) {
    const std::string name = fmt::format("--{}", setting.name);
    const auto take = [&line, &setting](const std::string& value) { line.given[setting.name] = value; };
    if (setting.kind == Setting::Kind::kList) {
      const auto take_all = [&line, &setting](const std::vector<std::string>& values) {
        for (const std::string& value : values) line.given[setting.name] += value + '\0';
      };
      app.add_option_function<std::vector<std::string>>(name, take_all, setting.help)
          ->type_name(setting.value)
          ->allow_extra_args(false);
      continue;
    }
    if (setting.kind == Setting::Kind::kFlag) {
      app.add_flag_callback(
          name, [take] { take("true"); }, setting.help);
    } else {
      app.add_option_function<std::string>(name, take, setting.help)->type_name(setting.value);
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    if (app.exit(error, out, err) == 0) return tl::unexpected(ConfigExit{0, out.str()});
    return Mistake(fmt::format("{}; batond --help lists the options", error.what()));
  }
  return line;
}

// By its text alone: a name is not looked up.
bool IsLoopback(const std::string& host) {
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

// True if `inner` is `outer` or lies beneath it.
bool IsWithin(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const auto [end, at] = std::ranges::mismatch(outer, inner);
  return end == outer.end();
}

tl::expected<void, ConfigExit> CheckDirectories(Config& config) {
  if (config.export_dir.empty()) {
    return Mistake("--export is missing: name the directory to serve, for example batond --export /srv/data");
  }
  std::error_code error;
  const auto export_dir = std::filesystem::canonical(config.export_dir, error);
  if (error) {
    return Mistake(
        fmt::format("cannot serve the directory {}: {}", config.export_dir.string(), error.message()));
  }
  if (!std::filesystem::is_directory(export_dir, error)) {
    return Mistake(fmt::format("cannot serve {}: it is not a directory", config.export_dir.string()));
  }
  config.export_dir = export_dir;
  if (config.state_dir.empty()) config.state_dir = DefaultStateDir();
  if (config.state_dir.empty()) {
    return Mistake("there is no default state directory without HOME; name one with --state-dir");
  }
  config.state_dir = std::filesystem::weakly_canonical(std::filesystem::absolute(config.state_dir), error);
  if (error) return Mistake(fmt::format("cannot use the state directory: {}", error.message()));
  if (IsWithin(config.state_dir, config.export_dir)) {
    return Mistake(
        fmt::format("the state directory {} lies inside the export {}: its key would be served to everybody; "
                    "choose another with --state-dir",
                    config.state_dir.string(), config.export_dir.string()));
  }
  return {};
}

tl::expected<void, ConfigExit> Check(Config& config) {
  if (!config.insecure && !IsLoopback(config.listen.host)) {
    return Mistake(fmt::format(
        "will not listen on {}: it is not loopback, and without TLS anybody who reaches the port can "
        "read and write the export as any user. Listen on 127.0.0.1 and bring the nodes there by a "
        "tunnel (ssh -L, WireGuard), or accept the risk on a network you trust with --insecure",
        ToString(config.listen)));
  }
  return CheckDirectories(config);
}

}  // namespace

ArbiterOptions Config::Arbiter() const {
  ArbiterOptions options;
  options.reservation = reservation;
  options.lease = lease;
  options.scope = reclaim_scope;
  options.strict = strict;
  options.flap_limit = flap_limit;
  options.flap_window = flap_window;
  options.root_may = !squash_root;
  options.limits = limits;
  return options;
}

tl::expected<Config, ConfigExit> ReadConfig(int argc, const char* const* argv) {
  const auto line = ParseCommandLine(argc, argv);
  if (!line) return tl::unexpected(line.error());
  Config config;
  config.reservation = Duration(-1);  // not given
  if (!line->config_file.empty()) {
    if (auto applied = ApplyFile(line->config_file, config); !applied) return tl::unexpected(applied.error());
  }
  for (const auto& [name, value] : line->given) {
    if (const std::string why = FindSetting(name)->apply(value, config); !why.empty()) {
      return Mistake(fmt::format("--{}: {}", name, why));
    }
  }
  if (config.reservation < Duration::zero()) config.reservation = config.lease;
  if (auto checked = Check(config); !checked) return tl::unexpected(checked.error());
  return config;
}

}  // namespace baton
