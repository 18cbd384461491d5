"""D4, T7, T9: what a server that was killed still knows after its restart, and who waits for a session that has not come back."""
import errno
import os
import uuid
from pathlib import Path

import pytest
from lab import eventually, refused

LEASE = 3.0
NO_WAIT = LEASE / 2   # who need not wait has his answer in milliseconds


@pytest.fixture
def after_the_end(scene, guid):
    """Two files claimed by a program of X on node one; then node one and the server die together. The server is back."""
    old = scene.one.python(instance=guid)
    for name in ("data", "other"):
        old.pwrite(old.create(name), b"old")
    scene.one.crash()
    scene.server.restart()
    return scene


with_lease = pytest.mark.parametrize("scene", [("--lease", f"{LEASE}s")], indirect=True)


def target(link):
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""   # closed meanwhile


@with_lease
def test_its_instance_does_not_wait(after_the_end, guid):
    """X on node two has its files at once, although node one may still be there for all that the server knows."""
    scene = after_the_end
    program, fd = scene.two.restarted(scene.at("data"), within=NO_WAIT, instance=guid)
    assert program.pread(fd, 3) == b"old"
    program.pwrite(fd, b"new")
    assert program.open(scene.at("other"), "rw")
    assert len(scene.server.events("takeover", guid=guid)) == 1


@with_lease
def test_strangers_wait_for_the_lease(after_the_end, other_guid):
    """Nobody else writes what X may have had before the lease is over; who only reads does not wait."""
    scene = after_the_end

    def opened(name, **who):
        program = scene.two.python(cwd="/", **who)
        return program, program.start_call("open", scene.at(name), os.O_RDWR)

    scene.two.restarted(scene.at("data"), within=NO_WAIT, mode="r")
    waiting = [opened("data", instance=other_guid), opened("other")]
    for _program, call in waiting:
        call.waits()
    assert [session["state"] for session in scene.server.listing("sessions") if session["node"] == "one"] == ["absent"]
    for program, call in waiting:
        program.pwrite(call.result(within=LEASE + 10), b"new")
    assert (scene.stored("data"), scene.stored("other")) == (b"new", b"new")
    assert scene.server.events("fenced")


def test_fence_outlives_the_server(scene, guid):
    """The node was cut off when X went elsewhere, and the server that knew of it was killed: the old program stays out."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.one.cut()
    new, mine = scene.two.restarted(scene.at("data"), instance=guid)
    new.pwrite(mine, b"new")
    scene.server.restart()
    scene.one.mend()
    for attempt in (lambda: old.pwrite(fd, b"late"), lambda: old.open(scene.at("data"), "rw"),
                    lambda: old.truncate(scene.at("data"), 0)):
        with refused(errno.ESTALE):
            attempt()
    assert scene.stored("data") == b"new"
    restarted, fd = scene.one.restarted(scene.at("data"), instance=guid)   # once its node has heard
    restarted.pwrite(fd, b"one")


# --- what the programs of live nodes have stays theirs (D2, D4, S1) ---------------------------------------------------------

def test_locks_of_every_kind_are_kept(scene):
    """Ranges split and merged, flock and OFD: they are exactly as they were, for their holders, for others and when they are let go."""
    scene.store("data", bytes(100))
    scene.store("flocked")
    one, two = scene.one.python(), scene.two.python()
    mine, other = one.open("data", "rw"), two.open("data", "rw")
    one.lock(mine, "w", 0, 30)
    one.lock(mine, "u", 10, 10)            # in two parts
    one.lock(mine, "r", 20, 40)            # a part downgraded, then more of it
    ofd = one.open("data", "rw")
    one.lock(ofd, "w", 70, 10, kind="ofd")
    one.lock(one.open("flocked", "rw"), "r", kind="flock")
    two.lock(other, "w", 90, 10)
    for _ in range(3):
        scene.server.restart()
    assert two.getlk(other, "w", 0, 90) == ("w", 0, 10, 0)
    assert two.getlk(other, "w", 10, 60) == ("r", 20, 40, 0)
    assert two.getlk(other, "r", 10, 60) is None
    assert two.getlk(other, "r", 60, 30) == ("w", 70, 10, 0)
    assert one.getlk(mine, "r", 80, 0) == ("w", 90, 10, 0)
    two.lock(other, "w", 10, 10)
    for start, length in ((0, 1), (20, 40), (70, 10)):
        with refused(errno.EAGAIN):
            two.lock(other, "w", start, length)
    flocked = two.open("flocked", "rw")
    with refused(errno.EAGAIN):
        two.lock(flocked, "w", kind="flock")
    two.lock(flocked, "r", kind="flock")
    one.close(ofd)
    two.lock(other, "w", 70, 10)
    one.lock(mine, "u", 0, 0)
    two.lock(other, "w", 0, 0)


def test_claims_are_kept(scene, guid, other_guid):
    """O2: strangers are refused as before, the instance's own processes are not, and nobody is fenced."""
    program = scene.one.python(instance=guid)
    fd = program.create("data")
    program.pwrite(fd, b"one")
    strangers = [scene.two.python(), scene.two.python(instance=other_guid)]
    scene.server.restart()
    for stranger in strangers:
        with refused(errno.EBUSY):
            stranger.open("data", "rw")
        assert stranger.read_file("data") == b"one"
    program.pwrite(fd, b"two")
    again = scene.one.python(instance=guid)
    again.pwrite(again.open("data", "rw"), b"own")
    assert scene.stored("data") == b"own"
    assert not scene.server.events("fenced") and not scene.server.events("takeover")


