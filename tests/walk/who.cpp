#include "walk/who.h"

#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace baton::walk {
namespace {

constexpr gid_t kTeam = 13100;
constexpr gid_t kClub = 13200;
constexpr uid_t kNobodyHere = 13999;

void Must(int result) {
  if (result != 0) throw std::system_error(errno, std::generic_category(), "to become somebody else");
}

}  // namespace

People::People() {
  if (::geteuid() == 0) {
    persons_ = {{"root", 0, 0, {}},
                {"ann", 13001, 13001, {kTeam}},
                {"ben", 13002, 13002, {kTeam, kClub}},
                {"eve", 13003, 13003, {}}};
    return;
  }
  std::vector<gid_t> groups(static_cast<std::size_t>(::getgroups(0, nullptr)));
  ::getgroups(static_cast<int>(groups.size()), groups.data());
  persons_ = {{"user", ::geteuid(), ::getegid(), groups}};
}

void People::Become(const Person& person) const {
  if (!AreMany()) return;
  Must(::setresuid(0, 0, 0));
  Must(::setgroups(person.groups.size(), person.groups.data()));
  Must(::setresgid(person.gid, person.gid, person.gid));
  Must(::setresuid(person.uid, person.uid, 0));
  Must(::prctl(PR_SET_DUMPABLE, 1));  // or /proc/self/fd would be closed to him
}

std::vector<uid_t> People::Users() const {
  std::vector<uid_t> users{static_cast<uid_t>(-1), static_cast<uid_t>(-1), kNobodyHere};
  for (const Person& person : persons_) users.push_back(person.uid);
  return users;
}

std::vector<gid_t> People::Groups() const {
  std::vector<gid_t> groups{static_cast<gid_t>(-1), static_cast<gid_t>(-1), kTeam, kClub};
  for (const Person& person : persons_) {
    groups.push_back(person.gid);
    groups.insert(groups.end(), person.groups.begin(), person.groups.end());
  }
  return groups;
}

}  // namespace baton::walk
