"""T: a new incarnation is granted at once, whatever became of the old one; nobody else is."""
import errno
import os
import time

import pytest
from lab import EVERY_DEATH, eventually, refused

AT_ONCE = 1.0  # seconds: far above what it takes, far below the lease, which it must not depend on


def take_over(node, guid, name, **who):
    """A new process of the instance on the node opens the file: (program, descriptor)."""
    program = node.python(instance=guid, **who)
    started = time.monotonic()
    fd = program.open(name, "rw")
    taken = time.monotonic() - started
    assert taken < AT_ONCE, f"the open that takes over took {taken:.3f} s"
    return program, fd


@pytest.mark.parametrize("death", EVERY_DEATH, ids=str)
def test_same_guid_gets_file_and_locks_at_once(scene, guid, other_guid, death):
    """T1, O2, T9: the same GUID on another node is granted at once; another one or none is refused."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    old.write(fd, b"one")
    old.lock(fd, "w")
    old.fsync(fd)
    death.die(scene.one)

    for stranger in (scene.two.python(instance=other_guid), scene.two.python()):
        assert stranger.read_file("data") == b"one"
        with refused(errno.EBUSY):
            stranger.open("data", "rw")
        with refused(errno.EBUSY):
            stranger.truncate("data", 0)

    new, fd = take_over(scene.two, guid, "data")
    assert new.read(fd, 100) == b"one"
    new.lock(fd, "w")
    new.pwrite(fd, b"two")
    assert scene.stored("data") == b"two"
    for stranger in (scene.two.python(instance=other_guid), scene.two.python()):
        with refused(errno.EBUSY):
            stranger.open("data", "rw")
    event = scene.server.events("takeover", guid=guid)[0]
    assert (event["from_node"], event["to_node"]) == ("one", "two")
    assert (event["handles"], event["locks"]) == (1, 1)
    assert event["new_epoch"] > event["old_epoch"]


@pytest.mark.parametrize("scene", [("--claim", "none")], indirect=True)
@pytest.mark.parametrize("death", EVERY_DEATH, ids=str)
def test_waiting_stranger_does_not_slip_in(scene, guid, death):
    """T9, L2: who waits for X's lock gets it after X's new incarnation released it, not between X's death and restart."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    old.lock(fd, "w")
    stranger = scene.two.python()
    waiting = stranger.start_call("lock", stranger.open("data", "rw"), "w", wait=True).waits()
    death.die(scene.one)
    new, fd = take_over(scene.two, guid, "data")
    assert not waiting.done()
    new.lock(fd, "w")
    assert not waiting.done()
    new.lock(fd, "u")
    waiting.result()


@pytest.mark.parametrize("scene", [("--claim", "none", "--lease", "1s", "--reservation", "500ms")], indirect=True)
def test_waiting_stranger_gets_lock_of_one_who_never_comes_back(scene, guid):
    """S2, T9: after the lease and the reservation the lock of a dead node is free."""
    old = scene.one.python(instance=guid)
    old.lock(old.create("data"), "w")
    stranger = scene.two.python()
    waiting = stranger.start_call("lock", stranger.open("data", "rw"), "w", wait=True).waits()
    scene.one.crash()
    waiting.result(within=10)
    assert waiting.seconds > 0.9


@pytest.mark.parametrize("scene", [("--lease", "1s", "--reservation", "500ms")], indirect=True)
def test_stranger_gets_claim_of_one_who_never_comes_back(scene, guid, other_guid):
    """S2, T9: a silent session's claim holds for the lease and the reservation, not for ever."""
    old = scene.one.python(instance=guid)
    old.create("data")
    scene.one.cut()
    stranger = scene.two.python(instance=other_guid)

    def granted():
        try:
            return stranger.open("data", "rw")
        except OSError as error:
            assert error.errno == errno.EBUSY
            return None
    started = time.monotonic()
    eventually(granted, within=10)
    assert time.monotonic() - started > 0.9


