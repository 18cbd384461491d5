"""T4, T6, T7, C3: after the grant nothing of the old incarnation takes effect, whatever it had begun."""
import errno
import os

import pytest
from lab import DEATHS, eventually, refused

PAGE = 4096


def bytes_of(letter, size=PAGE):
    return letter.encode() * size


def takes_effect(program, number):
    """Stores through the mapping until it fails; what it fails with."""
    return eventually(lambda: program.guarded("store_and_sync", number, 0, b"late"), 10, "the mapping is dead")


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_every_way_to_write_is_shut(scene, guid, death):
    """T6: writes, truncation, append, new opens, unlink and rename by the old program fail; the file is the new one's."""
    scene.store("victim", b"victim")
    scene.store("tmp", b"tmp")
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    log = old.create("log", flags=os.O_APPEND)
    old.pwrite(fd, bytes_of("1", 2 * PAGE))
    death.die(scene.one)

    new = scene.two.python(instance=guid)
    mine = new.open("data", "rw")
    new.pwrite(mine, bytes_of("2", 2 * PAGE))
    death.revive(scene.one)

    for attempt in (lambda: old.pwrite(fd, b"late"), lambda: old.write(log, b"late"), lambda: old.ftruncate(fd, 0),
                    lambda: old.fsync(fd), lambda: old.lock(fd, "w")):
        with refused(death.old_handle):
            attempt()
    at = scene.at
    for attempt in (lambda: old.open(at("data"), "rw"), lambda: old.open(at("data"), "r"),
                    lambda: old.open(at("victim"), "w", os.O_TRUNC), lambda: old.create(at("fresh")),
                    lambda: old.truncate(at("victim"), 0), lambda: old.unlink(at("victim")),
                    lambda: old.rename(at("tmp"), at("data")), lambda: old.mkdir(at("directory")),
                    lambda: old.chmod(at("victim"), 0o600), lambda: old.link(at("tmp"), at("linked"))):
        with refused(errno.ESTALE):
            attempt()
    assert scene.stored("data") == bytes_of("2", 2 * PAGE)
    assert (scene.stored("log"), scene.stored("victim"), scene.stored("tmp")) == (b"", b"victim", b"tmp")
    assert scene.lab.names() == ["data", "log", "tmp", "victim"]
    new.pwrite(mine, b"mine")


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_dirty_pages_never_land(scene, guid, death):
    """C3: what the old program had stored through a mapping when it was fenced never reaches the file."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    old.pwrite(fd, bytes_of("1"))
    area = old.map(fd, PAGE)
    old.store(area, 100, b"clean")
    old.msync(area)
    old.store(area, 0, b"dirty")
    death.die(scene.one)

    new = scene.two.python(instance=guid)
    mine = new.open("data", "rw")
    new.pwrite(mine, bytes_of("2"))
    death.revive(scene.one)
    assert takes_effect(old, area) in ("SIGBUS", errno.ESTALE, errno.EIO, death.old_handle)
    assert scene.stored("data") == bytes_of("2")
    old.kill()
    old.exited()
    assert scene.stored("data") == bytes_of("2")
    assert new.pread(mine, PAGE) == bytes_of("2")


@pytest.mark.parametrize("death", [death for death in DEATHS if death.name in ("link-down", "packets-dropped")], ids=str)
def test_write_under_way_when_the_link_went(scene, guid, death):
    """T4, S1: a write, an append, a rename and an open that waited for the link are refused when it is back."""
    scene.store("tmp", b"tmp")
    programs = [scene.one.python(instance=guid) for _ in range(4)]
    writer, appender, renamer, opener = programs
    data, log = writer.create("data"), appender.create("log", flags=os.O_APPEND)
    death.die(scene.one)
    waiting = [writer.start_call("os.pwrite", data, bytes_of("1"), 0).waits(),
               appender.start_call("os.write", log, b"late").waits(),
               renamer.start_call("os.rename", "tmp", "data").waits(),
               opener.start_call("open", "tmp", os.O_WRONLY | os.O_TRUNC).waits()]

    new = scene.two.python(instance=guid)
    new.pwrite(new.open("data", "rw"), bytes_of("2"))
    death.revive(scene.one)
    for call in waiting:
        with refused(errno.ESTALE):
            call.result()
    assert (scene.stored("data"), scene.stored("log"), scene.stored("tmp")) == (bytes_of("2"), b"", b"tmp")


def test_tmp_and_rename_does_not_land(scene, guid):
    """T4: the old incarnation's write to a new name and rename over the data file does not land."""
    old = scene.one.python(instance=guid)
    old.write_file("data", b"one")
    old.write_file("data.tmp", b"late")
    new = scene.two.python(instance=guid)
    new.write_file("data", b"two")
    with refused(errno.ESTALE):
        old.rename("data.tmp", "data")
    assert scene.stored("data") == b"two"


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_nobody_steals_back(scene, guid, death):
    """T7: the fenced program and its children stay fenced; a program started anew takes over again."""
    old = scene.one.python(instance=guid)
    worker = old.fork()           # never touched the mount before the fence
    daemon = old.fork_twice()
    disguised = old.spawn()       # as env -u does it
    old.create("data")
    death.die(scene.one)
    new = scene.two.python(instance=guid)
    mine = new.open("data", "rw")
    death.revive(scene.one)

    later = old.fork() if old.alive else worker
    for program in (old, worker, daemon, disguised, later):
        with refused(errno.ESTALE):
            program.open(scene.at("data"), "rw")
        with refused(errno.ESTALE):
            program.create(scene.at("fresh"))
    new.pwrite(mine, b"unharmed")

    program, fd = scene.one.restarted(scene.at("data"), instance=guid)
    program.pwrite(fd, b"restarts")
    with refused(errno.ESTALE):
        new.pwrite(mine, b"late")
    with refused(errno.ESTALE):
        old.open(scene.at("data"), "rw")
    assert scene.stored("data") == b"restarts"


