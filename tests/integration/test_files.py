"""The file operations that programs need (issue 2, part 3), done on one node and looked at on the server's disk and on the
other node."""
import errno
import os
import stat

import pytest
from lab import refused


@pytest.fixture
def one(scene):
    return scene.one.python()


@pytest.fixture
def two(scene):
    return scene.two.python()


def same(scene, program, name):
    """The attributes on the mount are those of the server's file."""
    there, here = os.lstat(scene.lab.export / name), program.lstat(name)
    for field in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_mtime_ns", "st_ctime_ns", "st_ino"):
        assert here[field] == getattr(there, field), field


def test_attributes(scene, one, two):
    """lookup, getattr, setattr: mode, owner, size, times to the nanosecond; the other node sees them at once."""
    fd = one.create("data")
    one.write(fd, b"x" * 10_000)
    one.chmod("data", 0o4711)
    one.chown("data", 1000, 1001)
    one.utime("data", ns=(1_000_000_001, 2_000_000_002))
    for program in (one, two):
        same(scene, program, "data")
    assert two.stat("data")["st_mtime_ns"] == 2_000_000_002
    one.truncate("data", 5)
    assert two.stat("data")["st_size"] == 5
    one.ftruncate(fd, 20_000)
    assert two.read_file("data") == b"x" * 5 + bytes(19_995)
    one.write(fd, b"y")   # its offset was kept: a hole before it
    assert two.stat("data")["st_size"] == 20_000
    with refused(errno.ENOENT):
        one.stat("absent")
    with refused(errno.ENAMETOOLONG):
        one.stat("x" * 256)
    one.create("x" * 255)
    same(scene, two, "x" * 255)


def test_create_and_open(scene, one, two):
    """create, open and their flags: O_EXCL, O_TRUNC, O_NOFOLLOW, O_DIRECTORY, the umask, a descriptor's rights."""
    one.umask(0o027)
    one.close(one.create("data", flags=os.O_EXCL))
    assert stat.S_IMODE(os.stat(scene.lab.export / "data").st_mode) == 0o640
    with refused(errno.EEXIST):
        two.create("data", flags=os.O_EXCL)
    two.write_file("data", b"text")
    two.close(two.open("data", "w", os.O_TRUNC))
    assert scene.stored("data") == b""
    one.symlink("data", "link")
    with refused(errno.ELOOP):
        one.open("link", "r", os.O_NOFOLLOW)
    with refused(errno.ENOTDIR):
        one.open("data", "r", os.O_DIRECTORY)
    reader, writer = one.open("data", "r"), one.open("data", "w")
    with refused(errno.EBADF):
        one.write(reader, b"x")
    with refused(errno.EBADF):
        one.read(writer, 1)


def test_large_data(scene, one, two):
    """read and write of any size and offset, beyond what one request carries, sparse, and past 4 GiB."""
    data = os.urandom(5_000_003)
    fd = one.create("data")
    assert one.pwrite(fd, data, 77) == len(data)
    one.fsync(fd)
    assert scene.stored("data") == bytes(77) + data
    assert two.read_file("data")[77:] == data
    assert one.pwrite(fd, b"far", 5 << 30) == 3
    other = two.open("data", "rw")
    assert two.pread(other, 10, (5 << 30) - 1) == b"\0far"
    assert two.pread(other, 10, 6 << 30) == b""
    assert two.lseek(other, 0, os.SEEK_END) == (5 << 30) + 3
    assert os.stat(scene.lab.export / "data").st_blocks * 512 < 6_000_000
    one.run("result = os.writev(fd, [b'ab', b'cd'])", fd=fd)
    assert two.pread(other, 4, 0) == b"abcd"


