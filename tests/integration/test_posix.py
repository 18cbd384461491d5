"""The file operations that fewer programs need (issue 3, part 1): the same answers as a local disk gives, on the server's disk
and on the other node."""
import errno
import os
import select
import stat
import struct

import pytest
from lab import eventually, refused

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE = 1, 2, 8, 16
SET_UP = """
import ctypes, select, socket, stat, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def fallocate(fd, mode, offset, length):
    check(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))
"""


@pytest.fixture
def one(scene):
    return ready(scene.one.python())


@pytest.fixture
def two(scene):
    return ready(scene.two.python())


@pytest.fixture
def user(scene):
    return ready(scene.one.python(uid=1000))


def ready(program):
    program.run(SET_UP)
    return program


def mode_of(scene, name):
    return stat.S_IMODE(os.lstat(scene.lab.export / name).st_mode)


# --- space ----------------------------------------------------------------------------------------------------------------


def test_fallocate(scene, one, two):
    """Allocating with and without a new size, holes, zeros: on the server's disk; other modes are EOPNOTSUPP."""
    fd = one.create("data")
    one.run("fallocate(fd, 0, 0, 100_000)", fd=fd)
    assert two.stat("data")["st_size"] == 100_000
    assert os.stat(scene.lab.export / "data").st_blocks * 512 >= 100_000
    one.run("fallocate(fd, 1, 0, 300_000)")
    assert two.stat("data")["st_size"] == 100_000
    assert os.stat(scene.lab.export / "data").st_blocks * 512 >= 300_000
    one.pwrite(fd, b"x" * 65536)
    reader = two.open("data", "r")
    assert two.pread(reader, 3, 4096) == b"xxx"
    one.run(f"fallocate(fd, {PUNCH_HOLE | KEEP_SIZE}, 4096, 8192)")
    one.run(f"fallocate(fd, {ZERO_RANGE}, 99_990, 20)")
    assert one.pread(fd, 65536) == b"x" * 4096 + bytes(8192) + b"x" * (65536 - 12288)
    assert scene.stored("data") == b"x" * 4096 + bytes(8192) + b"x" * (65536 - 12288) + bytes(100_010 - 65536)
    with refused(errno.EOPNOTSUPP):
        one.run(f"fallocate(fd, {COLLAPSE}, 0, 4096)")
    with refused(errno.EBADF):
        two.run(SET_UP + "fallocate(fd, 0, 0, 10)", fd=reader)
    with refused(errno.EINVAL):
        one.run("fallocate(fd, 0, 0, 0)")
    one.run("os.posix_fallocate(fd, 0, 200_000)")
    assert two.stat("data")["st_size"] == 200_000


def test_fallocate_and_copy_of_the_fenced(scene, guid):
    """T6: nothing of the old incarnation is allocated, punched or copied after the takeover."""
    old = ready(scene.one.python(instance=guid))
    fd, source = old.create("data"), old.create("source")
    old.write(fd, b"x" * 8192)
    old.write(source, b"s" * 8192)
    scene.one.cut()
    new = scene.two.python(instance=guid)
    new.open("data", "rw")
    late = old.start_call("run", f"fallocate(fd, {PUNCH_HOLE | KEEP_SIZE}, 0, 4096)", fd=fd).waits()
    scene.one.mend()
    with refused(errno.ESTALE):
        late.result()
    for call in ("fallocate(fd, 0, 0, 100_000)", "os.copy_file_range(source, fd, 4096, 0, 0)", "os.lseek(fd, 0, os.SEEK_DATA)"):
        with refused(errno.ESTALE):
            old.run(call, fd=fd, source=source)
    assert scene.stored("data") == b"x" * 8192