def test_supervisor_on_the_cut_off_node(scene, guid):
    """T7: a program that a supervisor restarted while its node was cut off does not come back with the link."""
    old = scene.one.python(instance=guid)
    old.create("data")
    scene.one.cut()
    old.kill()
    restarted = scene.one.python(instance=guid, cwd="/")   # it cannot know that X lives elsewhere by now
    new = scene.two.python(instance=guid)
    mine = new.open("data", "rw")
    scene.one.mend()
    with refused(errno.ESTALE):
        restarted.open(scene.at("data"), "rw")
    new.pwrite(mine, b"unharmed")


def test_zombie_on_the_same_kernel(scene, guid):
    """C3: the dirty pages of the old incarnation do not land when the new one runs on the same node by another mount."""
    old = scene.one.python(instance=guid, version="1")
    fd = old.create("data")
    old.pwrite(fd, bytes_of("1"))
    area = old.map(fd, PAGE)
    old.store(area, 0, b"dirty")
    other_mount = scene.lab.directory / "other"
    scene.one.mount(at=other_mount)
    new = scene.one.python(instance=guid, version="2", cwd=other_mount)
    mine = new.open("data", "rw")
    new.pwrite(mine, bytes_of("2"))
    assert takes_effect(old, area) in ("SIGBUS", errno.ESTALE, errno.EIO)
    assert scene.stored("data") == bytes_of("2")


def test_zombie_on_the_same_mount(scene, guid):
    """C3: nor when it runs on the very same mount, where the kernel has one page cache for both."""
    old = scene.one.python(instance=guid, version="1")
    fd = old.create("data")
    old.pwrite(fd, bytes_of("1"))
    area = old.map(fd, PAGE)
    old.store(area, 0, b"dirty")
    new = scene.one.python(instance=guid, version="2")
    mine = new.open("data", "rw")
    new.pwrite(mine, bytes_of("2"))
    assert takes_effect(old, area) in ("SIGBUS", errno.ESTALE, errno.EIO)
    assert scene.stored("data") == bytes_of("2")
    assert new.pread(mine, PAGE) == bytes_of("2")


def test_fence_is_told_while_idle(scene, guid):
    """T6: the old node is told at once: a mapping that nobody touched is dead without any request of the old program."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    old.pwrite(fd, bytes_of("1"))
    area = old.map(fd, PAGE)
    assert old.load(area, 0, 4) == b"1111"
    scene.two.python(instance=guid).open("data", "rw")
    assert eventually(lambda: old.guarded("load", area, 0, 4), 10) == "SIGBUS"
