// Who makes an operation, and who looks afterwards: root and three users with groups in common, or, for an
// ordinary user, himself only. Changes the ids of the whole process, which therefore has one thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace baton::walk {

struct Person {
  std::string name;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};

class People {
 public:
  People();

  bool AreMany() const { return persons_.size() > 1; }
  const std::vector<Person>& All() const { return persons_; }
  // The first one: root, or the ordinary user.
  const Person& Checker() const { return persons_.front(); }
  // From now on this process is `person`, with his real and effective ids and his groups.
  void Become(const Person& person) const;

  // What chown is given: theirs, somebody else's, and -1.
  std::vector<uid_t> Users() const;
  std::vector<gid_t> Groups() const;

 private:
  std::vector<Person> persons_;
};

}  // namespace baton::walk