def test_seek_data_and_hole(one, two):
    """SEEK_DATA and SEEK_HOLE find what the server's file system knows."""
    fd = one.create("data")
    one.pwrite(fd, b"x", 1 << 20)
    for program, number in ((one, fd), (two, two.open("data", "r"))):
        assert program.lseek(number, 0, os.SEEK_DATA) == 1 << 20
        assert program.lseek(number, 0, os.SEEK_HOLE) == 0
        assert program.lseek(number, 1 << 20, os.SEEK_HOLE) == (1 << 20) + 1
        with refused(errno.ENXIO):
            program.lseek(number, (1 << 20) + 1, os.SEEK_DATA)
    one.ftruncate(fd, 2 << 20)
    with refused(errno.ENXIO):
        two.lseek(two.open("data", "r"), (1 << 20) + 4096, os.SEEK_DATA)
    assert one.lseek(fd, 5, os.SEEK_SET) == 5


def sent_by(node):
    return int(node.shell("cat /sys/class/net/eth0/statistics/tx_bytes"))


def test_copy_file_range(scene, one, two):
    """The server copies; the data does not travel. Counts and refusals are a local disk's."""
    size = 24 << 20
    data = os.urandom(1 << 20) * 24
    (scene.lab.export / "from").write_bytes(data)
    source, target = one.open("from", "r"), one.create("to")
    before = sent_by(scene.one)
    done = one.run(f"done = 0\nwhile done < {size}:\n  done += os.copy_file_range(source, target, {size} - done)\nresult = done",
                   source=source, target=target)
    assert done == size
    assert sent_by(scene.one) - before < 1 << 20
    assert scene.stored("to") == data
    assert one.copy_file_range(source, target, 10, size, 0) == 0      # the end of the file
    assert one.copy_file_range(source, target, 100, size - 7, 3) == 7
    assert two.read_file("to") == data[:3] + data[-7:] + data[10:]
    assert one.copy_file_range(target, target, 4096, 0, 1 << 20) == 4096
    with refused(errno.EINVAL):
        one.copy_file_range(target, target, 4096, 0, 100)
    with refused(errno.EBADF):
        one.copy_file_range(target, source, 4096, 0, 0)
    with refused(errno.EBADF):
        one.copy_file_range(source, one.open("to", "rw", os.O_APPEND), 4096, 0)


def test_takeover_in_the_middle_of_a_copy(scene, guid):
    """T4: a long copy is cut into pieces; a takeover waits for one of them, and nothing is copied after it."""
    size = 256 << 20
    (scene.lab.export / "source").write_bytes(b"")
    os.truncate(scene.lab.export / "source", size)
    old = scene.one.python(instance=guid)
    fd, source = old.create("data"), old.open("source", "r")
    old.ftruncate(fd, 4096)
    copying = old.start_call("run", f"while True: os.copy_file_range(source, fd, {size}, 0, 4096)", fd=fd, source=source)
    eventually(lambda: os.stat(scene.lab.export / "data").st_size > 4096, 10.0, "the copy has begun")
    new = scene.two.python(instance=guid)
    mine = new.open("data", "rw")
    new.ftruncate(mine, 0)
    with refused(errno.ESTALE):
        copying.result()
    assert new.fstat(mine)["st_size"] == 0
    assert scene.stored("data") == b""


# --- opens ----------------------------------------------------------------------------------------------------------------


def test_append_handles_can_be_mapped(scene, one, two):
    """MAP_SHARED of a file opened with O_APPEND or O_DIRECT; stores and appends do not lose each other."""
    one.write_file("log", b"x" * 4096)
    fd = one.open("log", "rw", os.O_APPEND)
    area = one.map(fd, 4096)
    one.store(area, 0, b"mapped")
    one.write(fd, b"tail")
    one.msync(area)
    assert scene.stored("log") == b"mapped" + b"x" * 4090 + b"tail"
    assert two.read_file("log") == scene.stored("log")
    direct = one.map(one.open("log", "rw", os.O_DIRECT), 4096)
    assert one.load(direct, 0, 6) == b"mapped"
    one.store(direct, 0, b"direct")
    one.msync(direct)
    assert two.read_file("log")[:6] == b"direct"


