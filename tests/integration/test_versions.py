"""T8, T1, I3: versions are checked in addition to the GUID."""
import errno

import pytest
from lab import refused

NEWEST = "18446744073709551615.18446744073709551615"


@pytest.mark.parametrize("held, asking", [("1", "2"), ("1", "1.1"), ("1.9", "1.10"), ("2.5", "3"), (None, "0.1"), ("1", NEWEST)])
def test_greater_version_takes_over(scene, guid, held, asking):
    """T8: a greater version wins; HIGH counts before LOW, both are numbers, and N alone is N.0."""
    old = scene.one.python(instance=guid, version=held)
    fd = old.create("data")
    scene.two.python(instance=guid, version=asking).open("data", "rw")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")


@pytest.mark.parametrize("held, asking", [("2", "1"), ("2", "2"), ("2", "2.0"), ("2.1", "2"), ("2.10", "2.9"), ("2", None),
                                          (NEWEST, NEWEST)])
def test_other_versions_are_refused(scene, guid, held, asking):
    """T8, T2: lower, equal from another node, or none where one is recorded is ESTALE, and the holder is unharmed."""
    old = scene.one.python(instance=guid, version=held)
    fd = old.create("data")
    new = scene.two.python(instance=guid, version=asking)
    with refused(errno.ESTALE):
        new.open("data", "rw")
    with refused(errno.ESTALE):
        new.unlink("data")
    old.pwrite(fd, b"unharmed")
    assert scene.stored("data") == b"unharmed"
    assert scene.server.events("takeover") == []


def test_version_is_remembered(scene, guid):
    """T8, T12: the record outlives the incarnation's handles; `baton instance reset` clears it."""
    old = scene.one.python(instance=guid, version="7")
    old.close(old.create("data"))
    old.kill()
    old.exited()
    with refused(errno.ESTALE):
        scene.two.python(instance=guid, version="6").open("data", "rw")
    result = scene.server.baton("instance", "reset", guid)
    assert result.returncode == 0, result.stderr
    scene.two.python(instance=guid, version="6").open("data", "rw")


def test_strictly_higher_version_takes_over_on_same_node(scene, guid):
    """T1: on one node only a strictly higher version takes over; an equal one joins, a lower one is refused."""
    old = scene.one.python(instance=guid, version="2")
    fd = old.create("data")
    same = scene.one.python(instance=guid, version="2")
    same.open("data", "rw")
    with refused(errno.ESTALE):
        scene.one.python(instance=guid, version="1").open("data", "rw")
    old.pwrite(fd, b"unharmed")
    new = scene.one.python(instance=guid, version="3")
    mine = new.open("data", "rw")
    new.pwrite(mine, b"new node")
    for fenced in (old, same):
        with refused(errno.ESTALE):
            fenced.open("data", "rw")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    assert scene.stored("data") == b"new node"
