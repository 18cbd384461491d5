// Who is asking: texts of programs and of /proc.
#include <fstream>

#include "base/check.h"
#include "base/name_patterns.h"
#include "base/text.h"
#include "fuse/identity/environment.h"
#include "fuse/identity/registration.h"
#include "fuzz/harness/choices.h"
#include "fuzz/harness/harness.h"
#include "support/temp_dir.h"

namespace baton::fuzz {
namespace {

constexpr VariableNames kNames{"APP_INSTANCE_ID", "APP_INSTANCE_VERSION", "APP_INSTANCE_TAKEOVER"};

bool IsShowable(std::string_view text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

void CheckSame(const Result<Registration>& registration) {
  if (!registration) return;
  BATON_CHECK(!registration->guid.is_nil() && registration->pid >= 0);
  const InstanceVersion version = registration->version.value_or(InstanceVersion{});
  const std::string text = ToString(registration->guid) + " " + ToString(version) + " " +
                           std::to_string(std::max<pid_t>(registration->pid, 1));  // 0: none was given
  BATON_CHECK(ParseRegistration(text).has_value());
}

}  // namespace

bool Identity(std::span<const std::byte> input) {
  const std::string_view text = TextOf(input);
  const auto guid = ParseGuid(text);
  BATON_CHECK(!guid || (!guid->is_nil() && ParseGuid(ToString(*guid)) == guid));
  const auto version = ParseInstanceVersion(text);
  BATON_CHECK(!version || ParseInstanceVersion(ToString(*version)) == version);
  const Result<Registration> registration = ParseRegistration(text);
  CheckSame(registration);
  RegisterIoctl ioctl{};
  std::memcpy(&ioctl, input.data(), std::min(input.size(), sizeof ioctl));
  const Result<Registration> from_ioctl = ParseRegistration(ioctl);
  CheckSame(from_ioctl);
  const OwnId program = ReadProgramId({std::string(text)});
  BATON_CHECK((program.kind == OwnId::Kind::kId) == guid.has_value() && IsShowable(program.what));
  BATON_CHECK(IsShowable(Printable(text)) && IsShowable(Quoted(text)));
  if (NamePatterns::Check(text).empty()) (void)NamePatterns({std::string(text)}).Match("a.lock");
  return guid || version || registration || from_ioctl;
}

bool Environment(std::span<const std::byte> input) {
  Choices choices(input);
  const bool truncated = (choices.Byte() & 1) != 0;
  const std::string text(TextOf(choices.Rest()));
  const OwnId own = ReadOwnId({text, truncated}, kNames);
  BATON_CHECK(own.kind != OwnId::Kind::kUnreadable && IsShowable(own.what));
  BATON_CHECK((own.kind == OwnId::Kind::kMalformed) == !own.what.empty());
  std::optional<std::string> first;
  for (const std::string& word : Words(text)) {
    if (!first && word.starts_with("APP_INSTANCE_ID=")) first = word.substr(sizeof "APP_INSTANCE_ID");
  }
  const bool is_unknown = own.kind == OwnId::Kind::kNone || own.kind == OwnId::Kind::kDestroyed;
  BATON_CHECK(is_unknown == !first && (own.kind != OwnId::Kind::kNone || !truncated));
  BATON_CHECK(own.kind != OwnId::Kind::kId || ParseGuid(*first) == own.guid);
  return own.kind == OwnId::Kind::kId;
}

bool Proc(std::span<const std::byte> input) {
  static const test::TempDir folder;
  Choices choices(input);
  const std::uint8_t which = choices.Byte() % 3;
  const std::string_view text = TextOf(choices.Rest());
  if (which == 0) {
    const auto stat = ParseStat(text);
    BATON_CHECK(!stat || (stat->tid != 0 && stat->comm.size() < text.size()));
    return stat.has_value();
  }
  if (which == 1) {
    const auto status = ParseStatus(text);
    BATON_CHECK(!status || status->groups.size() < text.size());
    return status.has_value();
  }
  std::filesystem::create_directory(folder.Path() / "1");
  std::ofstream(folder.Path() / "1" / "cgroup", std::ios::binary) << text;
  const LinuxProcReader reader(folder.Path(), folder.Path() / "1");
  const auto cgroup = reader.ReadCgroup(1);
  BATON_CHECK(cgroup && cgroup->path.size() <= text.size());
  (void)reader.CgroupMayHoldProcesses(*cgroup);
  return cgroup->path != text;
}

}  // namespace baton::fuzz
