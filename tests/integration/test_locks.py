"""L: locks hold between nodes as between processes of one kernel."""
import errno

import pytest
from lab import eventually, refused

KINDS = ["posix", "ofd", "flock"]
HELD = (errno.EAGAIN, errno.EACCES)


@pytest.fixture
def pair(scene):
    """Two programs without an instance, one per node, and their descriptors of one file."""
    scene.store("data", bytes(100))
    programs = [scene.one.python(), scene.two.python()]
    return [(program, program.open("data", "rw")) for program in programs]


@pytest.mark.parametrize("kind", KINDS)
def test_exclusion(pair, kind):
    """L1: a write lock excludes all, read locks share, unlocking frees."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", kind=kind)
    for mode in "rw":
        with refused(*HELD):
            b.lock(at_b, mode, kind=kind)
    a.lock(at_a, "r", kind=kind)
    b.lock(at_b, "r", kind=kind)
    with refused(*HELD):
        b.lock(at_b, "w", kind=kind)
    a.lock(at_a, "u", kind=kind)
    b.lock(at_b, "w", kind=kind)
    with refused(*HELD):
        a.lock(at_a, "r", kind=kind)


@pytest.mark.parametrize("kind, pid", [("posix", 0), ("ofd", -1)])
def test_ranges(pair, kind, pid):
    """L1: ranges split, merge and change; what is in the way is told. The holder's pid is 0, being on another node; who
    asks with F_OFD_GETLK gets -1 from the kernel whatever it is."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", 0, 30, kind=kind)
    a.lock(at_a, "u", 10, 10, kind=kind)
    b.lock(at_b, "w", 10, 10, kind=kind)
    for start in (9, 20):
        with refused(*HELD):
            b.lock(at_b, "w", start, 1, kind=kind)
    a.lock(at_a, "r", 0, 5, kind=kind)
    assert b.getlk(at_b, "w", 0, 100, kind=kind) == ("r", 0, 5, pid)
    assert b.getlk(at_b, "r", 0, 100, kind=kind) == ("w", 5, 5, pid)
    assert a.getlk(at_a, "w", 0, 100, kind=kind) == ("w", 10, 10, pid)
    assert a.getlk(at_a, "w", 30, 0, kind=kind) is None


@pytest.mark.parametrize("kind", KINDS)
def test_waiting(pair, kind):
    """L2: who waits gets the lock when it is free; a signal ends the waiting with EINTR."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", kind=kind)
    waiting = b.start_call("lock", at_b, "w", wait=True, kind=kind).waits()
    b.interrupt()
    with refused(errno.EINTR):
        waiting.result()
    waiting = b.start_call("lock", at_b, "w", wait=True, kind=kind).waits()
    a.lock(at_a, "u", kind=kind)
    waiting.result()
    with refused(*HELD):
        a.lock(at_a, "w", kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_second_try_after_an_interrupt_without_a_link(scene, pair, kind):
    """L1, L2, S5: a wait that was interrupted while the link was down is over at the server, too, and its end takes nothing from the
    next one, which was granted."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", kind=kind)
    waiting = b.start_call("lock", at_b, "w", wait=True, kind=kind).waits()
    eventually(lambda: waiters(scene.server) == 1, 10, "the server has it in its queue")
    scene.two.cut()
    eventually(lambda: "requests wait" in scene.two.runs[-1].log(), 10, "its mount knows")
    b.interrupt()
    with refused(errno.EINTR):
        waiting.result()
    again = b.start_call("lock", at_b, "w", wait=True, kind=kind).waits()
    scene.two.mend()
    eventually(lambda: "resumed session" in scene.two.runs[-1].log(), 10, "its mount is back")
    eventually(lambda: waiters(scene.server) == 1, 10, "only the second wait is left")
    a.lock(at_a, "u", kind=kind)
    again.result()
    assert [lock["node"] for lock in scene.server.listing("locks")] == ["two"]
    with refused(*HELD):
        a.lock(at_a, "w", kind=kind)


def waiters(server):
    return sum(lock["state"] == "waiting" for lock in server.listing("locks"))


