"""A4: limits: the errno that a program gets, the event that the operator gets, and that nobody else notices; a client that has
stopped never slows the others."""
import errno
import os
import time

import pytest
from lab import eventually, refused


def limits(scene, node):
    """The options of which there was an event."""
    return {event["detail"].split()[0].removeprefix("--").rstrip(":") for event in scene.server.events("limit", to_node=node)}


@pytest.mark.parametrize("scene", [("--max-handles-per-session", "3", "--max-handles", "5")], indirect=True)
def test_handles(scene):
    """ENFILE, before anything is made or truncated; a close makes room."""
    program, other = scene.one.python(), scene.two.python()
    scene.store("data", b"text")
    open_now = [program.open("data") for _ in range(3)]
    for _ in range(3):
        with refused(errno.ENFILE):
            program.open("data", "rw", flags=os.O_TRUNC)
        with refused(errno.ENFILE):
            program.create("new")
    assert scene.stored("data") == b"text" and scene.lab.names() == ["data"]
    theirs = [other.create(f"file{n}") for n in range(2)]
    with refused(errno.ENFILE):
        other.create("file2")
    other.pwrite(theirs[0], b"they go on")
    assert limits(scene, "one") == {"max-handles-per-session"} and limits(scene, "two") == {"max-handles"}
    assert len(scene.server.events("limit")) == 2   # not one for each
    program.close(open_now.pop())
    eventually(lambda: len(scene.server.listing("opens")) == 4, 10)   # close(2) does not wait for it
    other.create("file2")


@pytest.mark.parametrize("scene", [("--max-locks-per-session", "3", "--max-waiting-per-session", "2")], indirect=True)
def test_locks_and_who_waits(scene):
    """ENOLCK for a lock too many, an unlock that makes two of one, and a wait too many."""
    program = scene.one.python()
    fd = program.create("data")
    for start in (0, 100, 200):
        program.lock(fd, "w", start, 50)
    with refused(errno.ENOLCK):
        program.lock(fd, "w", 300, 50)
    with refused(errno.ENOLCK):
        program.lock(fd, "u", 10, 10)
    program.lock(fd, "r", 0, 50)   # another in its place
    waiting = [scene.two.python() for _ in range(3)]
    calls = [who.start_call("lock", who.open("data", "rw"), "w", 100 * (n % 2 + 1), 10, wait=True).waits()
             for n, who in enumerate(waiting[:2])]
    eventually(lambda: sum(lock["state"] == "waiting" for lock in scene.server.listing("locks")) == 2, 10)
    last = waiting[2].open("data", "rw")
    with refused(errno.ENOLCK):
        waiting[2].lock(last, "w", 100, 10, wait=True)
    waiting[2].lock(last, "w", 400, 10, wait=True)   # nobody in the way
    program.lock(fd, "u")
    for call in calls:
        call.result()
    assert limits(scene, "one") == {"max-locks-per-session"} and limits(scene, "two") == {"max-waiting-per-session"}
    program.lock(fd, "w", 500, 50)


def test_limit_lowered_over_a_restart(scene, guid):
    """D4: who comes back gets all he held; nothing more until he is below it."""
    program, other = scene.one.python(instance=guid), scene.two.python()
    fds = [program.create(f"file{n}") for n in range(6)]
    for n in range(6):
        program.lock(fds[0], "w", 10 * n, 5)
    theirs = other.create("theirs")
    scene.server.kill()
    scene.server.argv += ["--max-handles", "2", "--max-handles-per-session", "2", "--max-locks", "1", "--max-locks-per-session", "1",
                          "--max-sessions", "1"]
    scene.server.start()
    for fd in fds:
        assert program.pwrite(fd, b"on") == 2
    assert other.pwrite(theirs, b"on") == 2
    assert len([lock for lock in scene.server.listing("locks") if lock["state"] == "held"]) == 6
    with refused(errno.ENFILE):
        program.open("file0")
    with refused(errno.ENOLCK):
        program.lock(fds[0], "w", 500, 5)
    for fd in fds:
        program.close(fd)
    eventually(lambda: len(scene.server.listing("opens")) == 1, 10)
    fd = program.open("file0", "rw")
    program.lock(fd, "w")


def memory(server):
    """Resident, in bytes."""
    with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


@pytest.mark.unsanitized
def test_stopped_mount_with_large_replies(scene):
    """40 MiB that it has asked for and does not read: memory stays bounded, others go on; when it wakes it gets them all."""
    scene.store("large", os.urandom(1 << 20) * 40)
    readers = [scene.one.python() for _ in range(20)]
    fds = [reader.open("large", "r", os.O_DIRECT) for reader in readers]
    other = scene.two.python()
    fd = other.create("theirs")
    before = memory(scene.server)
    scene.server.freeze()
    calls = [reader.start_call("run", f"result = os.preadv({asked}, [mmap.mmap(-1, 2 << 20)], {n} << 21)").waits()
             for n, (reader, asked) in enumerate(zip(readers, fds))]
    scene.one.runs[0].freeze()
    scene.server.thaw()
    slowest = 0
    for n in range(200):
        started = time.monotonic()
        other.pwrite(fd, b"text", 4 * n)
        other.stat("theirs")
        slowest = max(slowest, time.monotonic() - started)
        assert memory(scene.server) - before < 96 << 20
    assert slowest < 2   # the machine may be busy; without bounds it would be for as long as the other sleeps
    scene.one.runs[0].thaw()
    for call in calls:
        assert call.result() == 2 << 20


@pytest.mark.unsanitized
def test_stopped_mount_with_notices_outstanding(lab):
    """Beyond --max-unread-output its connection is closed and its session kept: when it wakes it knows what has changed."""
    lab.host.shell("sysctl -qw net.ipv4.tcp_wmem='4096 16384 16384'")
    lab.mount_options = ("entry_timeout=60", "attr_timeout=60")
    server = lab.server("--max-unread-output", "1")
    names = [f"{n:05}".ljust(250, "x") for n in range(5000)]
    for name in names:
        (lab.export / name).touch()
    one, two = lab.node("one"), lab.node("two")
    one.shell("sysctl -qw net.ipv4.tcp_rmem='4096 16384 16384'")
    one.mount()
    two.mount()
    program, other = one.python(), two.python()
    fd = program.create("mine")
    program.lock(fd, "w")
    assert program.run("result = sum(os.stat(name).st_size for name in names)", names=names) == 0
    one.freeze()
    before = memory(server)
    slowest = other.run("import time\nworst = 0\nfor name in names:\n    start = time.monotonic()\n    os.unlink(name)\n"
                        "    worst = max(worst, time.monotonic() - start)\nresult = worst\n", names=names)
    assert slowest < 2
    eventually(lambda: server.events("limit", to_node="one"), 10)
    assert "max-unread-output" in server.events("limit", to_node="one")[0]["detail"]
    assert memory(server) - before < 32 << 20
    assert sorted(session["node"] for session in server.listing("sessions")) == ["one", "two"]
    one.thaw()
    eventually(lambda: "resumed session" in one.runs[0].log(), 20)
    assert program.pwrite(fd, b"mine") == 4
    assert program.run("result = sum(os.path.exists(name) for name in names)", names=names) == 0
    with refused(errno.EAGAIN, errno.EACCES):
        other.lock(other.open("mine", "rw"), "w")