def test_direct_io(scene, one, two):
    """O_DIRECT reads and writes, past any cache of the node."""
    one.write_file("data", b"x" * 8192)
    fd = one.open("data", "rw", os.O_DIRECT)
    one.run("area = mmap.mmap(-1, 4096); area[:] = b'd' * 4096; os.pwrite(fd, area, 4096)", fd=fd)
    assert scene.stored("data") == b"x" * 4096 + b"d" * 4096
    two.pwrite(two.open("data", "rw"), b"n" * 4096)
    assert one.run("os.preadv(fd, [area], 0); result = bytes(area)") == b"n" * 4096


def test_program_that_may_not_be_read(scene, one):
    """A program with mode 0111 runs, and is not readable."""
    one.run("subprocess.run(['cp', '/bin/true', 'program'], check=True); os.chmod('program', 0o111)")
    user = ready(scene.two.python(uid=1000))
    with refused(errno.EACCES):
        user.open("program", "r")
    assert user.run("result = subprocess.call(['./program'])") == 0
    one.chmod("program", 0o444)
    with refused(errno.EACCES):
        user.run("result = subprocess.call(['./program'])")


def test_unnamed_files_are_refused_clearly(one):
    """O_TMPFILE: EOPNOTSUPP, as file systems without it say; programs then make a file with a name."""
    with refused(errno.EOPNOTSUPP):
        one.open(".", "rw", os.O_TMPFILE)
    assert one.run("import tempfile\nwith tempfile.TemporaryFile(dir='.') as f:\n  f.write(b'x'); f.seek(0); result = f.read()") == b"x"


def test_unlinked_files_of_two_nodes(scene, one, two):
    """A file without a name is whole for those who have it open, on both nodes: data, attributes, xattrs."""
    one.write_file("data", b"text")
    here, there = one.open("data", "rw"), two.open("data", "rw")
    one.unlink("data")
    assert scene.lab.names() == []
    two.pwrite(there, b"more", 4)
    eventually(lambda: one.pread(here, 20) == b"textmore", 10)   # told, not asked (C2)
    two.run("os.fchmod(fd, 0o640); os.fchown(fd, 3, 4); os.utime(fd, ns=(1, 2)); os.setxattr(fd, 'user.a', b'1')", fd=there)
    found = one.fstat(here)
    assert (found["st_mode"] & 0o7777, found["st_uid"], found["st_nlink"], found["st_mtime_ns"]) == (0o640, 3, 0, 2)
    assert one.run("result = os.getxattr(fd, 'user.a')", fd=here) == b"1"
    one.ftruncate(here, 2)
    assert two.fstat(there)["st_size"] == 2


def test_removed_directories(one, two):
    """Who works in a directory that is removed gets what a local disk gives; nothing can be made in it."""
    one.mkdir("gone")
    fd = one.open("gone", "r", os.O_DIRECTORY)
    above = one.getcwd()
    one.chdir("gone")
    one.rmdir("../gone")
    assert one.fstat(fd)["st_nlink"] == 0
    assert one.stat(".")["st_nlink"] == 0
    assert one.run("result = os.listdir('.')") == []
    for call in ("os.getcwd()", "open('x', 'w')", "os.mkdir('x')", "os.stat('x')"):
        with refused(errno.ENOENT):
            one.run(call)
    assert one.run("result = os.path.samefile('..', above)", above=above)
    one.chdir("..")
    two.mkdir("gone")   # another one under the same name
    assert one.stat("gone")["st_nlink"] == 2 and one.fstat(fd)["st_nlink"] == 0
    one.close(one.create("gone/file"))
    assert two.listdir("gone") == ["file"]


# --- names ----------------------------------------------------------------------------------------------------------------


