#include <cstring>
#include <memory>
#include <vector>

#include "fuse/ops/convert.h"
#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {
namespace {

using ReaddirAnswer = client::Answer<Operation::kReaddir>;
enum class Style { kPlain, kPlus };

// The kernel's buffer of directory entries, filled as far as they fit.
class EntryBuffer {
 public:
  explicit EntryBuffer(std::size_t size) : bytes_(size) {}

  // False: no room.
  bool Add(fuse_req_t request, const protocol::ReaddirEntry& entry) {
    struct stat attributes {};
    attributes.st_ino = entry.ino;
    attributes.st_mode = entry.type;
    return Took(fuse_add_direntry(request, Place(), Room(), entry.name.c_str(), &attributes,
                                  static_cast<off_t>(entry.cookie)));
  }
  bool AddPlus(fuse_req_t request, const protocol::ReaddirEntry& entry, const fuse_entry_param& param) {
    return Took(fuse_add_direntry_plus(request, Place(), Room(), entry.name.c_str(), &param,
                                       static_cast<off_t>(entry.cookie)));
  }
  std::span<const std::byte> Filled() const { return std::as_bytes(std::span(bytes_).first(filled_)); }

 private:
  char* Place() { return bytes_.data() + filled_; }
  std::size_t Room() const { return bytes_.size() - filled_; }
  bool Took(std::size_t needed) {
    if (needed > Room()) return false;
    filled_ += needed;
    return true;
  }

  std::vector<char> bytes_;
  std::size_t filled_ = 0;
};

bool IsDots(const std::string& name) {
  return name == "." || name == "..";
}

// An entry whose node the kernel gets counts as a lookup, except the dots.
bool AddPlus(Mount& mount, const KernelReply& reply, const std::shared_ptr<Inode>& directory,
             const protocol::ReaddirEntry& entry, EntryBuffer& buffer,
             std::vector<std::shared_ptr<Inode>>& counted) {
  fuse_entry_param param{};
  std::shared_ptr<Inode> inode;
  if (entry.node && !IsDots(entry.name)) {
    inode = mount.FillEntry(*entry.node, directory, entry.name, reply.Since(), param);
  } else {
    param.attr.st_ino = entry.ino;
    param.attr.st_mode = entry.type;
  }
  const bool fits = buffer.AddPlus(reply.Request(), entry, param);
  if (inode && fits) counted.push_back(inode);
  if (inode && !fits) mount.inodes.Forget(*inode, 1);
  return fits;
}

void Reply(Mount& mount, KernelReply reply, Style style, std::size_t size,
           const std::shared_ptr<Inode>& directory, const ReaddirAnswer& answer) {
  if (!answer.reply) return reply.Error(answer.reply.error().value);
  EntryBuffer buffer(size);
  std::vector<std::shared_ptr<Inode>> counted;
  for (const protocol::ReaddirEntry& entry : answer.reply->entries) {
    const bool fits = style == Style::kPlus ? AddPlus(mount, reply, directory, entry, buffer, counted)
                                            : buffer.Add(reply.Request(), entry);
    if (!fits) break;
  }
  if (reply.Data(buffer.Filled())) return;
  for (const auto& inode : counted) mount.inodes.Forget(*inode, 1);
}

void List(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, const fuse_file_info& info,
          Style style) {
  Mount& mount = Mount::Of(request);
  auto directory = mount.inodes.Get(number);
  mount.WhenReached(KernelReply(request), [&mount, directory, size, offset,
                                           &opened = OpenDirectories::Get(info.fh),
                                           style](KernelReply reply) {
    const protocol::ReaddirRequest readdir{directory->File(), static_cast<std::uint64_t>(offset),
                                           static_cast<std::uint32_t>(size), style == Style::kPlus,
                                           opened.opener};
    mount.Call<Operation::kReaddir>(std::move(reply), WaitKind::kPlain, readdir,
                                    [&mount, directory, size, style](KernelReply to, ReaddirAnswer&& answer) {
                                      Reply(mount, std::move(to), style, size, directory, answer);
                                    });
  });
}

}  // namespace

void Opendir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  // df and `cd` open the root, too: that waits for nobody (rule S5).
  Mount& mount = Mount::Of(request);
  mount.WithCaller(KernelReply(request), Purpose::kLookAtRoot,
                   [&mount, info = *info](KernelReply reply, protocol::Caller caller) mutable {
                     info.fh = mount.directories.Add(std::move(caller));
                     if (!reply.Open(info)) mount.directories.Remove(info.fh);
                   });
}

void Releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  Mount::Of(request).directories.Remove(info->fh);
  KernelReply(request).Ok();
}

void Readdir(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info* info) {
  List(request, number, size, offset, *info, Style::kPlain);
}

void Readdirplus(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset,
                 fuse_file_info* info) {
  List(request, number, size, offset, *info, Style::kPlus);
}

}  // namespace baton::ops
