"""D4, T7, T9: what a server that was killed still knows after its restart, and who waits for a session that has not come back."""
import errno
import os

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
