"""X1: lock files that an earlier incarnation left behind stop nobody but strangers."""
import errno
import os

import pytest
from lab import DEATHS, EVERY_DEATH, eventually, refused

pytestmark = pytest.mark.parametrize("scene", [("--stale-locks", "*.lock", "--stale-locks", "LOCK")], indirect=True)

EXCL = os.O_EXCL


def is_seen(program, name):
    """By stat and by access alike."""
    try:
        program.stat(name)
    except OSError as error:
        assert error.errno == errno.ENOENT
        assert not program.access(name, os.F_OK)
        return False
    assert program.access(name, os.F_OK)
    return True


@pytest.mark.parametrize("death", EVERY_DEATH, ids=str)
def test_new_incarnation_creates_its_lock_anew(scene, guid, other_guid, death):
    """A program that takes its lock with O_EXCL starts on the other node whatever became of the first one; strangers find the
    lock where it is, before and after."""
    old = scene.one.python(instance=guid)
    fd = old.create("a.lock", flags=EXCL)
    old.pwrite(fd, b"old")
    with refused(errno.EEXIST):
        old.create("a.lock", flags=EXCL)
    death.die(scene.one)
    strangers = [scene.two.python(instance=other_guid), scene.two.python()]
    new = scene.two.python(instance=guid)
    for stranger in strangers:
        assert is_seen(stranger, "a.lock")
        with refused(errno.EEXIST):
            stranger.create("a.lock", flags=EXCL)
    assert not is_seen(new, "a.lock")
    for stranger in strangers:
        assert is_seen(stranger, "a.lock")
    assert scene.server.events("takeover", guid=guid) == [], "looking takes nothing over (T10)"
    reader = strangers[1].open("a.lock")
    mine = new.create("a.lock", flags=EXCL)
    new.pwrite(mine, b"newer")
    assert scene.stored("a.lock") == b"newer"
    assert scene.lab.names() == ["a.lock"]
    assert strangers[1].read(reader, 100) == b"old", "the old file lives on for who has it open"
    assert new.stat("a.lock")["st_size"] == 5
    for program in (new, scene.two.python(instance=guid), *strangers):
        assert is_seen(program, "a.lock")
        with refused(errno.EEXIST):
            program.create("a.lock", flags=EXCL)
    if death in DEATHS:
        death.revive(scene.one)
        with refused(death.old_handle):
            old.pwrite(fd, b"late")
    assert scene.stored("a.lock") == b"newer"


def test_where_it_is_alive_nobody_gets_by(scene, guid, other_guid):
    """On the creator's own node a lock is never stale: a restart there belongs to the same incarnation."""
    old = scene.one.python(instance=guid)
    old.create("a.lock", flags=EXCL)
    old.kill()
    for program in (scene.one.python(instance=guid), scene.one.python(instance=other_guid), scene.one.python()):
        assert is_seen(program, "a.lock")
        with refused(errno.EEXIST):
            program.create("a.lock", flags=EXCL)
    newer = scene.one.python(instance=guid, version="2.0")   # a higher version is a new incarnation there, too (T1)
    assert not is_seen(newer, "a.lock")
    newer.create("a.lock", flags=EXCL)


def test_what_others_made_stays(scene, guid, other_guid):
    """Neither a stranger's lock, nor one made without O_EXCL, nor a name that does not match, nor a file that was renamed."""
    old = scene.one.python(instance=guid)
    scene.one.python().create("none.lock", flags=EXCL)
    scene.one.python(instance=other_guid).create("other.lock", flags=EXCL)
    old.create("plain.lock")
    old.create("a.lck", flags=EXCL)
    old.create("first.lock", flags=EXCL)
    old.rename("first.lock", "moved.lock")
    scene.one.cut()
    new = scene.two.python(instance=guid)
    for name in ("none.lock", "other.lock", "plain.lock", "a.lck", "moved.lock"):
        assert is_seen(new, name)
        with refused(errno.EEXIST, errno.EBUSY):
            new.create(name, flags=EXCL)
    assert scene.server.events("takeover", guid=guid) == [], "what fails takes nothing over (T2)"