def test_waiters_are_served_in_order(scene, pair):
    """L2: first come, first served, whatever the node."""
    (a, at_a), _ = pair
    a.lock(at_a, "w")
    queue = []
    for number in range(6):
        program = (scene.one, scene.two)[number % 2].python()
        fd = program.open("data", "rw")
        queue.append((program, fd, program.start_call("lock", fd, "w", wait=True).waits()))
        eventually(lambda: waiters(scene.server) == number + 1, 10, "the server has it in its queue")
    a.lock(at_a, "u")
    for number, (program, fd, call) in enumerate(queue):
        call.result()
        assert not any(later.done() for _, _, later in queue[number + 1:])
        program.lock(fd, "u")


def test_deadlock_between_nodes(scene, pair):
    """L2: EDEADLK is found across nodes for POSIX locks."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", 0, 10)
    b.lock(at_b, "w", 10, 10)
    waiting = a.start_call("lock", at_a, "w", 10, 10, wait=True).waits()
    eventually(lambda: waiters(scene.server) == 1, 10, "the server has it in its queue")
    with refused(errno.EDEADLK):
        b.lock(at_b, "w", 0, 10, wait=True)
    b.lock(at_b, "u", 10, 10)
    waiting.result()


@pytest.mark.parametrize("kind, freed", [("posix", True), ("ofd", False), ("flock", False)])
def test_release_on_close(pair, kind, freed):
    """L1: closing any descriptor of the file frees a process's POSIX locks, but the others only with their own open."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", kind=kind)
    a.close(a.open("data", "r"))
    if not freed:
        with refused(*HELD):
            b.lock(at_b, "w", kind=kind)
        a.close(at_a)
        b.lock(at_b, "w", kind=kind, wait=True)
    b.lock(at_b, "w", kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_fork(pair, kind):
    """L1: a child shares flock and OFD locks of its parent's open, and has none of its POSIX locks."""
    (a, at_a), _ = pair
    a.lock(at_a, "w", kind=kind)
    child = a.fork()
    if kind == "posix":
        with refused(*HELD):
            child.lock(at_a, "w", kind=kind)
    else:
        child.lock(at_a, "w", kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_holder(pair, kind):
    """L1, L3: the locks of a process go with it."""
    (a, at_a), (b, at_b) = pair
    a.lock(at_a, "w", kind=kind)
    waiting = b.start_call("lock", at_b, "w", wait=True, kind=kind).waits()
    a.kill()
    waiting.result()


def test_reader_sees_what_was_written_before_the_lock(pair):
    """C1: after a lock is granted a reader sees everything written by others before, though it had cached the file."""
    (a, at_a), (b, at_b) = pair
    for number in range(20):
        writer, to, reader, fro = (a, at_a, b, at_b) if number % 2 else (b, at_b, a, at_a)
        assert len(reader.pread(fro, 100)) == 100
        writer.lock(to, "w")
        writer.pwrite(to, bytes([number]) * 100)
        writer.lock(to, "u")
        reader.lock(fro, "r")
        assert reader.pread(fro, 100) == bytes([number]) * 100
        reader.lock(fro, "u")


def test_flock_command(scene):
    """L1: flock(1) works between nodes."""
    scene.store("data")
    holder = scene.one.python()
    holder.lock(holder.open("data", "rw"), "w", kind="flock")
    held = scene.two.run(["flock", "-n", "-E", "9", scene.at("data"), "true"])
    assert held.returncode == 9
    holder.kill()
    scene.two.run(["flock", scene.at("data"), "true"], check=True)


SQLITE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for number in range(int(sys.argv[3])):
    database.execute("BEGIN IMMEDIATE")
    count, = database.execute("SELECT count(*) FROM rows").fetchone()
    database.execute("INSERT INTO rows VALUES (?, ?)", (count, sys.argv[2]))
    database.execute("COMMIT")
"""


def test_sqlite_on_two_nodes(scene):
    """L1, C1: two unmodified SQLite programs on two nodes write to one database: no lost row, no corruption."""
    path = scene.at("base.db")
    count = 25
    scene.one.run(["sqlite3", path, "CREATE TABLE rows (number INTEGER PRIMARY KEY, node TEXT)"], check=True)
    programs = [node.popen(["/usr/bin/python3", "-c", SQLITE, path, node.name, str(count)])
                for node in (scene.one, scene.two) for _ in range(2)]
    assert [program.wait(120) for program in programs] == [0] * 4
    result = scene.two.run(["sqlite3", path, "PRAGMA integrity_check; SELECT count(*), max(number) FROM rows"], check=True)
    assert result.stdout.split() == ["ok", f"{4 * count}|{4 * count - 1}"]
