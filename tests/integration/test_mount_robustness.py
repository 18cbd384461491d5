"""S5, T6, C2, O7: what the kernel's caches, its locks and its waiting processes do to the mount, and it to them."""
import os
import signal
import subprocess

import pytest
from lab import LinkDown, eventually

PAGE = 4096


def test_reader_that_follows_a_file_sees_no_zeros(scene):
    """C2: who reads on at the end of a file that another node appends to gets what was written, not the rest of a page."""
    writer = scene.one.python()
    log = writer.create("log", flags=os.O_APPEND)
    writer.write(log, b"first")
    reader = scene.two.python()
    fd = reader.open("log")
    assert reader.read(fd, PAGE) == b"first"
    for word in (b"second", b"third", b"x" * PAGE, b"last"):
        writer.write(log, word)
        assert eventually(lambda: reader.read(fd, 2 * PAGE), 5, "the reader sees the file grow") == word


def test_append_mode_that_was_set_later(scene):
    """O7: a handle is in append mode as it is now, however it was opened."""
    first, second = scene.one.python(), scene.two.python()
    appending = first.create("log")
    positional = first.open("log", "rw", os.O_APPEND)
    first.run("fcntl.fcntl(fd, fcntl.F_SETFL, flags)", fd=appending, flags=os.O_APPEND)
    first.run("fcntl.fcntl(fd, fcntl.F_SETFL, flags)", fd=positional, flags=0)
    second.write(second.create("log", flags=os.O_APPEND), b"aaaa")
    first.write(appending, b"bbbb")
    assert scene.stored("log") == b"aaaabbbb"
    assert first.read_file("log") == b"aaaabbbb"
    first.pwrite(positional, b"cc", 1)
    assert scene.stored("log") == b"accabbbb"


@pytest.mark.parametrize("threads", [0, 3])
def test_killed_with_dirty_pages_while_the_server_is_away(scene, threads):
    """S5: a process that is killed while it computes must write its mapped pages back as it ends, to nobody."""
    program = scene.one.python()
    fd = program.create("data")
    program.pwrite(fd, b"1" * PAGE)
    program.store(program.map(fd, PAGE), 0, b"dirty")
    program.run("import threading\nfor _ in range(n): threading.Thread(target=signal.pause, daemon=True).start()", n=threads)
    scene.one.cut(LinkDown)
    eventually(lambda: "lost batond" in scene.one.runs[-1].log(), 10, "the mount knows")
    program.signal(signal.SIGKILL)
    program.exited(10)
    scene.one.mend()
    assert scene.one.python().read_file("data")[5:] == b"1" * (PAGE - 5)


BUSY = "while [ ! -e {stop} ]; do stat {here}/none; touch {here}/tick; done >/dev/null 2>&1"


@pytest.mark.parametrize("scene", [("--flap-limit", "0", "--reservation", "0s")], indirect=True)
def test_fence_while_its_directory_is_busy(scene, guid):
    """T6: a fence of an incarnation with many files is put in force while programs hold the directory's lock in the kernel."""
    scene.store("first")
    stop = scene.lab.directory / "stop"
    busy = BUSY.format(stop=stop, here=scene.lab.mount_point)
    loops = [scene.one.popen(["sh", "-c", busy], stdout=subprocess.DEVNULL) for _ in range(2)]
    for _ in range(5):
        old, _fd = scene.one.restarted(scene.at("first"), mode="w", within=20, instance=guid)
        for number in range(100):
            old.create(scene.at(f"file{number}"))
        new, _fd = scene.two.restarted(scene.at("first"), mode="w", within=20, instance=guid)
        assert scene.one.run(["ls", str(scene.lab.mount_point)], within=10).returncode == 0
        old.kill()
        new.kill()
    stop.touch()
    for loop in loops:
        loop.wait(10)