def test_directories(scene, one, two):
    """mkdir, rmdir, opendir, readdir with attributes: many names, each once, also while some go."""
    one.mkdir("directory", 0o750)
    same(scene, two, "directory")
    one.start_call("run", "for n in range(600): open(f'directory/file-{n}', 'w').close()").result(60)
    names = [f"file-{n}" for n in range(600)]
    assert sorted(two.listdir("directory")) == sorted(names)
    assert two.run("result = sorted((e.name, e.stat().st_ino == e.inode(), e.is_file()) for e in os.scandir('directory'))") == sorted(
        (name, True, True) for name in names)
    with refused(errno.ENOTEMPTY):
        two.rmdir("directory")
    left = two.run("with os.scandir('directory') as it:\n  first = next(it).name\n  [os.unlink(f'directory/file-{n}') for n in range(200)]\n"
                   "  result = [first] + [e.name for e in it]")
    assert len(left) == len(set(left)) and set(names[200:]) <= set(left)
    one.run("[os.unlink(f'directory/file-{n}') for n in range(200, 600)]")
    two.rmdir("directory")
    with refused(errno.ENOENT):
        one.listdir("directory")
    with refused(errno.ENOTDIR):
        one.create("data")
        one.listdir("data")


def test_rename(scene, one, two):
    """rename: over a file, of a directory, into another one; NOREPLACE and EXCHANGE; what is impossible is refused."""
    one.write_file("a", b"a")
    one.write_file("b", b"b")
    kept = two.open("b", "r")
    one.rename("a", "b")
    assert (two.read_file("b"), two.read(kept, 10)) == (b"a", b"b")   # who had it open keeps it
    one.makedirs("d/e")
    two.rename("b", "d/e/c")
    one.rename("d/e", "f")
    assert two.read_file("f/c") == b"a"
    with refused(errno.EINVAL):
        one.rename("f", "f/g")
    with refused(errno.EISDIR):
        one.rename("f/c", "d")
    one.write_file("x", b"x")
    rename = ("import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
              "if libc.renameat2(-100, old.encode(), -100, new.encode(), flags): raise OSError(ctypes.get_errno(), '')")
    with refused(errno.EEXIST):
        one.run(rename, old="x", new="f/c", flags=1)
    one.run(rename, old="x", new="f/c", flags=2)
    assert (two.read_file("x"), two.read_file("f/c")) == (b"a", b"x")


def test_links(scene, one, two):
    """link, symlink, readlink, unlink; a file without a name lives until it is closed."""
    one.write_file("data", b"text")
    one.link("data", "hard")
    assert (two.stat("hard")["st_nlink"], two.stat("hard")["st_ino"]) == (2, one.stat("data")["st_ino"])
    two.symlink("da" + "ta", "soft")
    assert (one.readlink("soft"), one.read_file("soft")) == ("data", b"text")
    one.symlink("x" * 4000, "long")
    assert two.readlink("long") == "x" * 4000
    fd = one.open("data", "rw")
    one.unlink("data")
    two.unlink("hard")
    one.pwrite(fd, b"more", 4)
    assert one.pread(fd, 20) == b"textmore"
    assert one.fstat(fd)["st_nlink"] == 0
    with refused(errno.ENOENT):
        two.read_file("soft")
    one.mkfifo("pipe")
    assert stat.S_ISFIFO(two.stat("pipe")["st_mode"])


def test_access_and_statfs(scene, one):
    """access asks the server's rights; statfs tells the server's disk."""
    scene.store("data")
    (scene.lab.export / "data").chmod(0o640)
    user = scene.one.python(uid=1000)
    assert one.access("data", os.R_OK | os.W_OK)
    assert not user.access("data", os.R_OK)
    told = one.run("s = os.statvfs('.'); result = (s.f_blocks * s.f_frsize, s.f_files, s.f_namemax)")
    disk = os.statvfs(scene.lab.export)
    assert told == (disk.f_blocks * disk.f_frsize, disk.f_files, disk.f_namemax)