def test_names_are_bytes(scene, one, two):
    """Names of 255 bytes, not UTF-8, with newlines; paths of 4,095 bytes."""
    names = sorted([b"\xff\xfe\x80" + b"x" * 252, b"a\nb", b"\x01", b"sp ace", bytes(range(0x80, 0xff))])
    for name in names:
        one.run("os.close(os.open(entry, os.O_CREAT | os.O_WRONLY))", entry=name)
    assert sorted(two.run("result = os.listdir(b'.')")) == names == sorted(os.listdir(os.fsencode(scene.lab.export)))
    one.run("os.rename(old, new)", old=names[0], new=b"\xc3\x28")
    assert two.run("result = os.stat(b'\\xc3\\x28').st_size") == 0
    with refused(errno.ENAMETOOLONG):
        one.mkdir("x" * 256)
    one.run("for n in range(16): os.mkdir('d' * 254); os.chdir('d' * 254)")
    path = "/".join(["d" * 254] * 16)
    assert len(path) == 4079
    one.close(one.create("f" * 100))
    two.run("os.close(os.open(path, os.O_CREAT | os.O_WRONLY))", path=f"{path}/{'g' * 15}")
    with refused(errno.ENAMETOOLONG):
        two.stat(f"{path}/{'g' * 16}")
    assert sorted(one.listdir(".")) == ["f" * 100, "g" * 15]


READ_ALL = """
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
directory = ctypes.c_void_p(libc.opendir(b"many"))
def entry():
    found = libc.readdir(directory)
    return found and ctypes.string_at(found + 19).decode()
places = {}
while True:
    place = libc.telldir(directory)
    name = entry()
    if not name: break
    assert name not in places, name
    places[name] = place
"""


@pytest.mark.slow
def test_many_entries_and_places_among_them(scene, one, two):
    """100,000 entries, each once; a place that telldir gave stays good while others come and go."""
    many = scene.lab.export / "many"
    many.mkdir(mode=0o777)
    names = {f"entry-{n:06}" for n in range(100_000)}
    for name in names:
        os.close(os.open(many / name, os.O_CREAT | os.O_WRONLY))
    found = one.start_call("run", READ_ALL + "result = set(places)").result(120)
    assert found == names | {".", ".."}
    two.start_call("run", "for n in range(0, 100_000, 50): os.unlink(f'many/entry-{n:06}')\n"
                   "for n in range(2000): os.close(os.open(f'many/new-{n}', os.O_CREAT | os.O_WRONLY))").result(120)
    text = ("for name in wanted:\n  libc.seekdir(directory, ctypes.c_long(places[name]))\n  found = entry()\n"
            "  while found.startswith('new-'): found = entry()\n  assert found == name, (found, name)\n"
            "libc.rewinddir(directory)\nseen = set()\n"
            "while (found := entry()): assert found not in seen; seen.add(found)\nresult = seen")
    kept = {name for name in names if int(name[-6:]) % 50}
    seen = one.start_call("run", text, wanted=[f"entry-{n:06}" for n in (1, 99_999, 50_001, 77_777, 12_345)]).result(120)
    assert seen == kept | {".", ".."} | {f"new-{n}" for n in range(2000)}


def test_special_files(scene, one, two):
    """FIFOs and sockets join programs of one node; devices are made by root only, with their numbers."""
    one.umask(0)
    one.mkfifo("pipe", 0o666)
    reading = one.start_call("run", "with open('pipe', 'rb') as f: result = f.read()")
    scene.one.python().write_file("pipe", b"through", os.O_WRONLY)
    assert reading.result() == b"through"
    one.run("listener = socket.socket(socket.AF_UNIX); listener.bind('socket'); listener.listen()")
    ready(scene.one.python()).run("s = socket.socket(socket.AF_UNIX); s.connect('socket'); s.send(b'hello')")
    assert one.run("result = listener.accept()[0].recv(10)") == b"hello"
    with refused(errno.ECONNREFUSED):   # the other end is on another node
        two.run("s = socket.socket(socket.AF_UNIX); s.connect('socket')")
    one.run("os.mknod('null', stat.S_IFCHR | 0o666, os.makedev(1, 3)); os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(250, 70000))")
    assert os.lstat(scene.lab.export / "null").st_rdev == os.makedev(1, 3)
    assert two.stat("disk")["st_rdev"] == os.makedev(250, 70000)
    assert [stat.S_IFMT(two.stat(name)["st_mode"]) for name in ("pipe", "socket", "null", "disk")] == [
        stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK]
    user = scene.one.python(uid=1000)
    with refused(errno.EPERM):
        user.call("os.mknod", "mine", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    user.mkfifo("mine")


# --- attributes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    "os.write(os.open('program', os.O_WRONLY), b'y')", "os.write(os.open('program', os.O_WRONLY | os.O_APPEND), b'y')",
    "os.truncate('program', 0)", "os.ftruncate(os.open('program', os.O_WRONLY), 0)",
    "os.open('program', os.O_WRONLY | os.O_TRUNC)", "fallocate(os.open('program', os.O_WRONLY), 0, 0, 100)",
    "os.copy_file_range(os.open('other', os.O_RDONLY), os.open('program', os.O_WRONLY), 3)"])