def test_stranger_does_not_get_second_file_between(scene, guid, other_guid):
    """T9: what X had claimed stays X's while X opens its files again one by one."""
    old = scene.one.python(instance=guid)
    old.create("first")
    old.create("second")
    scene.one.crash()
    take_over(scene.two, guid, "first")
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open("second", "rw")
    take_over(scene.two, guid, "second")


def test_whole_incarnation_is_fenced(scene, guid):
    """T5, T6: all files of the old incarnation go, not only the reopened one; close says so and frees the descriptor."""
    old = scene.one.python(instance=guid)
    fds = [old.create(f"file{number}") for number in range(3)]
    take_over(scene.two, guid, "file0")
    for fd in fds:
        with refused(errno.ESTALE):
            old.pwrite(fd, b"late")
        with refused(errno.ESTALE):
            old.close(fd)
        with refused(errno.EBADF):
            old.fstat(fd)
    assert [scene.stored(f"file{number}") for number in range(3)] == [b"", b"", b""]


@pytest.mark.parametrize("scene", [("--reclaim-scope", "file")], indirect=True)
def test_reclaim_scope_file(scene, guid):
    """T5: with --reclaim-scope file only the file that was opened again is taken."""
    old = scene.one.python(instance=guid)
    taken, kept = old.create("taken"), old.create("kept")
    take_over(scene.two, guid, "taken")
    with refused(errno.ESTALE):
        old.pwrite(taken, b"late")
    old.pwrite(kept, b"mine")
    assert (scene.stored("taken"), scene.stored("kept")) == (b"", b"mine")


def test_read_only_open_takes_over(scene, guid):
    """T1: an open for reading takes over too: the new incarnation must not read what the old one still writes."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.two.python(instance=guid).open("data", "r")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")


def test_change_by_name_takes_over(scene, guid):
    """T1, T4: a rename by X on another node is a takeover as an open is."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.store("tmp", b"new")
    scene.two.python(instance=guid).rename("tmp", "data")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    assert scene.stored("data") == b"new"


def test_looking_takes_nothing_over(scene, guid):
    """T10: stat, listing, readlink and the opening of a directory fence nobody."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    scene.lab.export.joinpath("link").symlink_to("data")
    looker = scene.two.python(instance=guid)
    looker.stat("data")
    assert set(looker.listdir(".")) == {"data", "link"}
    assert looker.readlink("link") == "data"
    looker.close(looker.open(".", "r", os.O_DIRECTORY))
    old.pwrite(fd, b"mine")


def test_failing_requests_fence_nobody(scene, guid):
    """T2: everything is checked first; a request that fails leaves the holder as it was."""
    (scene.lab.export / "directory").mkdir()
    (scene.lab.export / "full").mkdir()
    (scene.lab.export / "full" / "file").touch()
    scene.store("readonly")
    (scene.lab.export / "readonly").chmod(0o444)
    old = scene.one.python(instance=guid, uid=1000)
    fd = old.create("data")
    new = scene.two.python(instance=guid, uid=1000)
    attempts = [
        (errno.ENOENT, lambda: new.open("absent", "rw")),
        (errno.ENOENT, lambda: new.unlink("absent")),
        (errno.ENOENT, lambda: new.rename("absent", "other")),
        (errno.EACCES, lambda: new.open("readonly", "rw")),
        (errno.EEXIST, lambda: new.create("data", flags=os.O_EXCL)),
        (errno.EISDIR, lambda: new.open("directory", "rw")),
        (errno.EEXIST, lambda: new.mkdir("directory")),
        (errno.ENOTEMPTY, lambda: new.rmdir("full")),
        (errno.EPERM, lambda: new.chmod("readonly", 0o666)),
        (errno.ENOTDIR, lambda: new.open("data/below", "rw")),
    ]
    for number, attempt in attempts:
        with refused(number):
            attempt()
    old.pwrite(fd, b"unharmed")
    assert scene.stored("data") == b"unharmed"
    assert scene.server.events("takeover") == []


def test_other_owner_takes_nothing_over(scene, guid):
    """T3, T13: a GUID is no credential: another uid gets EACCES and an audit event, the holder is unharmed."""
    old = scene.one.python(instance=guid, uid=1000)
    fd = old.create("data", flags=os.O_EXCL)
    old.fchmod(fd, 0o666)
    thief = scene.two.python(instance=guid, uid=1001)
    with refused(errno.EACCES):
        thief.open("data", "rw")
    old.pwrite(fd, b"unharmed")
    event = scene.server.events("owner-mismatch", guid=guid)[0]
    assert (event["uid"], event["to_node"]) == (1001, "two")
    with refused(errno.EBUSY):
        scene.one.python(instance=guid, uid=1001).open("data", "rw")
    scene.two.python(instance=guid, uid=0).open("data", "rw")
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")


def test_takeover_refused_by_wish(scene, guid):
    """T1: with APP_INSTANCE_TAKEOVER=no a process uses X only where X lives."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    with refused(errno.EBUSY):
        scene.two.python(instance=guid, takeover="no").open("data", "r")
    old.pwrite(fd, b"unharmed")
    scene.one.python(instance=guid, takeover="no").open("data", "rw")


