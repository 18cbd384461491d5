"""The claims of the method, one test each: how an application's instance is associated with what it opens, and what the
server does with it when a second client comes (I2, I7, T1, T2, T6)."""
import errno
import os

import pytest
from lab import eventually, refused


def owner(program, name="data"):
    """Whom the server takes for the holder of the file."""
    return {instance for _, instance, _, _ in program.holders(name)}


def test_one_open(scene, guid):
    """I2(d): the id is associated with a single open: another open of the same process has none."""
    (scene.lab.export / "of-x").mkdir()
    os.setxattr(scene.lab.export / "of-x", "user.app_instance_id", guid.encode())
    program = scene.one.python()
    program.create("of-x/data")
    program.create("data")
    assert (owner(program, "of-x/data"), owner(program)) == ({guid}, {"-"})


def test_a_process(scene, guid):
    """I2(a): the id is associated with a process: all that it opens from then on, and nothing of its neighbours'."""
    program, neighbour = scene.one.python(), scene.one.python()
    program.setxattr(".", "user.baton.register", guid.encode())
    for name in ("a", "b"):
        program.create(name)
        assert owner(program, name) == {guid}
    neighbour.create("c")
    assert owner(neighbour, "c") == {"-"}


@pytest.mark.parametrize("source, how", [("environment", "fork"), ("environment", "fork_twice"), ("environment", "spawn"),
                                         ("registration", "fork"), ("registration", "spawn")])
def test_its_children(scene, guid, source, how):
    """I2: and with its child processes, forked, or exec'd with another environment; where the environment
    names it also those that the reaper adopted."""
    parent = scene.one.python(instance=guid if source == "environment" else None)
    if source == "registration":
        parent.setxattr(".", "user.baton.register", guid.encode())
    child = getattr(parent, how)()
    child.create("data")
    assert owner(child) == {guid}


def test_single_message(scene, guid):
    """I1, T1: the id comes with the open itself: the first request that the second client ever sends is granted."""
    scene.one.python(instance=guid).create("data")
    scene.one.cut()
    fresh = scene.two.python(instance=guid, cwd="/")
    fresh.open(scene.at("data"), "rw")
    assert len(scene.server.events("takeover", guid=guid)) == 1


def test_later_registration(scene, guid, other_guid):
    """I2(a), I7: or it is registered later: what was open before stays without it, what is opened then has it."""
    program = scene.one.python()
    program.create("before")
    program.setxattr(".", "user.baton.register", f"{guid} 1.2".encode())
    program.create("data")
    assert (owner(program, "before"), owner(program)) == ({"-"}, {guid})
    assert scene.server.listing("instances")[0]["version"] == "1.2"
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open("data", "rw")


def test_first_and_second_client(scene, guid, other_guid):
    """T1, T6: first client and second client through one server: the ids are compared; equal: the first one's access is
    invalidated and the second one's granted, though the first never closed."""
    first = scene.one.python(instance=guid)
    fd = first.create("data")
    first.lock(fd, "w")
    first.pwrite(fd, b"first")
    scene.one.cut()
    with refused(errno.EBUSY):   # compared: not equal
        scene.two.python(instance=other_guid).open("data", "rw")
    second = scene.two.python(instance=guid)
    mine = second.open("data", "rw")   # equal
    second.lock(mine, "w")
    second.pwrite(mine, b"second")
    event, = scene.server.events("takeover", guid=guid)
    assert (event["handles"], event["locks"], event["from_node"], event["to_node"]) == (1, 1, "one", "two")
    scene.one.mend()
    with refused(errno.ESTALE):   # invalidated
        first.pwrite(fd, b"FIRST")
    assert scene.stored("data") == b"second"


def test_same_client_comes_back(scene, guid, other_guid):
    """T1, S3: the second client may be the first one's machine after its restart."""
    scene.one.python(instance=guid).create("data")
    scene.one.crash()
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open("data", "rw")
    scene.one.remount()
    scene.one.python(instance=guid).open("data", "rw")


@pytest.mark.parametrize("scene", [("--lease", "1s", "--reservation", "2s")], indirect=True)
def test_second_file_is_released_or_lapses(scene, guid, other_guid):
    """T9: of the files of the old incarnation strangers get the one that X took and closed at once, and the one that X
    never asked for again after the reservation, not before."""
    old = scene.one.python(instance=guid)
    for name in ("taken", "left"):
        old.create(name)
    scene.one.crash()
    new = scene.two.python(instance=guid)
    fd = new.open("taken", "rw")
    stranger = scene.two.python(instance=other_guid)
    with refused(errno.EBUSY):
        stranger.open("left", "rw")
    new.close(fd)

    def granted(name):
        try:
            stranger.close(stranger.open(name, "rw"))
            return True
        except OSError as error:
            assert error.errno == errno.EBUSY
            return False
    eventually(lambda: granted("taken"), 1, "what X released is free")
    assert not granted("left")
    eventually(lambda: granted("left"), 10, "the reservation lapses")


def test_waiting_for_a_lock_is_interrupted_by_the_fence(scene, guid):
    """T6: a lock request of the old incarnation that waits is refused with ESTALE when it is fenced."""
    stranger = scene.two.python()
    scene.store("data")
    stranger.lock(stranger.open("data", "r"), "r")
    old = scene.one.python(instance=guid)
    waiting = old.start_call("lock", old.open("data", "rw"), "w", wait=True).waits()
    scene.two.python(instance=guid).open("data", "rw")
    with refused(errno.ESTALE):
        waiting.result(5)