def test_a_takeover_after_the_restart_fences_as_ever(scene, guid):
    """T1, T4: what was asserted is what the takeover takes."""
    program = scene.one.python(instance=guid)
    fd = program.create("data")
    program.lock(fd, "w")
    scene.server.restart()
    program.pwrite(fd, b"one")
    new = scene.two.python(instance=guid)
    mine = new.open("data", "rw")
    new.lock(mine, "w")
    with refused(errno.ESTALE):
        program.pwrite(fd, b"late")
    assert scene.stored("data") == b"one"


def test_sqlite_in_the_middle_of_a_transaction(scene):
    """It holds record locks and a journal; the transaction is committed, and everybody sees it."""
    program, other = scene.one.python(), scene.two.python()
    program.run("import sqlite3\nbase = sqlite3.connect('base.db', isolation_level=None, timeout=20)\n"
                "base.execute('PRAGMA synchronous=FULL'); base.execute('CREATE TABLE t (n)')\n"
                "base.execute('BEGIN EXCLUSIVE'); base.execute('INSERT INTO t VALUES (1)')")
    other.run("import sqlite3\nbase = sqlite3.connect('base.db', isolation_level=None, timeout=0)")
    scene.server.restart()
    locked = other.run("try:\n    base.execute('INSERT INTO t VALUES (2)')\nexcept sqlite3.OperationalError as error:\n    result = str(error)")
    assert locked == "database is locked"
    scene.server.restart()
    program.run("base.execute('INSERT INTO t VALUES (3)'); base.execute('COMMIT')")
    assert other.run("result = base.execute('SELECT n FROM t ORDER BY n').fetchall()") == [(1,), (3,)]
    assert other.run("result = base.execute('PRAGMA integrity_check').fetchone()[0]") == "ok"


def test_open_files_without_a_name(scene):
    """D2: unlinked, and given way to another by rename: both go on, and are gone with their last handle."""
    program = scene.one.python()
    unlinked, replaced = program.create("unlinked"), program.create("name")
    program.pwrite(unlinked, b"unlinked")
    program.pwrite(replaced, b"replaced")
    program.unlink("unlinked")
    program.write_file("tmp", b"new")
    program.rename("tmp", "name")
    for _ in range(2):
        scene.server.restart()
        assert program.pread(unlinked, 100) == b"unlinked"
        assert program.pread(replaced, 100) == b"replaced"
        assert (program.fstat(unlinked)["st_nlink"], program.fstat(replaced)["st_nlink"]) == (0, 0)
        assert program.listdir(scene.at("")) == ["name"]
    program.pwrite(unlinked, b"UN")
    program.ftruncate(replaced, 3)
    assert (program.pread(unlinked, 100), program.pread(replaced, 100)) == (b"UNlinked", b"rep")
    assert program.read_file("name") == b"new"
    assert len(os.listdir(scene.lab.export / ".baton")) == 2
    program.close(unlinked)
    program.close(replaced)
    eventually(lambda: not os.listdir(scene.lab.export / ".baton"), 30, "they are gone, once nobody is awaited any more")
    descriptors = Path(f"/proc/{scene.server.pid}/fd")
    eventually(lambda: not any("(deleted)" in target(link) for link in descriptors.iterdir()), 10, "and their inodes are free")


