"""D1, D2, T2: the disk below batond is full, read-only or broken: the program gets that errno, batond stays up, other files and
other exports go on, and all is well when the disk is."""
import errno
import re

import pytest
from lab import eventually, refused


class Disk:
    """An export on an ext4 of its own, and a second batond with another export that has nothing to do with it; node one has
    both mounted, node two the first."""

    OTHER_POINT = "other"

    def __init__(self, lab):
        self.lab = lab
        self.room = lab.directory / "room"
        self.backing = lab.directory / "backing"
        self.image = self.backing / "image"
        for path in (self.room, self.backing):
            path.mkdir()
        lab.host.shell(f"mount -t tmpfs -o size=40m tmpfs {self.backing} && truncate -s 24M {self.image} && "
                       f"mkfs.ext4 -q -b 4096 -m 0 {self.image}")
        self.mount()
        lab.mount_options = ("claim_wait=0.05",)
        self.server = lab.server("--flap-limit", "0", export=self.room)
        self.other_server = lab.server(export=lab.export)
        self.one, self.two = lab.node("one"), lab.node("two")
        self.one.mount()
        self.two.mount()
        self.one.mount(server=self.other_server, at=lab.directory / self.OTHER_POINT)
        self.elsewhere = self.one.python(cwd=lab.directory / self.OTHER_POINT)

    def mount(self):
        self.lab.host.shell(f"mount -o loop,errors=remount-ro {self.image} {self.room} && chmod 777 {self.room}")

    def device(self):
        return self.lab.host.shell(f"findmnt -no SOURCE {self.room}").strip().removeprefix("/dev/")

    def shell(self, text):
        return self.lab.host.shell(text, cwd=self.room)

    def others_go_on(self):
        """Another export, served by another batond, notices nothing."""
        self.elsewhere.write_file("file", b"text")
        assert self.elsewhere.read_file("file") == b"text"
        for server in (self.server, self.other_server):
            assert server.alive and server.bug() is None


@pytest.fixture
def disk(lab):
    return Disk(lab)


FILL = ("fd = os.open('all', os.O_CREAT | os.O_WRONLY)\nresult = None\n"
        "try:\n  while True: os.write(fd, bytes(65536))\nexcept OSError as error: result = error.errno\n")


def test_full(disk, guid):
    """ENOSPC; what needs no room goes on, a takeover too; with room again everything does."""
    program = disk.one.python(instance=guid)
    fd = program.create("data")
    program.pwrite(fd, b"before")
    program.fsync(fd)
    filler = disk.two.python()
    assert filler.run(FILL) == errno.ENOSPC
    with refused(errno.ENOSPC):
        program.pwrite(fd, bytes(1 << 20), 1 << 20)
        program.fsync(fd)
    program.pwrite(fd, b"BEFORE")   # in its place
    program.fsync(fd)
    assert program.read_file("data")[:6] == b"BEFORE"
    disk.others_go_on()
    successor = disk.two.python(instance=guid)
    taken = successor.open("data", "rw")
    assert successor.pwrite(taken, b"taken!") == 6
    with refused(errno.ESTALE):
        program.pwrite(fd, b"late")
    filler.rename("all", "everything")
    filler.unlink("everything")
    filler.run("os.close(fd)")
    assert successor.pwrite(taken, bytes(1 << 20), 1 << 20) == 1 << 20
    successor.fsync(taken)
    disk.two.python().write_file("new", bytes(1 << 20))
    disk.others_go_on()


