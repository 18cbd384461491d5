// The mount's operations, one file each, with libfuse's signatures: what is checked before and after the call
// to batond. Run on the kernel session's threads; the Mount is the request's userdata (mount.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "fuse/kernel/fuse_api.h"

namespace baton::ops {

void Init(void* mount, fuse_conn_info* connection);

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name);
void Forget(fuse_req_t request, fuse_ino_t number, std::uint64_t lookups);
void ForgetMulti(fuse_req_t request, std::size_t count, fuse_forget_data* forgets);
void Getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info* info);
void Setattr(fuse_req_t request, fuse_ino_t number, struct stat* attributes, int to_set,
             fuse_file_info* info);
void Readlink(fuse_req_t request, fuse_ino_t number);
void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device);
void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode);
void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name);
void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name);
void Symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name);
void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned int flags);
void Link(fuse_req_t request, fuse_ino_t number, fuse_ino_t new_parent, const char* new_name);

void Open(fuse_req_t request, fuse_ino_t number, fuse_file_info* info);
void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info);
void Read(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info* info);
void Write(fuse_req_t request, fuse_ino_t number, const char* data, std::size_t size, off_t offset,
           fuse_file_info* info);
void Fallocate(fuse_req_t request, fuse_ino_t number, int mode, off_t offset, off_t length,
               fuse_file_info* info);
void Lseek(fuse_req_t request, fuse_ino_t number, off_t offset, int whence, fuse_file_info* info);
void CopyFileRange(fuse_req_t request, fuse_ino_t from, off_t from_offset, fuse_file_info* from_info,
                   fuse_ino_t to, off_t to_offset, fuse_file_info* to_info, std::size_t length, int flags);
void Flush(fuse_req_t request, fuse_ino_t number, fuse_file_info* info);
void Release(fuse_req_t request, fuse_ino_t number, fuse_file_info* info);
void Fsync(fuse_req_t request, fuse_ino_t number, int data_only, fuse_file_info* info);

void Opendir(fuse_req_t request, fuse_ino_t number, fuse_file_info* info);
void Readdir(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info* info);
void Readdirplus(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info* info);
void Releasedir(fuse_req_t request, fuse_ino_t number, fuse_file_info* info);
void FsyncDirectory(fuse_req_t request, fuse_ino_t number, int data_only, fuse_file_info* info);
void Statfs(fuse_req_t request, fuse_ino_t number);

void Setxattr(fuse_req_t request, fuse_ino_t number, const char* name, const char* value, std::size_t size,
              int flags);
void Getxattr(fuse_req_t request, fuse_ino_t number, const char* name, std::size_t size);
void Listxattr(fuse_req_t request, fuse_ino_t number, std::size_t size);
void Removexattr(fuse_req_t request, fuse_ino_t number, const char* name);
void Ioctl(fuse_req_t request, fuse_ino_t number, unsigned int command, void* argument, fuse_file_info* info,
           unsigned flags, const void* in, std::size_t in_size, std::size_t out_size);

void Getlk(fuse_req_t request, fuse_ino_t number, fuse_file_info* info, struct flock* lock);
void Setlk(fuse_req_t request, fuse_ino_t number, fuse_file_info* info, struct flock* lock, int sleep);
void Flock(fuse_req_t request, fuse_ino_t number, fuse_file_info* info, int operation);

// The table for libfuse. What is not in it the kernel answers itself.
fuse_lowlevel_ops Table();

}  // namespace baton::ops