def test_xattrs(scene, one, two):
    """xattrs: set, get, list, remove, the flags, and sizes that do not fit."""
    one.write_file("data", b"")
    one.setxattr("data", "user.colour", b"green")
    one.setxattr("data", "user.empty", b"")
    assert two.getxattr("data", "user.colour") == b"green"
    assert set(two.listxattr("data")) == {"user.colour", "user.empty"}
    assert os.getxattr(scene.lab.export / "data", "user.colour") == b"green"
    with refused(errno.EEXIST):
        two.setxattr("data", "user.colour", b"red", os.XATTR_CREATE)
    with refused(errno.ENODATA):
        two.setxattr("data", "user.none", b"red", os.XATTR_REPLACE)
    two.removexattr("data", "user.colour")
    with refused(errno.ENODATA):
        one.getxattr("data", "user.colour")
    one.setxattr("data", "user.large", b"x" * 2000)
    assert two.getxattr("data", "user.large") == b"x" * 2000


def test_mappings(scene, one, two):
    """mmap shared and private: what is stored through a shared one and synced is the file's, a private one's is nobody's."""
    fd = one.create("data")
    one.write(fd, b"a" * 8192)
    shared, private = one.map(fd, 8192), one.map(fd, 8192, private=True)
    one.store(private, 0, b"mine")
    one.store(shared, 4090, b"of all nodes")
    one.msync(shared)
    assert scene.stored("data") == b"a" * 4090 + b"of all nodes" + b"a" * 4090
    assert two.read_file("data")[4090:4102] == b"of all nodes"
    assert one.load(private, 0, 4) == b"mine"
    reader = two.open("data", "r")
    area = two.map(reader, 8192, write=False)
    assert two.load(area, 4090, 12) == b"of all nodes"
    one.unmap(shared)


def test_programs_run_from_it(scene):
    """A program on the mount runs, with its mapped libraries."""
    scene.one.shell(f"cp /bin/ls /bin/sh {scene.lab.mount_point}")
    assert scene.two.shell(f"{scene.at('sh')} -c '{scene.at('ls')} {scene.lab.mount_point}'").split() == ["ls", "sh"]


def test_syncs(scene, one):
    """D1: fsync, fdatasync, O_SYNC, O_DSYNC and the sync of a directory are answered."""
    fd = one.create("data", flags=os.O_SYNC)
    one.write(fd, b"1")
    other = one.open("data", "w", os.O_DSYNC)
    one.pwrite(other, b"2", 1)
    one.fsync(fd)
    one.fdatasync(other)
    one.fsync(one.open(".", "r", os.O_DIRECTORY))
    assert scene.stored("data") == b"12"


@pytest.mark.parametrize("call", [
    "os.sendfile(fd, fd, 0, 4)", "os.close(os.open('.', os.O_TMPFILE | os.O_RDWR))",
    "fcntl.ioctl(fd, 0x80086601, bytes(8))", "fcntl.fcntl(fd, 1032, 1 << 16)"])
def test_what_is_not_there_yet(scene, one, call):
    """What is not there yet works through the kernel's own way or says so with an errno that programs know."""
    fd = one.create("data")
    one.write(fd, b"text" * 4)
    try:
        one.run(call, fd=fd)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EBADF, errno.ENOSYS), errno.errorcode[error.errno]
        assert error.errno != errno.ENOSYS or call.startswith("os.copy"), "glibc has no way around ENOSYS there"
    assert one.pread(fd, 4) == b"text"


def test_locks_of_both_kinds_are_independent(one, two):
    """L1: flock, POSIX and OFD locks are there, on two nodes; flock and record locks do not see each other."""
    a, b = one.create("data"), two.create("data")
    one.lock(a, "w", kind="flock")
    two.lock(b, "w")
    with refused(errno.EWOULDBLOCK):
        two.lock(b, "w", kind="flock")
    with refused(errno.EAGAIN, errno.EACCES):
        one.lock(a, "w", kind="ofd")
