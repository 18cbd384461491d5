#include "fuse/ops/mount.h"
#include "fuse/ops/operations.h"

namespace baton::ops {

void Init(void* mount, fuse_conn_info* connection) {
  // The kernel enforces ACLs as it does modes, the server's file system applies the umask (unless a default ACL stands in
  // its place) and takes the set-id bits away; the kernel would ask for that in the name of a writer who must not.
  constexpr unsigned kWanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
                               FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                               FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_IOCTL_DIR | FUSE_CAP_POSIX_ACL |
                               FUSE_CAP_DONT_MASK | FUSE_CAP_HANDLE_KILLPRIV;
  // Splice would copy a WRITE's data once more; the writeback cache believes its own size and time (rule C3).
  // With AUTO_INVAL_DATA a read asks for a size that is no longer believed, also a smaller one (rule C1); with
  // EXPLICIT_INVAL_DATA a size that another node changed would keep the pages, and a reader at the end would get the
  // zeros behind it in the last page (rule C2).
  constexpr unsigned kUnwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                 FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_EXPLICIT_INVAL_DATA;
  connection->want = (connection->want | (kWanted & connection->capable)) & ~kUnwanted;
  connection->max_write = protocol::kMaxDataSize;
  connection->max_readahead = protocol::kMaxDataSize;
  // Requests that nobody waits for (readahead, page-cache writes): enough to fill the link.
  connection->max_background = 64;
  connection->congestion_threshold = 48;
  static_cast<Mount*>(mount)->kernel.SetUsable();
}

fuse_lowlevel_ops Table() {
  fuse_lowlevel_ops table{};
  table.init = &Init;
  table.lookup = &Lookup;
  table.forget = &Forget;
  table.forget_multi = &ForgetMulti;
  table.getattr = &Getattr;
  table.setattr = &Setattr;
  table.readlink = &Readlink;
  table.mknod = &MakeNode;
  table.mkdir = &MakeDirectory;
  table.unlink = &Unlink;
  table.rmdir = &RemoveDirectory;
  table.symlink = &Symlink;
  table.rename = &Rename;
  table.link = &Link;
  table.open = &Open;
  table.create = &Create;
  table.read = &Read;
  table.write = &Write;
  table.fallocate = &Fallocate;
  table.lseek = &Lseek;
  table.copy_file_range = &CopyFileRange;
  table.flush = &Flush;
  table.release = &Release;
  table.fsync = &Fsync;
  table.opendir = &Opendir;
  table.readdir = &Readdir;
  table.readdirplus = &Readdirplus;
  table.releasedir = &Releasedir;
  table.fsyncdir = &FsyncDirectory;
  table.statfs = &Statfs;
  table.setxattr = &Setxattr;
  table.getxattr = &Getxattr;
  table.listxattr = &Listxattr;
  table.removexattr = &Removexattr;
  table.ioctl = &Ioctl;
  table.getlk = &Getlk;
  table.setlk = &Setlk;
  table.flock = &Flock;
  return table;
}

}  // namespace baton::ops