def test_an_open_file_of_a_node_that_is_not_back_yet(scene):
    """D2: its name goes, and the last handle that batond knows of is closed, before the node that has it open, too, is heard again."""
    scene.store("data", b"text")
    one, two = scene.one.python(), scene.two.python()
    mine, other = one.open("data"), two.open("data")
    scene.one.cut()
    scene.server.restart()
    two.write_file("tmp", b"new")
    two.rename("tmp", "data")
    two.close(other)
    scene.one.mend()
    assert one.pread(mine, 100) == b"text"


def test_a_mapped_file(scene):
    """What was stored before and after reaches the file; pages that were never read can be."""
    scene.store("data", b"a" * 4096 + b"b" * 4096)
    program = scene.one.python()
    area = program.map(program.open("data", "rw"), 8192)
    program.store(area, 0, b"before")
    scene.server.restart()
    program.store(area, 10, b"after")
    assert program.load(area, 4096, 3) == b"bbb"
    program.msync(area)
    assert scene.stored("data")[:15] == b"beforeaaaaafter"


def test_waiting_locks(scene):
    """L2: who waited goes on waiting, in order, and each is granted once."""
    scene.store("data")
    holder = scene.one.python()
    fd = holder.open("data", "rw")
    holder.lock(fd, "w")
    waiting = []
    for node in (scene.two, scene.one, scene.two):
        program = node.python()
        mine = program.open("data", "rw")
        waiting.append((program, mine, program.start_call("lock", mine, "w", wait=True).waits()))
    for _ in range(2):
        scene.server.restart()
        holder.pwrite(fd, b"still mine")
    assert not any(call.done() for _, _, call in waiting)
    holder.lock(fd, "u")
    left = list(waiting)
    while left:
        eventually(lambda: any(call.done() for _, _, call in left), 10, "the next one is granted")  # noqa: B023
        granted = [entry for entry in left if entry[2].done()]
        assert len(granted) == 1
        program, mine, call = granted[0]
        call.result()
        program.lock(mine, "u")
        left.remove(granted[0])


def test_each_request_takes_effect_once(scene):
    """D2, T10: names that move and an append, under way while batond is killed again and again."""
    text = "for n in range(300):\n    os.rename(f'file{n}', f'file{n + 1}')\n    os.write(fd, b'%d\\n' % n)\n" \
           "    os.link(f'file{n + 1}', 'link'); os.unlink('link'); os.mkdir('folder'); os.rmdir('folder')\n" \
           "    os.close(os.open('new', os.O_CREAT | os.O_EXCL)); os.unlink('new')\n"
    program = scene.one.python()
    program.close(program.create("file0"))
    call = program.start_call("run", text, fd=program.create("log", flags=os.O_APPEND))
    while not call.done():
        before = scene.stored("log")
        scene.server.restart()
        eventually(lambda: call.done() or scene.stored("log") != before, 20, "it goes on")  # noqa: B023
    call.result()
    assert scene.stored("log").split() == [str(n).encode() for n in range(300)]
    assert sorted(program.listdir(scene.at(""))) == ["file300", "log"]


def test_a_large_append_is_whole(scene):
    """D2, O7: of many pages, cut off by SIGKILL or not: each is there once and in one piece."""
    text = "for n in range(200):\n    assert os.write(fd, b'%09d\\n' % n * 6000) == 60000\n"
    program = scene.one.python()
    call = program.start_call("run", text, fd=program.create("log", flags=os.O_APPEND))
    while not call.done():
        before = len(scene.stored("log"))
        scene.server.restart()
        eventually(lambda: call.done() or len(scene.stored("log")) > before, 20, "it goes on")  # noqa: B023
    call.result()
    assert scene.stored("log") == b"".join(b"%09d\n" % n * 6000 for n in range(200))


# --- sessions that do not come back at once, and those that come back too late (D4, S2) -------------------------------------