def test_set_id_bits_go_with_a_change(scene, one, user, change):
    """Whoever changes a program that is not his takes its set-id bits away; root does not."""
    for name in ("program", "other"):
        one.write_file(name, b"text")
        one.chmod(name, 0o6777)
    user.run(change)
    assert mode_of(scene, "program") == 0o777
    assert one.stat("program")["st_mode"] & 0o7777 == 0o777
    one.chmod("program", 0o6777)
    one.run(change)
    assert mode_of(scene, "program") == 0o6777


def test_set_id_bits_and_owners(scene, one, user):
    """chown takes the set-id bits, also root's; set-group-id of a group that is not the caller's is not set."""
    for name in ("a", "b"):
        one.write_file(name, b"text")
        one.chmod(name, 0o6755)
    one.chown("a", 1000, 1000)
    assert mode_of(scene, "a") == 0o755
    one.chown("b", 1000, 2000)
    user.chmod("b", 0o2755)
    assert mode_of(scene, "b") == 0o755
    with refused(errno.EPERM):
        user.chown("b", 1001, 2000)


def test_times(scene, one, user):
    """utimensat: now, left alone, nanoseconds, before 1970; whose right it is."""
    one.write_file("data", b"")
    one.chmod("data", 0o666)
    set_times = "check(libc.utimensat(-100, b'data', (ctypes.c_long * 4)(*times), 0))"
    now, omit = (1 << 30) - 1, (1 << 30) - 2

    def times():
        found = os.stat(scene.lab.export / "data")
        return found.st_atime_ns, found.st_mtime_ns
    one.run(set_times, times=(1, 999_999_999, 3, 4))
    assert times() == (1_999_999_999, 3_000_000_004)
    one.run(set_times, times=(0, omit, -5, 6))
    assert times() == (1_999_999_999, -5 * 10**9 + 6)
    one.run(set_times, times=(0, now, 0, omit))
    assert times()[0] > 10**18 and times()[1] == -5 * 10**9 + 6
    with refused(errno.EPERM):
        user.run(set_times, times=(1, 2, 3, 4))
    user.utime("data")
    assert times()[1] > 10**18
    one.chmod("data", 0o600)
    with refused(errno.EACCES):
        user.utime("data")


USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 1, 2, 4, 0x10, 0x20
NOBODY = 0xffffffff


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_acls_are_enforced(scene, one, user):
    """system.posix_acl_access grants and denies, on the other node too; chmod changes its mask."""
    one.write_file("data", b"text")
    one.chmod("data", 0o600)
    one.setxattr("data", "system.posix_acl_access",
                 acl((USER_OBJ, 6, NOBODY), (USER, 4, 1000), (GROUP_OBJ, 0, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY)))
    others = [scene.two.python(uid=1000), scene.two.python(uid=1001)]
    assert user.read_file("data") == others[0].read_file("data") == b"text"
    assert one.stat("data")["st_mode"] & 0o777 == 0o640
    for program, mode in ((user, "w"), (others[0], "w"), (others[1], "r")):
        with refused(errno.EACCES):
            program.open("data", mode)
    one.chmod("data", 0o600)
    for program in (user, others[0]):
        with refused(errno.EACCES):
            program.open("data", "r")
    one.write_file("open", b"")
    one.chmod("open", 0o666)
    one.setxattr("open", "system.posix_acl_access",
                 acl((USER_OBJ, 6, NOBODY), (USER, 0, 1000), (GROUP_OBJ, 6, NOBODY), (MASK, 6, NOBODY), (OTHER, 6, NOBODY)))
    with refused(errno.EACCES):
        others[0].open("open", "r")
    assert not user.access("open", os.R_OK)
    others[1].open("open", "rw")
    with refused(errno.EINVAL):
        one.setxattr("open", "system.posix_acl_access", acl((USER_OBJ, 6, NOBODY)))
    with refused(errno.EPERM):
        others[1].setxattr("open", "system.posix_acl_access", acl((USER_OBJ, 7, NOBODY), (GROUP_OBJ, 7, NOBODY), (OTHER, 7, NOBODY)))
    one.removexattr("open", "system.posix_acl_access")
    assert others[0].access("open", os.R_OK)


