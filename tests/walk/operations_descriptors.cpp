// What is done through open descriptors.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "walk/operation.h"
#include "walk/times.h"

namespace baton::walk {
namespace {

off_t DrawOffset(Random& random) {
  return random.OneOf<off_t>({0, 0, 1, 5, 100, 4095, 4096, 6000, 8192, -1});
}

// An operation on a slot that has something open; `draw_one` fills in text and act.
template <typename DrawOne>
Operation OnSlot(Draw& draw, const char* name, DrawOne draw_one) {
  const int slot = draw.Slot();
  if (slot == kNowhere) return Idle();
  Operation made;
  made.text = fmt::format("{} slot {}", name, slot);
  draw_one(made, slot, draw.held[static_cast<std::size_t>(slot)]);
  return made;
}

// Likewise of one that changes attributes: a directory that is removed takes none (docs/semantics.md).
template <typename DrawOne>
Operation OnAttributesOfSlot(Draw& draw, const char* name, DrawOne draw_one) {
  return OnSlot(draw, name, [&](Operation& made, int slot, const Held& held) {
    draw_one(made, slot);
    made.idle = made.idle || held.removed;
  });
}

Operation Write(Draw& draw) {
  return OnSlot(draw, "write", [&](Operation& made, int slot, const Held& held) {
    made.idle = draw.with_times && S_ISFIFO(held.type);  // the kernel sets no times of a mount's FIFOs
    const std::string bytes = draw.Bytes(draw.random.OneOf<std::size_t>({0, 1, 10, 100, 4096, 5000}));
    const off_t offset = draw.random.Chance(50) ? DrawOffset(draw.random) : -2;
    made.text += fmt::format(" {} at {}", Quoted(bytes), offset);
    made.as_opener_of = slot;
    made.act = [=](Side& side) {
      return Did(offset == -2 ? ::write(side.Fd(slot), bytes.data(), bytes.size())
                              : ::pwrite(side.Fd(slot), bytes.data(), bytes.size(), offset));
    };
  });
}

// Not where times are compared: what the node has in its pages it gives without asking the server, whose
// file's access time stays (docs/semantics.md).
Operation Read(Draw& draw) {
  if (draw.with_times) return Idle();
  return OnSlot(draw, "read", [&](Operation& made, int slot, const Held&) {
    const auto size = draw.random.OneOf<std::size_t>({0, 1, 100, 4096, 10000});
    const off_t offset = draw.random.Chance(50) ? DrawOffset(draw.random) : -2;
    made.text += fmt::format(" {} at {}", size, offset);
    made.act = [=](Side& side) {
      std::string bytes(size, '\0');
      Result result = Did(offset == -2 ? ::read(side.Fd(slot), bytes.data(), size)
                                       : ::pread(side.Fd(slot), bytes.data(), size, offset));
      if (result.error == 0) result.data = bytes.substr(0, result.value);
      return result;
    };
  });
}

Operation Seek(Draw& draw) {
  return OnSlot(draw, "lseek", [&](Operation& made, int slot, const Held& held) {
    // What a directory's offsets are is the file system's affair.
    const bool directory = S_ISDIR(held.type);
    const int whence =
        directory ? SEEK_SET : draw.random.OneOf({SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE, 9});
    const off_t offset = directory ? 0 : DrawOffset(draw.random);
    made.text += fmt::format(" {} whence {}", offset, whence);
    made.act = [=](Side& side) { return Did(::lseek(side.Fd(slot), offset, whence)); };
  });
}

Operation Ftruncate(Draw& draw) {
  return OnSlot(draw, "ftruncate", [&](Operation& made, int slot, const Held&) {
    const off_t size = draw.random.OneOf<off_t>({0, 1, 100, 4096, 5000, -1, off_t{1} << 62});
    made.text += fmt::format(" {}", size);
    made.as_opener_of = slot;
    made.act = [=](Side& side) { return Did(::ftruncate(side.Fd(slot), size)); };
  });
}

Operation Fallocate(Draw& draw) {
  return OnSlot(draw, "fallocate", [&](Operation& made, int slot, const Held&) {
    const int mode = draw.random.OneOf({0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE});
    const off_t offset = DrawOffset(draw.random), size = DrawOffset(draw.random);
    made.text += fmt::format(" mode {} {} {}", mode, offset, size);
    made.as_opener_of = slot;
    made.act = [=](Side& side) { return Did(::fallocate(side.Fd(slot), mode, offset, size)); };
  });
}

Operation Copy(Draw& draw) {
  if (draw.with_times) return Idle();
  return OnSlot(draw, "copy_file_range to", [&](Operation& made, int to, const Held&) {
    const int from = draw.Slot();
    if (from == kNowhere) {
      made.idle = true;
      return;
    }
    const auto size = draw.random.OneOf<std::size_t>({0, 1, 100, 5000});
    made.text += fmt::format(" from slot {} {}", from, size);
    made.as_opener_of = to;
    made.act = [=](Side& side) {
      return Did(::copy_file_range(side.Fd(from), nullptr, side.Fd(to), nullptr, size, 0));
    };
  });
}

Operation Fchmod(Draw& draw) {
  return OnAttributesOfSlot(draw, "fchmod", [&](Operation& made, int slot) {
    const mode_t mode = draw.Mode();
    made.text += " " + ModeText(mode);
    made.act = [=](Side& side) { return Did(::fchmod(side.Fd(slot), mode)); };
  });
}

Operation Fchown(Draw& draw) {
  return OnAttributesOfSlot(draw, "fchown", [&](Operation& made, int slot) {
    const uid_t uid = draw.random.In(draw.people.Users());
    const gid_t gid = draw.random.In(draw.people.Groups());
    made.text += fmt::format(" {} {}", static_cast<int>(uid), static_cast<int>(gid));
    made.idle = uid == static_cast<uid_t>(-1) && gid == static_cast<gid_t>(-1);  // by name is enough
    made.act = [=](Side& side) { return Did(::fchown(side.Fd(slot), uid, gid)); };
  });
}

Operation Futimens(Draw& draw) {
  return OnAttributesOfSlot(draw, "futimens", [&](Operation& made, int slot) {
    const Times times = DrawTimes(draw.random);
    made.text += " " + Text(times);
    made.act = [=](Side& side) { return Did(::futimens(side.Fd(slot), Argument(times))); };
  });
}

Operation Fxattr(Draw& draw) {
  return OnAttributesOfSlot(draw, "fsetxattr, fgetxattr or fremovexattr", [&](Operation& made, int slot) {
    const std::string name = draw.random.OneOf<std::string>({"user.a", "user.b", "trusted.a"});
    const auto what = draw.random.Below(3);
    const std::string value = draw.Bytes(draw.random.OneOf<std::size_t>({0, 5, 100}));
    made.text += fmt::format(" {} {} {}", what, name, Quoted(value));
    made.act = [=](Side& side) {
      if (what == 0) return Did(::fsetxattr(side.Fd(slot), name.c_str(), value.data(), value.size(), 0));
      if (what == 1) return Did(::fremovexattr(side.Fd(slot), name.c_str()));
      std::string got(8192, '\0');
      Result result = Did(::fgetxattr(side.Fd(slot), name.c_str(), got.data(), got.size()));
      if (result.error == 0) result.data = got.substr(0, result.value);
      return result;
    };
  });
}

Operation Listing(Draw& draw) {
  return OnSlot(draw, "getdents", [&](Operation& made, int slot, const Held&) {
    made.as_opener_of = slot;
    made.act = [=](Side& side) {
      // A mount reads with the rights that the opener has now (docs/semantics.md).
      if (const Result may =
              Did(::syscall(SYS_faccessat2, side.Fd(slot), "", R_OK, AT_EMPTY_PATH | AT_EACCESS));
          may.error != 0)
        return may;
      alignas(dirent64) char buffer[32768];
      std::vector<std::string> names;
      ::lseek(side.Fd(slot), 0, SEEK_SET);
      for (;;) {
        const Result got = Did(::syscall(SYS_getdents64, side.Fd(slot), buffer, sizeof buffer));
        if (got.error != 0) return got;
        if (got.value == 0) break;
        for (const char* at = buffer; at < buffer + got.value;
             at += reinterpret_cast<const dirent64*>(at)->d_reclen) {
          const auto* entry = reinterpret_cast<const dirent64*>(at);
          names.push_back(fmt::format("{}:{}", entry->d_name, entry->d_type));
        }
      }
      std::ranges::sort(names);
      Result result;
      for (const std::string& name : names) result.data += name + "\n";
      return result;
    };
  });
}

Operation Close(Draw& draw) {
  return OnSlot(draw, "close", [&](Operation& made, int slot, const Held&) {
    made.opens = slot;  // nothing
    made.act = [=](Side& side) { return Did(side.Close(slot)); };
  });
}

}  // namespace

std::vector<Kind> DescriptorKinds() {
  return {{"write", 8, Write},         {"read", 5, Read},           {"seek", 2, Seek},
          {"ftruncate", 3, Ftruncate}, {"fallocate", 2, Fallocate}, {"copy", 2, Copy},
          {"fchmod", 3, Fchmod},       {"fchown", 2, Fchown},       {"futimens", 2, Futimens},
          {"fxattr", 3, Fxattr},       {"getdents", 3, Listing},    {"close", 3, Close}};
}

}  // namespace baton::walk
