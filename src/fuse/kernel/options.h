// The command line of the mount, as a value: `batonfs HOST[:PORT][,HOST2...] MOUNTPOINT [-f] [-o opt,...]`,
// and as mount(8) calls its helpers: `mount.batonfs SPEC DIR [-sfnv] [-N namespace] [-o options] [-t type]`.
// It does not look at the world: defaults that need the host name or the mount point's real path are filled
// in by main. Any thread.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "base/clock.h"
#include "base/log.h"

namespace baton {

struct MountOptions {
  enum class Task { kMount, kHelp, kVersion };
  Task task = Task::kMount;

  std::string servers;  // HOST[:PORT][,HOST2...], as written
  std::string mount_point;
  bool foreground = false;
  bool fake = false;  // mount(8) -f: check everything, mount nothing
  bool verbose = false;

  std::string node;  // empty: HOSTNAME:MOUNTPOINT
  Duration claim_wait = std::chrono::seconds(1);
  Duration op_timeout{};  // 0: wait for ever
  bool background_mount = false;  // the server need not be there yet
  bool allow_other = false;
  bool unidentified_anonymous = false;
  bool suid = false;
  bool read_only = false;
  std::string log_file;
  log::Level log_level = log::Level::kInfo;
  std::string instance_variable = "APP_INSTANCE_ID";
  std::string version_variable = "APP_INSTANCE_VERSION";
  std::string takeover_variable = "APP_INSTANCE_TAKEOVER";
  double attr_timeout = 1;                  // seconds
  double entry_timeout = 0;                 // seconds
  std::vector<std::string> kernel_options;  // for mount(2), as libfuse knows them
};

// The options, or one line that says what is wrong and names the word it is about. `arguments` are those of
// main, the program's name first: it decides which of the two command lines is meant.
tl::expected<MountOptions, std::string> ParseMountOptions(const std::vector<std::string>& arguments);

std::string_view MountUsage();

}  // namespace baton