def test_default_acls_and_the_umask(scene, one, two):
    """What is made gets the directory's default ACL and then no umask; without one, the umask of who makes it."""
    one.umask(0o027)
    made = ("os.close(os.open(at + 'f', os.O_CREAT | os.O_RDWR, 0o4666)); os.mkdir(at + 'd', 0o1777); os.mkfifo(at + 'p', 0o666)\n"
            "os.mknod(at + 'n', stat.S_IFREG | 0o666)")
    one.run(made, at="")
    assert [mode_of(scene, name) for name in "fdpn"] == [0o4640, 0o1750, 0o640, 0o640]
    two.mkdir("with")
    two.chmod("with", 0o777)
    default = acl((USER_OBJ, 7, NOBODY), (USER, 7, 1000), (GROUP_OBJ, 5, NOBODY), (MASK, 7, NOBODY), (OTHER, 5, NOBODY))
    two.setxattr("with", "system.posix_acl_default", default)
    one.run(made, at="with/")
    assert [mode_of(scene, f"with/{name}") for name in "fdpn"] == [0o4664, 0o1775, 0o664, 0o664]
    assert two.getxattr("with/d", "system.posix_acl_default") == default
    assert set(two.listxattr("with/d")) == {"system.posix_acl_access", "system.posix_acl_default"}
    scene.two.python(uid=1000).write_file("with/f", b"by the ACL")
    with refused(errno.EACCES):
        one.setxattr("f", "system.posix_acl_default", default)   # not a directory


def test_xattrs_by_kind(scene, one, user):
    """user, trusted and security attributes: where each is allowed, to whom it shows."""
    one.write_file("data", b"")
    one.mkfifo("pipe")
    one.symlink("data", "link")
    one.setxattr("data", "trusted.a", b"1")
    one.setxattr("data", "security.a", b"2")
    one.setxattr("pipe", "trusted.a", b"3")
    one.run("os.setxattr('link', 'trusted.a', b'4', follow_symlinks=False)")
    assert os.getxattr(scene.lab.export / "link", "trusted.a", follow_symlinks=False) == b"4"
    assert one.getxattr("data", "trusted.a") == b"1"
    assert one.getxattr("data", "security.a") == os.getxattr(scene.lab.export / "data", "security.a") == b"2"
    assert "trusted.a" in one.listxattr("data") and "trusted.a" not in user.listxattr("data")
    with refused(errno.ENODATA, errno.EPERM):
        user.getxattr("data", "trusted.a")
    for name in ("trusted.b", "security.b"):
        with refused(errno.EPERM):
            user.setxattr("data", name, b"")
    with refused(errno.EPERM):
        one.setxattr("pipe", "user.a", b"")
    with refused(errno.EPERM):
        one.run("os.setxattr('link', 'user.a', b'', follow_symlinks=False)")
    with refused(errno.EOPNOTSUPP):
        one.setxattr("data", "other.a", b"")
    with refused(errno.E2BIG):
        one.setxattr("data", "user.a", bytes(65537))
    with refused(errno.ENOSPC):   # the store's own limit, its own errno
        one.setxattr("data", "user.a", bytes(60000))
    one.chmod("data", 0o600)
    with refused(errno.EACCES):
        user.getxattr("data", "user.a")


