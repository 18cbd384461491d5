// Extended attributes and the ACLs among them.
#include <fmt/format.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "walk/operation.h"

namespace baton::walk {
namespace {

constexpr const char* kAccessAcl = "system.posix_acl_access";
constexpr const char* kDefaultAcl = "system.posix_acl_default";

std::string DrawName(Random& random) {
  return random.OneOf<std::string>(
      {"user.a", "user.a", "user.b", "user.c", "user.", "trusted.a", "security.walk", "foreign.a", "plain",
       "", "user." + std::string(250, 'n'), "user." + std::string(251, 'n'), kAccessAcl, kDefaultAcl});
}

std::string EntryOf(int tag, unsigned permissions, std::uint32_t id) {
  posix_acl_xattr_entry entry{};
  entry.e_tag = static_cast<__le16>(tag);
  entry.e_perm = static_cast<__le16>(permissions);
  entry.e_id = id;
  return {reinterpret_cast<const char*>(&entry), sizeof entry};
}

std::string DrawAcl(Draw& draw) {
  Random& random = draw.random;
  const auto permissions = [&] { return random.Chance(50) ? 7u : static_cast<unsigned>(random.Below(8)); };
  constexpr std::uint32_t kNone = 0xffffffff;
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string acl(reinterpret_cast<const char*>(&header), sizeof header);
  acl += EntryOf(0x01, permissions(), kNone);
  const bool user = random.Chance(60), group = random.Chance(40);
  if (user) acl += EntryOf(0x02, permissions(), draw.people.All().back().uid);
  acl += EntryOf(0x04, permissions(), kNone);
  if (group) acl += EntryOf(0x08, permissions(), 13100);
  const bool mask = random.Chance(90) ? user || group : random.Chance(50);  // one that is missing is an error
  if (mask) acl += EntryOf(0x10, permissions(), kNone);
  acl += EntryOf(0x20, permissions(), kNone);
  if (random.Chance(4)) acl.resize(acl.size() - 3);
  return acl;
}

std::string DrawValue(Draw& draw, const std::string& name) {
  if (name.starts_with("system.")) return DrawAcl(draw);
  return draw.Bytes(draw.random.OneOf<std::size_t>({0, 1, 5, 20, 100, 1000, 3000, 5000, 65536, 65537}));
}

Operation Set(Draw& draw) {
  const std::string path = draw.Path(), name = DrawName(draw.random), value = DrawValue(draw, name);
  const int flags =
      draw.random.OneOf<int>({0, 0, 0, XATTR_CREATE, XATTR_REPLACE, XATTR_CREATE | XATTR_REPLACE, 8});
  const bool follow = draw.random.Chance(80);
  Operation made{.text = fmt::format("{}setxattr {} {} {} flags {}", follow ? "" : "l", Quoted(path),
                                     Quoted(name), Quoted(value), flags),
                 .paths = {path}};
  made.act = [=](Side& side) {
    const std::string real = side.Expand(path);
    return Did(
        (follow ? ::setxattr : ::lsetxattr)(real.c_str(), name.c_str(), value.data(), value.size(), flags));
  };
  return made;
}

Operation SetAcl(Draw& draw) {
  const std::string path = draw.Path(), value = DrawAcl(draw);
  const char* name = draw.random.Chance(60) ? kAccessAcl : kDefaultAcl;
  Operation made{.text = fmt::format("setxattr {} {} {}", Quoted(path), name, Quoted(value)),
                 .paths = {path}};
  made.act = [=](Side& side) {
    return Did(::setxattr(side.Expand(path).c_str(), name, value.data(), value.size(), 0));
  };
  return made;
}

Operation Get(Draw& draw) {
  const std::string path = draw.Path(), name = DrawName(draw.random);
  const std::size_t size = draw.random.OneOf<std::size_t>({XATTR_SIZE_MAX, XATTR_SIZE_MAX, 0, 1, 19, 20});
  const bool follow = draw.random.Chance(80);
  Operation made{
      .text = fmt::format("{}getxattr {} {} size {}", follow ? "" : "l", Quoted(path), Quoted(name), size),
      .paths = {path}};
  made.act = [=](Side& side) {
    std::string value(XATTR_SIZE_MAX, '\0');
    const std::string real = side.Expand(path);
    Result result = Did((follow ? ::getxattr : ::lgetxattr)(real.c_str(), name.c_str(), value.data(), size));
    if (result.error == 0 && size > 0) result.data = value.substr(0, result.value);
    return result;
  };
  return made;
}

Operation List(Draw& draw) {
  const std::string path = draw.Path();
  const std::size_t size = draw.random.OneOf<std::size_t>({XATTR_LIST_MAX, XATTR_LIST_MAX, 0, 1, 7});
  const bool follow = draw.random.Chance(80);
  Operation made{.text = fmt::format("{}listxattr {} size {}", follow ? "" : "l", Quoted(path), size),
                 .paths = {path}};
  made.act = [=](Side& side) {
    std::string names(XATTR_LIST_MAX, '\0');
    const std::string real = side.Expand(path);
    Result result = Did((follow ? ::listxattr : ::llistxattr)(real.c_str(), names.data(), size));
    if (result.error != 0 || size == 0) return result;
    std::vector<std::string> sorted;  // in which order they come is the file system's affair
    for (const char* name = names.data(); name < names.data() + result.value; name += std::strlen(name) + 1)
      sorted.emplace_back(name);
    std::ranges::sort(sorted);
    for (const std::string& name : sorted) result.data += name + " ";
    return result;
  };
  return made;
}

Operation Remove(Draw& draw) {
  const std::string path = draw.Path(), name = DrawName(draw.random);
  const bool follow = draw.random.Chance(80);
  Operation made{.text = fmt::format("{}removexattr {} {}", follow ? "" : "l", Quoted(path), Quoted(name)),
                 .paths = {path}};
  made.act = [=](Side& side) {
    return Did((follow ? ::removexattr : ::lremovexattr)(side.Expand(path).c_str(), name.c_str()));
  };
  return made;
}

}  // namespace

std::vector<Kind> XattrKinds() {
  return {{"setxattr", 5, Set},
          {"setacl", 3, SetAcl},
          {"getxattr", 3, Get},
          {"listxattr", 1, List},
          {"removexattr", 3, Remove}};
}

}  // namespace baton::walk