def test_remounted_read_only(disk):
    """EROFS for whoever would change something, also through what is open; reading goes on; then all is well, without a restart."""
    program, reader = disk.one.python(), disk.two.python()
    program.write_file("data", b"text")
    fd = reader.open("data")
    disk.lab.host.shell(f"mount -o remount,ro {disk.room}")
    for change in (lambda: program.open("data", "rw"), lambda: program.create("new"), lambda: program.mkdir("folder"),
                   lambda: program.rename("data", "other"), lambda: program.unlink("data"), lambda: program.chmod("data", 0o600),
                   lambda: program.setxattr("data", "user.name", b"value"), lambda: program.truncate("data", 0)):
        with refused(errno.EROFS):
            change()
    assert reader.pread(fd, 10) == b"text" and program.read_file("data") == b"text"
    disk.others_go_on()
    disk.lab.host.shell(f"mount -o remount,rw {disk.room}")
    program.write_file("data", b"more")
    assert reader.pread(fd, 10) == b"more"
    assert sorted(program.listdir(".")) == ["data", "lost+found"]
    disk.others_go_on()


def test_file_system_gives_up(disk):
    """errors=remount-ro: who has a file open for writing gets an error at the write or the next fsync, never silence; when the
    disk is repaired and batond is started again, everybody goes on with what he had open."""
    program, reader = disk.one.python(), disk.two.python()
    fd = program.create("data")
    program.pwrite(fd, b"safe")
    program.fsync(fd)
    program.lock(fd, "w")
    read_fd = reader.open("data")
    disk.lab.host.shell(f"echo 1 > /sys/fs/ext4/{disk.device()}/trigger_fs_error")
    with refused(errno.EROFS, errno.EIO):
        program.pwrite(fd, b"lost", 4)
        program.fsync(fd)
    with refused(errno.EROFS, errno.EIO):
        program.create("new")
    assert reader.pread(read_fd, 4) == b"safe"
    disk.others_go_on()
    disk.server.kill()
    disk.lab.host.shell(f"umount {disk.room} && (e2fsck -fy {disk.image} >&2 || test $? -lt 4)")
    disk.mount()
    disk.server.start()
    assert program.pwrite(fd, b"more", 4) == 4
    program.fsync(fd)
    assert reader.pread(read_fd, 8) == b"safemore"
    with refused(errno.EAGAIN, errno.EACCES):
        reader.lock(reader.open("data", "rw"), "w")
    program.create("new")
    disk.others_go_on()


class BadEnd:
    """The file's blocks are no longer part of the device: whoever reads or writes them gets EIO, until it is mended."""

    def __init__(self, disk, name):
        self.disk = disk
        self.device = disk.device()
        disk.shell("sync -f .")
        first = min(first for first, _ in self.extents(name))
        for other in set(disk.shell("ls -A").split()) - {name}:
            assert all(last < first for _, last in self.extents(other)), other
        disk.lab.host.shell(f"truncate -s {first * 4096} {disk.image} && losetup -c /dev/{self.device}")
        disk.shell(f"dd if={name} iflag=nocache count=0 status=none")   # nor are they in memory

    def extents(self, name):
        text = self.disk.shell(f"filefrag -b4096 -v {name}")
        return [(int(first), int(last)) for first, last in
                re.findall(r"^\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+)\.\.\s*(\d+):", text, re.M)]

    def mend(self):
        self.disk.lab.host.shell(f"truncate -s 24M {self.disk.image} && losetup -c /dev/{self.device}")


def test_device_error(disk):
    """EIO: of a read, and of an fsync of what could not be written, for that file only; it is as good as new when the device is."""
    program = disk.one.python()
    good = program.create("good")
    program.pwrite(good, bytes(1 << 20))
    disk.shell("fallocate -l 10M between")
    bad = program.create("bad")
    program.pwrite(bad, bytes(1 << 20))
    program.fsync(good)
    program.fsync(bad)
    device = BadEnd(disk, "bad")
    other = disk.two.python()
    with refused(errno.EIO):
        other.read_file("bad")
    program.pwrite(bad, b"x" * (1 << 20))
    with refused(errno.EIO):
        program.fsync(bad)
    program.pwrite(good, b"y" * (1 << 20))
    program.fsync(good)
    assert other.read_file("good") == b"y" * (1 << 20)
    assert program.stat("bad")["st_size"] == 1 << 20
    disk.others_go_on()
    device.mend()
    program.pwrite(bad, b"z" * (1 << 20))
    program.fsync(bad)
    assert other.read_file("bad") == b"z" * (1 << 20)
    disk.others_go_on()