def test_fenced_program_does_not_replace(scene, guid):
    """The old incarnation, back again, finds the new one's lock in its way, and so does what is started anew there later."""
    old = scene.one.python(instance=guid)
    old.create("a.lock", flags=EXCL)
    scene.one.cut()
    scene.two.python(instance=guid).create("a.lock", flags=EXCL)
    scene.one.mend()
    with refused(errno.ESTALE, errno.EEXIST):
        old.create("a.lock", flags=EXCL)
    assert len(scene.server.events("takeover", guid=guid)) == 1


def test_after_a_restart_of_the_server(scene, guid, other_guid):
    """Who made a lock is kept with the file: a later life of the server knows it as well."""
    old = scene.one.python(instance=guid)
    old.create("LOCK", flags=EXCL)
    scene.server.kill()
    scene.server.start()
    new = scene.two.python(cwd="/", instance=guid)
    name = scene.at("LOCK")
    eventually(lambda: is_seen(scene.two.python(cwd="/"), name), 10, "node two has its session again")
    assert not is_seen(new, name)
    with refused(errno.EEXIST):
        scene.two.python(cwd="/", instance=other_guid).create(name, flags=EXCL)
    new.create(name, flags=EXCL)
    assert is_seen(new, name)


def test_mark_cannot_be_forged(scene, guid):
    """The mark is the server's own: the file's owner neither sees, sets nor removes it through the mount."""
    old = scene.one.python(instance=guid)
    old.create("a.lock", flags=EXCL)
    name = "user.baton.creator"
    assert os.getxattr(scene.lab.export / "a.lock", name).startswith(guid.encode())
    assert old.listxattr("a.lock") == []
    with refused(errno.ENODATA):
        old.getxattr("a.lock", name)
    with refused(errno.EPERM):
        old.removexattr("a.lock", name)
    old.create("mine.lock")
    with refused(errno.EPERM):
        old.setxattr("mine.lock", name, f"{guid} 1 mine.lock".encode())


def git(node, guid, *words):
    """git as the instance, in the repository; its result."""
    setting = {"HOME": "/nonexistent", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
               "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_NOSYSTEM": "1"}
    return node.run(["git", "-C", f"{node.lab.mount_point}/repository", *words], instance=guid, env=setting, within=60)


def test_git_goes_on_after_a_dead_one(scene, guid, other_guid):
    """git, killed with its node while it held index.lock, works at once on the other node; without the id, as other ids do, it
    finds the lock in its way."""
    writer = scene.one.python(instance=guid)
    writer.mkdir("repository")
    assert git(scene.one, guid, "init", "-q", ".").returncode == 0
    writer.write_file("repository/one", b"1")
    assert git(scene.one, guid, "add", "one").returncode == 0
    assert git(scene.one, guid, "commit", "-q", "-m", "one").returncode == 0
    # A hook that does not end keeps `git commit -a` in its middle, with index.lock in its hands.
    writer.write_file("repository/two", b"2")
    hook = "repository/.git/hooks/pre-commit"
    writer.write_file(hook, b"#!/bin/sh\nexec sleep 1000\n")
    writer.chmod(hook, 0o755)
    assert git(scene.one, guid, "add", "two").returncode == 0
    scene.one.popen(["git", "-C", scene.at("repository"), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-a",
                     "-m", "two"], instance=guid)
    lock = scene.lab.export / "repository/.git/index.lock"
    eventually(lock.exists, 20, "git holds its lock")
    scene.one.crash()
    for stranger in (other_guid, None):
        result = git(scene.two, stranger, "add", "two")
        assert result.returncode != 0
        assert "index.lock" in result.stderr
    scene.two.python(instance=guid).unlink(hook)
    assert git(scene.two, guid, "add", "two").returncode == 0
    result = git(scene.two, guid, "commit", "-q", "-a", "-m", "two")
    assert result.returncode == 0, result.stderr
    assert git(scene.two, guid, "log", "--format=%s").stdout == "two\none\n"
    assert git(scene.two, guid, "fsck", "--strict").returncode == 0
    assert not lock.exists()
