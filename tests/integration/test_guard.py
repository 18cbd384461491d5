"""S5: a batonfs that dies while the kernel waits for it takes nobody with it."""
import errno
import os
import pathlib
import shlex
import signal
import subprocess

import pytest
from lab import eventually, refused
from lab.place import PYTHON, state_of, stop

FUSECTL = pathlib.Path("/sys/fs/fuse/connections")
SIZE = 64 << 20   # long enough in laundering its pages to be met at it
PAGE = 4096


def connection(node):
    """The number under which the kernel knows the node's newest mount."""
    for line in pathlib.Path(f"/proc/{node.pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == node.runs[-1].point:
            number = fields[2].partition(":")[2]
    return number


def guard_of(pid):
    """The pid of batonfs's guard, or None."""
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if pathlib.Path(f"/proc/{child}/comm").read_text() == "baton-guard\n":
            return int(child)
    return None


def launders(pid):
    """Whether a thread of it is in the kernel, at the pages of a retired inode."""
    try:
        return any("fuse_reverse_inval_inode" in task.joinpath("stack").read_text()
                   for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    except OSError:   # a thread that ended meanwhile
        return False


@pytest.fixture
def scene(lab, request, scene):
    """Whatever hangs is let go after the test, before its laboratory ends."""
    switch = os.open(FUSECTL / connection(scene.one) / "abort", os.O_WRONLY)   # of this connection for ever
    try:
        yield scene
    finally:
        os.write(switch, b"1")
        os.close(switch)


def launder(scene, guid, old, mount):
    """Another node takes over from the program, whose dirty mapped pages the kernel takes away now, waiting for the mount."""
    fd = old.create(scene.at("data"))
    old.ftruncate(fd, SIZE)
    old.run("area = mmap.mmap(fd, size)\nfor n in range(0, size, page): area[n] = 1", fd=fd, size=SIZE, page=PAGE)
    scene.two.python(instance=guid).start_call("open", "data", os.O_RDWR)
    eventually(lambda: launders(mount), 10, "the kernel waits for the mount in a notice of the mount")


# SIGQUIT dumps core, as a crash does.
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM], ids=lambda how: how.name)
def test_dies_while_it_drops_dirty_pages(scene, guid, how):
    """The kernel waits for a WRITE that nobody answers, and no signal reaches it: the guard ends that."""
    old = scene.one.python(instance=guid)
    mount = scene.one.runs[-1]
    launder(scene, guid, old, mount.pid)
    mount.process.send_signal(how)
    mount.process.wait(10)
    scene.one.runs.remove(mount)   # that it died is no bug of its own
    old.kill()
    old.exited(10)


def test_without_fusectl(scene, guid):
    """The kernel's switch need not be mounted."""
    scene.one.runs[-1].unmount()
    scene.one.shell(f"umount {FUSECTL}")
    scene.one.mount()
    switch = os.open(FUSECTL / connection(scene.one) / "abort", os.O_WRONLY)
    try:
        test_dies_while_it_drops_dirty_pages(scene, guid, signal.SIGKILL)
    finally:
        os.write(switch, b"1")
        os.close(switch)


def test_in_a_container_without_fusectl(scene, guid):
    """Where the switch cannot be had, the guard's right to unmount there does the same."""
    one = scene.one
    one.runs[-1].unmount()
    one.shell(f"umount {FUSECTL}")
    idle = "import signal; print(flush=True); signal.pause()"
    container = one.popen(["unshare", "--user", "--map-root-user", "--mount", PYTHON, "-c", idle], stdout=subprocess.PIPE)
    container.stdout.readline()
    # What is mounted in there nobody sees out here.
    inside = ["nsenter", "-t", str(container.pid), "-U", "-m", "--preserve-credentials", "--wdns=/"]
    log = scene.lab.directory / "contained.log"
    one.logs.append(("batonfs in the container", log))
    with open(log, "ab") as file:
        mount = one.popen([*inside, scene.lab.programs / "batonfs", scene.server.address, scene.lab.mount_point, "-f",
                           "-o", "node=one,claim_wait=0.05"], stdout=file, stderr=file)

    def number():
        for line in pathlib.Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[4] == str(scene.lab.mount_point):
                return fields[2].partition(":")[2]
        return None
    switch = os.open(FUSECTL / eventually(number, 20, "it is mounted") / "abort", os.O_WRONLY)
    try:
        python = scene.lab.directory / "contained-python"
        python.write_text(f"#!/bin/sh\nexec {shlex.join(inside)} {PYTHON} \"$@\"\n")
        python.chmod(0o755)
        old = one.python(instance=guid, cwd="/", interpreter=python)
        launder(scene, guid, old, mount.pid)
        mount.kill()
        mount.wait(10)
        old.kill()
        old.exited(10)
    finally:
        os.write(switch, b"1")
        os.close(switch)
        container.kill()


def test_dead_mount_stays(scene):
    """What its death leaves is as ever: ENOTCONN for everybody, and a mount until somebody unmounts it."""
    program = scene.one.python()
    fd = program.create("data")
    mount = scene.one.runs[-1]
    guard = guard_of(mount.pid)
    mount.process.kill()
    mount.process.wait(10)
    eventually(lambda: state_of(guard) in "ZX", 10, "the guard ends")
    for call in (lambda: program.pwrite(fd, b"1"), lambda: program.create("other")):
        with refused(errno.ENOTCONN):
            call()
    assert (mount.point, "fuse.batonfs") in scene.one.mounts()


def test_late_guard_leaves_the_next_mount_alone(scene):
    """A guard that comes late does nothing to what came in the place of its mount, mostly under the same number."""
    old = scene.one.runs[-1]
    guard = guard_of(old.pid)
    stop(guard)
    try:
        old.kill()
        scene.one.remount()
        program = scene.one.python()
        fd = program.create("data")
    finally:
        os.kill(guard, signal.SIGCONT)
    eventually(lambda: state_of(guard) in "ZX", 10, "the late guard ends")
    program.write(fd, b"text")
    assert scene.stored("data") == b"text"


def test_guard_of_a_mount(scene):
    """It has a name of its own and nothing of its caller's, signals are nothing to it, and it ends with the mount."""
    mount = scene.one.runs[-1]
    guard = guard_of(mount.pid)
    mine = pathlib.Path(f"/proc/{guard}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMAX):
        os.kill(guard, number)
    assert os.getsid(guard) == guard
    assert os.readlink(mine / "cwd") == "/"
    assert not mine.joinpath("cmdline").read_bytes().strip(b"\0")
    files = [os.readlink(file) for file in mine.joinpath("fd").iterdir()]
    own = f"/{connection(scene.one)}/abort"
    assert [file for file in files if not file.startswith(("socket:", "anon_inode:[signalfd]")) and not file.endswith(own)] == []
    program = scene.one.python(cwd="/")
    program.write_file(scene.at("data"), b"text")
    assert scene.stored("data") == b"text", "a signal of somebody else's is not batonfs's death"
    program.kill()
    program.exited()
    assert mount.unmount() == 0
    assert state_of(guard) == "X", "batonfs waited for its end"
