#include "walk/walk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>
#include <numeric>

namespace baton::walk {
namespace {

constexpr std::size_t kRemembered = 10;
constexpr std::uint64_t kCompareAllEvery = 20;

// Files' times are of a clock that ticks slowly: waits until they cannot be any that there are already.
timespec NextTick() {
  timespec now, tick;
  ::clock_gettime(CLOCK_REALTIME, &now);
  do {
    ::clock_gettime(CLOCK_REALTIME_COARSE, &tick);
    if (std::pair(tick.tv_sec, tick.tv_nsec) > std::pair(now.tv_sec, now.tv_nsec)) return tick;
    const timespec little{0, 200'000};
    ::nanosleep(&little, nullptr);
  } while (true);
}

std::string ParentOf(const std::string& path) {
  const auto end = path.find_last_not_of('/');
  const auto slash = end == std::string::npos ? end : path.rfind('/', end);
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// It lies below a directory that its user may not search: a server that is not root finds it no more (rule
// A5).
bool IsShutIn(int fd) {
  std::string path(4 * PATH_MAX, '\0');
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
  if (size < 0) return false;
  path.resize(static_cast<std::size_t>(size));
  // A link is not followed: that would move its access time, and on this side only.
  return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == EACCES;
}

std::string NameOf(std::uint64_t seed) {
  return fmt::format("walk-{}-{}", ::getpid(), seed);
}

}  // namespace

Walk::Walk(const Options& options, const People& people)
    : options_(options),
      people_(people),
      random_(options.seed),
      with_times_(options.seed % 4 == 0),
      local_("local", options.local, NameOf(options.seed), people.AreMany()),
      mount_("mount", options.mount, NameOf(options.seed), people.AreMany()) {
  for (const auto& kinds : {NameKinds(), AttributeKinds(), XattrKinds(), DescriptorKinds()})
    kinds_.insert(kinds_.end(), kinds.begin(), kinds.end());
}

void Walk::Run() {
  while (number_ < options_.operations) {
    One();
    if (number_ % kCompareAllEvery == 0) CompareAll();
  }
  CompareAll();
  local_.Remove();
  mount_.Remove();
}

const Kind& Walk::DrawKind() {
  const auto add = [](std::uint64_t sum, const Kind& kind) { return sum + kind.weight; };
  std::uint64_t point = random_.Below(std::accumulate(kinds_.begin(), kinds_.end(), std::uint64_t{0}, add));
  for (const Kind& kind : kinds_) {
    if (point < kind.weight) return kind;
    point -= kind.weight;
  }
  return kinds_.front();
}

void Walk::One() {
  Draw draw{random_, people_, held_, with_times_, known_};
  const Kind& kind = DrawKind();
  const Operation operation = kind.draw(draw);
  if (operation.idle) return;
  const Person* opener = operation.as_opener_of == kNowhere
                             ? nullptr
                             : held_[static_cast<std::size_t>(operation.as_opener_of)].opener;
  const Person& person = opener != nullptr    ? *opener
                         : random_.Chance(25) ? people_.Checker()
                                              : random_.In(people_.All());
  const mode_t mask = random_.OneOf<mode_t>({0, 0, 0, 022, 022, 022, 027, 077, 0777});
  const bool look = random_.Chance(with_times_ ? 100 : 70) || options_.look_always;
  ++number_;
  if (with_times_) moment_ = NextTick();
  const std::string text =
      fmt::format("{:5} {} umask {:03o}: {}", number_, person.name, mask, operation.text);
  const Result local = Make(local_, operation, person, mask);
  const Result mount = Make(mount_, operation, person, mask);
  Remember(text + " = " + Told(local));
  ++(local.error == 0 ? counts_[kind.name].succeeded : counts_[kind.name].failed);
  if (local != mount) Fail(fmt::format("local: {}\n    mount: {}", Told(local), Told(mount)));
  if (!people_.AreMany() &&
      local_.IsShutIn()) {  // a server that is not root would find nothing of it (rule A5)
    local_.LetIn();
    mount_.LetIn();
  }
  if (local.error == 0) NoteSlot(operation, person);
  NoteRemoved();
  if (look) CompareTouched(operation);
}

Result Walk::Make(Side& side, const Operation& operation, const Person& person, mode_t mask) {
  side.Enter();
  people_.Become(person);
  ::umask(mask);
  const Result result = operation.act(side);
  ::umask(0);
  people_.Become(people_.Checker());
  return result;
}

void Walk::NoteSlot(const Operation& operation, const Person& person) {
  if (operation.opens == kNowhere) return;
  Held& held = held_[static_cast<std::size_t>(operation.opens)];
  const int fd = local_.Fd(operation.opens);
  if (fd < 0) {
    held = {};
  } else if (struct stat attributes; ::fstat(fd, &attributes) == 0) {
    held = {true, operation.flags, attributes.st_mode & S_IFMT, &person};
  }
}

// The server does not know of what is open but no regular file, or with O_PATH: without a name it is gone.
void Walk::NoteRemoved() {
  for (int slot = 0; slot < kSlots; ++slot) {
    Held& held = held_[static_cast<std::size_t>(slot)];
    struct stat attributes;
    if (!held.open || ::fstat(local_.Fd(slot), &attributes) != 0) continue;
    if (attributes.st_nlink > 0 && (people_.AreMany() || !IsShutIn(local_.Fd(slot)))) continue;
    if (attributes.st_nlink == 0 && S_ISDIR(held.type) && (held.flags & O_PATH) == 0) {
      held.removed = true;
    } else if (attributes.st_nlink > 0 || !S_ISREG(held.type) || (held.flags & O_PATH) != 0) {
      local_.Close(slot);
      mount_.Close(slot);
      held = {};
    }
  }
}

Look Walk::LookAt(Side& side, const Operation& operation) {
  side.Enter();
  Look look;
  // First what may be remembered of them, before anything makes the kernel ask.
  for (int slot = 0; slot < kSlots; ++slot) {
    if (side.Fd(slot) >= 0) look.emplace_back(fmt::format("slot {}", slot), side.SeeSlot(slot));
  }
  for (const std::string& path : operation.paths) look.emplace_back(path, side.See(path, false));
  for (const std::string& path : operation.paths) {
    look.emplace_back("parent " + ParentOf(path), side.See(ParentOf(path), true));
    look.emplace_back("followed " + path, side.See(path, true));
  }
  return look;
}

void Walk::CompareTouched(const Operation& operation) {
  const Look local = LookAt(local_, operation), mount = LookAt(mount_, operation);
  if (const std::string differs = Difference(local, mount, moment_); !differs.empty()) Fail(differs);
}

void Walk::CompareAll() {
  local_.Reopen();
  mount_.Reopen();
  const auto local = local_.SeeAll(!with_times_), mount = mount_.SeeAll(!with_times_);
  const std::string differs =
      Difference(Look(local.begin(), local.end()), Look(mount.begin(), mount.end()), {});
  if (!differs.empty()) Fail("the trees differ: " + differs);
  known_.clear();
  for (const auto& [path, seen] : local) known_.push_back(path.substr(2));
}

void Walk::Remember(const std::string& text) {
  if (last_.size() == kRemembered) last_.pop_front();
  last_.push_back(text);
}

void Walk::Fail(const std::string& what) {
  std::string text = fmt::format("seed {}, operation {}: they differ\n    {}\n  the last operations:\n",
                                 options_.seed, number_, what);
  for (const std::string& line : last_) text += "  " + line + "\n";
  throw Differs(text);
}

}  // namespace baton::walk