def test_one_node_one_incarnation(scene, guid):
    """O4: processes of one instance on one node share the claim and do not fence each other, by whatever mount."""
    first = scene.one.python(instance=guid)
    fd = first.create("data")
    second = scene.one.python(instance=guid)
    second.pwrite(second.open("data", "rw"), b"22", 2)
    other_mount = scene.lab.directory / "other"
    scene.one.mount(at=other_mount)
    third = scene.one.python(instance=guid, cwd=other_mount)
    third.pwrite(third.open("data", "rw"), b"33", 4)
    first.pwrite(fd, b"11", 0)
    assert scene.stored("data") == b"112233"
    assert scene.server.events("takeover") == []


def test_mount_restarted_on_same_node(scene, guid, other_guid):
    """S3, T9: a new run of the same mount ends the old one's session at once; the claim stays reserved for X."""
    old = scene.one.python(instance=guid)
    old.create("data")
    scene.one.kill_mount()
    scene.one.remount()
    ended = eventually(lambda: scene.server.events("session-ended", from_node="one"), 5)
    assert len(ended) == 1
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open("data", "rw")
    scene.one.python(instance=guid).open("data", "rw")


@pytest.mark.parametrize("move", ["rename", "link", "rename-directory"])
def test_match_is_by_file(scene, guid, other_guid, move):
    """O3: a file is known by its identity: a rename or hard link between the two opens changes nothing."""
    (scene.lab.export / "directory").mkdir()
    old = scene.one.python(instance=guid)
    fd = old.create("directory/data")
    name = {"rename": "directory/moved", "link": "directory/linked", "rename-directory": "elsewhere/data"}[move]
    admin = scene.one.python()
    if move == "rename":
        admin.rename("directory/data", name)
    elif move == "link":
        admin.link("directory/data", name)
    else:
        admin.rename("directory", "elsewhere")
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open(name, "rw")
    take_over(scene.two, guid, name)
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")


@pytest.mark.parametrize("scene", [("--flap-limit", "2")], indirect=True)
def test_flapping_is_stopped(scene, guid):
    """T11: two supervisors that both start X do not fence each other for ever."""
    scene.store("data")
    for node in (scene.one, scene.two, scene.one):
        node.restarted(scene.at("data"), instance=guid)
    with refused(errno.EBUSY):
        scene.two.restarted(scene.at("data"), instance=guid)
    assert len(scene.server.events("takeover")) == 2
    assert scene.server.events("flapping", guid=guid)


def test_fence_by_hand(scene, guid):
    """T6, T13: `baton fence` returns when the incarnation is fenced; a program started afterwards is granted."""
    old = scene.one.python(instance=guid)
    fd = old.create("data")
    result = scene.server.baton("fence", guid)
    assert result.returncode == 0, result.stderr
    with refused(errno.ESTALE):
        old.pwrite(fd, b"late")
    take_over(scene.two, guid, "data")
