"""S: sessions outlive connections; leases, clean ends, and a server that cannot be reached."""
import errno
import os
import pathlib
import signal
import time

import pytest
from lab import LinkDown, PacketsDropped, eventually, refused

CUTS = pytest.mark.parametrize("how", [LinkDown, PacketsDropped], ids=["link-down", "packets-dropped"])


@CUTS
def test_broken_connection_is_a_pause(scene, guid, how):
    """S1: a request that meets a cut link waits; handles, claims and locks are as they were when it is back."""
    program = scene.one.python(instance=guid)
    fd = program.create("data")
    program.lock(fd, "w")
    scene.one.cut(how)
    call = program.start_call("os.pwrite", fd, b"patient", 0).waits()
    mended = time.monotonic()
    scene.one.mend()
    assert call.result() == 7
    assert time.monotonic() - mended < 2
    assert scene.stored("data") == b"patient"
    stranger = scene.two.python()
    with refused(errno.EBUSY):
        stranger.open("data", "rw")
    assert len(scene.server.events("session-began")) == 2
    assert scene.server.events("takeover") == []


@CUTS
@pytest.mark.parametrize("scene", [("--lease", "500ms")], indirect=True)
@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])   # 4: longer than TCP's first back-offs
@pytest.mark.unsanitized
def test_link_that_was_cut_for_long(scene, how, seconds):
    """S1, S2: however long it was cut, the session goes on within 1 s of the link being back, if nobody minded."""
    program = scene.one.python()
    fd = program.create("data")
    program.lock(fd, "w")
    scene.one.cut(how)
    eventually(lambda: scene.server.events("session-silent", from_node="one"), 10)
    call = program.start_call("os.pwrite", fd, b"patient", 0).waits()
    deadline = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > deadline, seconds + 10)
    mended = time.monotonic()
    scene.one.mend()
    call.result()
    assert time.monotonic() - mended < 1
    with refused(errno.EAGAIN, errno.EACCES):
        other = scene.two.python()
        other.lock(other.open("data", "rw"), "w")


def test_a_break_is_a_pause_for_who_gets_signals(scene):
    """S1, O5: a harmless signal before or while the link is down is no reason for an error, for opens neither."""
    program = ["/usr/bin/python3", pathlib.Path(__file__).parent / "programs" / "signals.py"]
    running = [scene.one.popen([*program, scene.at(f"folder{n}"), 1_000_000], stdout=-1, stderr=-2, text=True) for n in range(8)]
    eventually(lambda: len(list(scene.lab.export.glob("folder*/*"))) > 0, 10)
    for breaks in range(1, 6):
        scene.one.cut()
        eventually(lambda: scene.one.runs[-1].log().count("lost batond") == breaks, 20)
        scene.one.mend()
        eventually(lambda: scene.one.runs[-1].log().count("resumed session") == breaks, 20)
    for process in running:
        assert process.poll() is None
        process.kill()
    assert [process.communicate()[0] for process in running] == [""] * len(running)


def test_each_request_takes_effect_once(scene):
    """S1, T10: requests under way when the link breaks again and again are neither lost nor done twice."""
    text = "for n in range(300):\n    os.rename(f'file{n}', f'file{n + 1}')\n    os.write(fd, b'%d\\n' % n)\n"
    program = scene.one.python()
    program.close(program.create("file0"))
    call = program.start_call("run", text, fd=program.create("log", flags=os.O_APPEND))
    while not call.done():
        scene.one.cut()
        scene.one.mend()
        before = scene.stored("log")
        eventually(lambda: call.done() or scene.stored("log") != before, 10, "it goes on")  # noqa: B023
    call.result()
    assert scene.stored("log").split() == [str(n).encode() for n in range(300)]
    assert scene.lab.names() == ["file300", "log"]


@pytest.mark.parametrize("scene", [("--lease", "500ms", "--reservation", "0s")], indirect=True)
def test_courtesy_ends_with_a_conflict(scene):
    """S2: after its lease a silent session keeps all until somebody's request conflicts; then all of it is gone."""
    program = scene.one.python()
    fd, kept = program.create("data"), program.create("kept")
    program.lock(fd, "w")
    scene.one.cut()
    stranger = scene.two.python()
    waiting = stranger.start_call("lock", stranger.open("data", "rw"), "w", wait=True)
    waiting.result(10)
    scene.one.mend()
    for number in (fd, kept):
        with refused(errno.ESTALE):
            program.pwrite(number, b"late")
    assert (scene.stored("data"), scene.stored("kept")) == (b"", b"")
    program.create("new")   # the mount has a new session


COUNTS = "import time\nfor n in range(100_000_000):\n    os.pwrite(fd, b'%d\\n' % n, 0)\n    if os.path.exists('stop'): break\nresult = n\n"


@pytest.mark.parametrize("scene", [("--lease", "500ms")], indirect=True)
def test_frozen_node_with_nobody_in_between(scene, guid):
    """S2: all of a node stands still for three leases, in the middle of its work: it goes on as if nothing had been."""
    program, other = scene.one.python(instance=guid), scene.one.python()
    fd, plain = program.create("data"), other.create("plain")
    program.lock(fd, "w")
    other.lock(plain, "r")
    call = program.start_call("run", COUNTS, fd=fd)
    eventually(lambda: scene.stored("data") > b"1", 10)
    scene.one.freeze()
    eventually(lambda: scene.server.events("session-silent", from_node="one"), 10)
    silent = time.monotonic()
    eventually(lambda: time.monotonic() > silent + 1.0, 10)   # two leases more
    stood_at = scene.stored("data")
    assert scene.two.python().read_file("data") == stood_at   # who only reads is in nobody's way
    scene.one.thaw()
    eventually(lambda: scene.stored("data") != stood_at, 10, "it counts on")
    scene.two.python().write_file("stop", b"")
    assert call.result() > 0
    other.pwrite(plain, b"text")
    stranger = scene.two.python()
    with refused(errno.EBUSY):
        stranger.open("data", "rw")
    with refused(errno.EAGAIN, errno.EACCES):
        stranger.lock(stranger.open("plain", "rw"), "w")
    assert not scene.server.events("fenced") and not scene.server.events("session-ended")