@with_lease
def test_a_lock_of_a_node_that_is_away(scene):
    """D4: nobody gets it before the lease is over; then the one who waits has it, and the old holder ESTALE."""
    scene.store("data")
    old, new = scene.one.python(), scene.two.python()
    fd, mine = old.open("data", "rw"), new.open("data", "rw")
    old.lock(fd, "w")
    scene.one.cut()
    scene.server.restart()
    call = new.start_call("lock", mine, "w", wait=True).waits()
    assert eventually(lambda: [session["state"] for session in scene.server.listing("sessions") if session["node"] == "one"], 5) == ["absent"]
    call.result(within=LEASE + 10)
    new.pwrite(mine, b"new")
    scene.one.mend()
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    assert scene.stored("data") == b"new"
    assert old.create(scene.at("fresh"))


@with_lease
def test_a_node_that_comes_back_within_the_lease(scene, guid, other_guid):
    """S1, D4: it finds everything as it was; who waited meanwhile is refused, or goes on waiting."""
    program = scene.one.python(instance=guid)
    fd = program.create("data")
    program.lock(fd, "w")
    scene.one.cut()
    scene.server.restart()
    call = scene.two.python(instance=other_guid).start_call("open", "data", os.O_RDWR).waits()
    scene.one.mend()
    program.pwrite(fd, b"mine")
    with refused(errno.EBUSY):
        call.result()
    assert scene.stored("data") == b"mine"


def test_old_node_comes_back_after_a_takeover(scene, guid):
    """Server and node one go together, X has its files on node two at once; then node one is back: ESTALE, nothing late."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    old.pwrite(fd, bytes(4096))
    area = old.map(fd, 4096)
    old.store(area, 0, b"dirty")
    scene.one.cut()
    scene.server.restart()
    new, mine = scene.two.restarted(scene.at("data"), within=2, instance=guid)
    new.pwrite(mine, b"new")
    scene.one.mend()
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    assert eventually(lambda: old.guarded("store_and_sync", area, 0, b"late"), 10) in ("SIGBUS", errno.ESTALE, errno.EIO)
    assert scene.stored("data") == b"new".ljust(4096, b"\0")


# --- the server's machine went down (D3) ------------------------------------------------------------------------------------

@pytest.fixture
def rebooted(lab):
    """(node, program, reboot): reboot() kills batond and starts it on what it takes for a machine in its next boot."""
    path = lab.directory / "server-boot-id"
    path.write_text(f"{uuid.uuid4()}\n")
    server = lab.server("--boot-id-file", str(path))
    node = lab.node("one")
    node.mount()

    def reboot():
        server.kill()
        path.write_text(f"{uuid.uuid4()}\n")
        server.start()
    return node, node.python(), reboot


def test_what_was_not_synced_is_told_once(rebooted):
    """Each handle with writes that were not synced says EIO at its next fsync or close, once; the others say nothing."""
    _node, program, reboot = rebooted
    names = ["fsync", "close", "synced", "clean", "dsync"]
    fds = {name: program.create(name, flags=os.O_DSYNC if name == "dsync" else 0) for name in names}
    for name in ("fsync", "close", "synced", "dsync"):
        program.pwrite(fds[name], b"text")
    program.fsync(fds["synced"])
    reboot()
    with refused(errno.EIO):
        program.fsync(fds["fsync"])
    program.fsync(fds["fsync"])
    with refused(errno.EIO):
        program.call("os.close", fds["close"])
    for name in ("fsync", "synced", "clean", "dsync"):
        program.fsync(fds[name])
        program.call("os.close", fds[name])


def test_a_restart_on_the_same_boot_tells_nothing(rebooted):
    """SIGKILL alone loses nothing, so there is nothing to tell."""
    node, program, _reboot = rebooted
    fd = program.create("data")
    program.pwrite(fd, b"text")
    node.lab.the_server.restart()
    program.fsync(fd)
    program.pwrite(fd, b"more")
    program.call("os.close", fd)


def test_two_handles_of_one_file_are_told_each(rebooted):
    """Also the one through which nothing was written since: only what it wrote itself counts, and an fsync of either counts for both."""
    _node, program, reboot = rebooted
    one, two, reader = program.create("data"), program.open("data", "rw"), program.open("data")
    program.pwrite(one, b"1")
    program.pwrite(two, b"2", 1)
    reboot()
    for fd in (one, two):
        with refused(errno.EIO):
            program.fsync(fd)
    program.fsync(reader)
    program.pwrite(one, b"1")
    program.pwrite(two, b"2", 1)
    program.fsync(two)
    reboot()
    program.fsync(one)
    program.call("os.close", two)