class FullState:
    """The state directory on a file system of its own, which can be filled."""

    def __init__(self, lab):
        self.lab = lab
        lab.mount_options = ("claim_wait=0.05",)
        self.server = lab.server("--flap-limit", "0", "--lease", "2s", start=False)
        self.state = self.server.state
        self.state.mkdir(mode=0o700)
        lab.host.shell(f"mount -t tmpfs -o size=16m,mode=700 tmpfs {self.state}")
        self.server.start()
        self.one, self.two = lab.node("one"), lab.node("two")
        self.one.mount()
        self.two.mount()

    def fill(self):
        self.lab.host.shell(f"dd if=/dev/zero of={self.state}/ballast bs=64k status=none 2>/dev/null || true; "
                            f"dd if=/dev/zero of={self.state}/ballast2 bs=1k status=none 2>/dev/null || true")

    def empty(self):
        self.lab.host.shell(f"rm {self.state}/ballast {self.state}/ballast2")


@pytest.fixture
def full_state(lab):
    return FullState(lab)


def take(node, guid):
    """The errno of a takeover from the other node, 0 if it was granted."""
    program = node.python(instance=guid)
    try:
        fd = program.open("data", "rw")
    except OSError as error:
        return error.errno, program, None
    return 0, program, fd


def moved_until_refused(bench, guid):
    """There and back: at first the state file may have room in itself. Who has it in the end, and with what."""
    holder = bench.one.python(instance=guid)
    fd = holder.create("data")
    bench.fill()
    to, back = bench.two, bench.one
    for _ in range(200):
        error, program, got = take(to, guid)
        if error == errno.ESTALE:   # its node has not acknowledged yet
            continue
        if error != 0:
            return error, holder, fd, to
        holder, fd = program, got
        to, back = back, to
    raise AssertionError("every takeover was granted")


def test_full_state_directory(full_state, guid):
    """T4: a takeover that cannot be recorded is refused, and harms nobody; with room again it is granted."""
    bench = full_state
    stranger = bench.two.python()
    kept = stranger.create("kept")
    stranger.lock(kept, "w")
    error, holder, fd, to = moved_until_refused(bench, guid)
    assert error in (errno.EIO, errno.ENOSPC)
    assert holder.pwrite(fd, b"works on") == 8            # nobody was fenced
    assert holder.open("data", "rw") is not None          # nor is it forgotten who it is
    assert stranger.pwrite(kept, b"so does he") == 10
    stranger.fsync(kept)
    stranger.write_file("plain", b"no instance, nothing to record")
    assert bench.server.alive and bench.server.bug() is None
    refusals = [event for event in bench.server.events("refused", guid=guid) if "state store" in event["detail"]]
    assert refusals
    bench.empty()

    def granted():
        error, program, got = take(to, guid)
        return (program, got) if error == 0 else None
    program, got = eventually(granted, 10)
    assert program.pwrite(got, b"taken") == 5
    with refused(errno.ESTALE):
        holder.pwrite(fd, b"late")
    bench.server.restart()
    assert program.pwrite(got, b"still") == 5
    assert stranger.pwrite(kept, b"he, too") == 7


def test_full_state_directory_over_a_restart(full_state, guid):
    """D2: a batond that is started again on a full state directory says so or serves; nobody's data is lost, and with room it goes on."""
    bench = full_state
    program = bench.one.python(instance=guid)
    fd = program.create("data")
    program.pwrite(fd, b"before")
    program.fsync(fd)
    bench.fill()
    bench.server.kill()
    bench.server.spawn()
    eventually(lambda: not bench.server.alive or "serves" in bench.server.log().rpartition("resumed")[0] or
               bench.server.log().count(" serves ") == 2, 10, "it serves, or it has ended")
    assert bench.server.bug() is None
    bench.empty()
    bench.server.restart()
    assert program.pwrite(fd, b"after!") == 6
    program.fsync(fd)
    assert (bench.lab.export / "data").read_bytes() == b"after!"