# --- the rest -------------------------------------------------------------------------------------------------------------


def test_ioctl_and_poll(one):
    """A regular file's answers: always ready, its own ioctls by the kernel, ENOTTY for what is not known."""
    fd = one.create("data")
    one.write(fd, b"12345")
    one.lseek(fd, 1, os.SEEK_SET)
    assert one.run("result = struct.unpack('i', fcntl.ioctl(fd, 0x541b, bytes(4)))[0]", fd=fd) == 4   # FIONREAD
    for command in (0x1234, 0x80086601, 0x5401):   # nobody's, FS_IOC_GETFLAGS, TCGETS
        with refused(errno.ENOTTY):
            one.run("fcntl.ioctl(fd, command, bytes(64))", command=command)
    ready_for = one.run("p = select.poll(); p.register(fd, select.POLLIN | select.POLLOUT); result = p.poll(0)")
    assert ready_for == [(fd, select.POLLIN | select.POLLOUT)]
    with refused(errno.EOPNOTSUPP):
        one.run("fcntl.ioctl(fd, 0x40049409, fd)")   # FICLONE, as ext4 says it


@pytest.fixture
def small(lab):
    """A program on a mount of a file system of 4 MiB."""
    room = lab.directory / "room"
    room.mkdir()
    lab.host.shell(f"mount -t tmpfs -o size=4m,mode=777 tmpfs {room}")
    lab.server(export=room)
    node = lab.node("one")
    node.mount()
    return ready(node.python())


def test_disk_full(small):
    """ENOSPC of the store reaches the program, after what was written before; freed space can be used."""
    error, written = small.run("fd = os.open('all', os.O_CREAT | os.O_RDWR)\ndone = 0\n"
                               "try:\n  while done < 16 << 20: done += os.write(fd, bytes(100_000))\n"
                               "except OSError as error: result = error.errno, done\n")
    assert error == errno.ENOSPC and 3 << 20 < written <= 4 << 20
    assert small.stat("all")["st_size"] == written
    with refused(errno.ENOSPC):
        small.run("fallocate(fd, 0, done, 1 << 20)")
    with refused(errno.ENOSPC):
        small.run("other = os.open('other', os.O_CREAT | os.O_RDWR)\nos.copy_file_range(fd, other, 1 << 20, 0, 0)")
    area = small.run("os.ftruncate(other, 4096)\nresult = other")
    area = small.map(area, 4096)
    small.store(area, 0, b"x")
    with refused(errno.ENOSPC, errno.EIO):
        small.msync(area)
    small.run("os.ftruncate(fd, 0)")
    small.write_file("all", bytes(1 << 20))


def test_file_size_limit(one):
    """RLIMIT_FSIZE: a short write up to it, then EFBIG."""
    one.run("import resource\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))")
    fd = one.create("data")
    assert one.write(fd, bytes(1500)) == 1000
    with refused(errno.EFBIG):
        one.write(fd, b"x")
    with refused(errno.EFBIG):
        one.run("fallocate(fd, 0, 0, 2000)", fd=fd)


def test_programs_of_everyday(scene):
    """cp with holes and reflinks, mv -n, mv --exchange by hand, install, getfacl by another name: they end well on the mount."""
    node = scene.one
    node.shell("head -c 3000000 /dev/urandom > a; truncate -s 50M a; cp --sparse=always a b; cp --reflink=auto a c; cmp a b; cmp a c; "
               "fallocate -l 1M d; fallocate -p -o 4096 -l 8192 d; fallocate -d a; cmp a b; "
               "echo new > e; echo old > f; mv -n e f; test -e e; install -m 4711 f g; rm -r a b c; mkdir -p x/y/z; rm -r x",
               cwd=scene.lab.mount_point)
    assert os.stat(scene.lab.export / "d").st_blocks * 512 == (1 << 20) - 8192
    assert mode_of(scene, "g") == 0o4711