@pytest.mark.parametrize("scene", [("--lease", "500ms")], indirect=True)
def test_frozen_node_that_lost_an_instance(scene, guid, other_guid):
    """T6, S2: what was taken over meanwhile is ESTALE when the node wakes; its other instances and programs go on."""
    lost, kept, plain = scene.one.python(instance=guid), scene.one.python(instance=other_guid), scene.one.python()
    lost_fd, kept_fd, plain_fd = lost.create("lost"), kept.create("kept"), plain.create("plain")
    for program, fd in ((lost, lost_fd), (kept, kept_fd), (plain, plain_fd)):
        program.lock(fd, "w")
    scene.one.freeze()
    eventually(lambda: scene.server.events("session-silent", from_node="one"), 10)
    successor = scene.two.python(instance=guid)
    taken = successor.open("lost", "rw")
    successor.lock(taken, "w")
    successor.pwrite(taken, b"new")
    scene.one.thaw()
    with refused(errno.ESTALE):
        lost.pwrite(lost_fd, b"old")
    with refused(errno.ESTALE):
        lost.open("lost", "rw")
    assert kept.pwrite(kept_fd, b"text") == 4 and plain.pwrite(plain_fd, b"text") == 4
    stranger = scene.two.python()
    with refused(errno.EBUSY):
        stranger.open("kept", "rw")
    with refused(errno.EAGAIN, errno.EACCES):
        stranger.lock(stranger.open("plain", "rw"), "w")
    assert scene.stored("lost") == b"new"
    assert scene.one.python().read_file("lost") == b"new"


@pytest.mark.parametrize("scene", [("--lease", "500ms", "--reservation", "0s")], indirect=True)
def test_frozen_node_that_stood_in_the_way(scene, guid):
    """S2: a stranger needed one of its files: when it wakes all that it had is ESTALE, and whatever it begins anew works."""
    program, plain = scene.one.python(instance=guid), scene.one.python()
    fd, plain_fd = program.create("data"), plain.create("plain")
    plain.lock(plain_fd, "w")
    scene.one.freeze()
    eventually(lambda: scene.server.events("session-silent", from_node="one"), 10)
    stranger = scene.two.python()
    got = stranger.open("plain", "rw")
    stranger.lock(got, "w", wait=True)
    stranger.pwrite(got, b"theirs")
    scene.one.thaw()
    for who, old in ((program, fd), (plain, plain_fd)):
        with refused(errno.ESTALE):
            who.pwrite(old, b"late")
    plain.close(plain.create("new"))
    assert plain.read_file("plain") == b"theirs"
    again, anew = scene.one.restarted(scene.at("data"), instance=guid)
    assert again.pwrite(anew, b"anew") == 4


def test_clean_unmount_releases_at_once(scene, guid, other_guid):
    """S4: a clean unmount ends the session; nothing stays reserved."""
    program = scene.one.python(instance=guid)
    program.create("data")
    program.kill()
    program.exited()
    assert scene.one.runs[0].unmount() == 0
    assert scene.server.events("session-ended", from_node="one")
    scene.two.python(instance=other_guid).open("data", "rw")


def test_new_boot_ends_the_old_session(scene, guid):
    """S3: a node that comes up again ends what its old boot had; its instance goes on there."""
    scene.one.python(instance=guid).create("data")
    scene.one.crash()
    scene.one.remount()
    eventually(lambda: scene.server.events("session-ended", from_node="one"), 5)
    scene.one.python(instance=guid).open("data", "rw")
    assert scene.server.events("takeover") == []


def test_node_name_of_another_machine(scene):
    """S3: another machine cannot take a node's name while that is not silent."""
    with pytest.raises(AssertionError, match="one"):
        scene.lab.node("three").mount(node="one")
    program = scene.one.python()
    program.create("data")


@pytest.mark.parametrize("call", ["write", "read", "open", "fsync", "stat", "lock"])
@CUTS
def test_fatal_signal_gets_a_waiting_process_out(scene, call, how):
    """S5: kill -9 ends a process that waits for a server that cannot be reached."""
    scene.store("data", b"text")
    program = scene.one.python()
    fd = program.open("data", "rw")
    scene.one.cut(how)
    start = {"write": lambda: program.start_call("os.pwrite", fd, b"late", 0),
             "read": lambda: program.start_call("os.pread", fd, 4, 0),
             "open": lambda: program.start_call("open", "data", os.O_RDWR),
             "fsync": lambda: program.start_call("os.fsync", fd),
             "stat": lambda: program.start_call("os.stat", "data"),
             "lock": lambda: program.start_call("lock", fd, "w")}[call]
    start().waits()
    program.signal(signal.SIGKILL)
    program.exited(within=10)
    scene.one.mend()
    other = scene.one.python()
    other.pwrite(other.open("data", "rw"), b"good")
    assert scene.stored("data") == b"good"


def test_op_timeout(lab):
    """S5: with op_timeout a request fails instead of waiting for ever."""
    server = lab.server()
    node = lab.node("one")
    node.mount("op_timeout=0.5")
    program = node.python()
    fd = program.create("data")
    server.freeze()
    call = program.start_call("os.pwrite", fd, b"text", 0)
    with refused(errno.ETIMEDOUT, errno.EIO):
        call.result()
    assert call.seconds < 5
    server.thaw()
