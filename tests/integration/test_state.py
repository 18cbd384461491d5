"""The state directory and the export belong to one server; copies of the state while it is used, and what it means to start
from one (issue 4, item 3; T4, T7, D2)."""
import errno
import os
import shutil
import stat
import threading

import pytest
from lab import eventually, refused

SKIPPED = 1 << 32   # epochs that a start from a backup leaves out


@pytest.fixture
def batond(lab):
    """A function that runs another batond on the server's host until it ends."""
    def run(export, state, *words):
        return lab.host.run([lab.programs / "batond", "--export", export, "--state-dir", state, "--listen", "127.0.0.1:0", *words])
    return run


def test_one_server_for_an_export(lab, batond):
    """An export is served once, whatever the state directory, also read-only and through another path; killed, it is free at
    once, and nothing of the lock can be seen in it."""
    server = lab.server()
    other = lab.directory / "other"
    link = lab.directory / "link"
    link.symlink_to(lab.export)
    for export, options in ((lab.export, ()), (lab.export, ("--read-only",)), (link, ())):
        result = batond(export, other, *options)
        assert result.returncode == 1
        assert "is served by another batond" in result.stderr and str(lab.export) in result.stderr
    assert os.listdir(lab.export) == []
    assert server.baton("status").returncode == 0
    server.restart()


def test_lock_of_an_export_is_no_clients(scene):
    """A program's flock on the root of its mount has nothing to do with the server's."""
    program = scene.one.python()
    fd = program.open(scene.at(""), "r")
    program.lock(fd, "w", kind="flock")
    scene.server.restart()


def put_back(server, backup):
    """As docs/operations.md says it."""
    server.kill()
    shutil.move(server.state, str(server.state) + ".broken")
    os.mkdir(server.state, 0o700)
    shutil.copy(backup, os.path.join(server.state, "batond.db"))
    server.start()


def test_start_from_a_backup(scene, guid, other_guid):
    """What was given since the backup is not given again: whoever ran then is out, on every node, and starts anew."""
    old = scene.one.python(instance=guid)
    old.pwrite(old.create("data"), b"old")
    bystander = scene.one.python(instance=other_guid)
    kept = bystander.create("other")
    backup = scene.lab.directory / "backup"
    assert scene.server.baton("backup-state", backup).returncode == 0
    since, fd = scene.two.restarted(scene.at("data"), instance=guid)   # the backup knows nothing of that
    since.pwrite(fd, b"new")
    put_back(scene.server, backup)
    for program, late in ((since, fd), (bystander, kept)):
        with refused(errno.ESTALE):
            program.pwrite(late, b"late")
    assert scene.stored("data") == b"new"
    again, fd = scene.one.restarted(scene.at("data"), instance=guid)
    again.pwrite(fd, b"now")
    assert scene.stored("data") == b"now"
    for instance in scene.server.listing("instances"):
        assert instance["epoch"] > SKIPPED
    assert "was a backup" in scene.server.log()


def test_backup_while_instances_come_and_go(scene, guid):
    """Backups that are made while takeovers go on are whole, private, and replace only with --force."""
    scene.store("data")
    backup = scene.lab.directory / "backup"
    ends = threading.Event()
    failed = []

    def save():
        while not ends.is_set():
            result = scene.server.baton("backup-state", "--force", backup)
            if result.returncode != 0:
                failed.append(result.stderr)

    saver = threading.Thread(target=save)
    saver.start()
    try:
        for node in (scene.one, scene.two) * 3:
            scene.server.baton("fence", guid)
            program, fd = node.restarted(scene.at("data"), instance=guid)
            program.pwrite(fd, b"text")
    finally:
        ends.set()
        saver.join()
    assert not failed
    assert stat.S_IMODE(os.stat(backup).st_mode) == 0o600
    again = scene.server.baton("backup-state", backup)
    assert again.returncode == 1 and "--force" in again.stderr
    assert [name for name in os.listdir(scene.lab.directory) if name.startswith("backup")] == ["backup"]
    put_back(scene.server, backup)
    assert [instance["guid"] for instance in scene.server.listing("instances")] == [guid]


def test_backup_beside_another_log(scene):
    """A backup that is put back into a directory where a log is left is refused, and says what to do."""
    backup = scene.lab.directory / "backup"
    scene.server.baton("backup-state", backup)
    scene.server.kill()
    state = scene.server.state
    assert os.path.getsize(os.path.join(state, "batond.db-wal")) > 0
    shutil.copy(backup, os.path.join(state, "batond.db"))
    result = scene.lab.host.run([scene.lab.programs / "batond", "--export", scene.lab.export, "--state-dir", state, "--listen",
                                 "127.0.0.1:0"])
    assert result.returncode == 1 and "move all other files" in result.stderr


def hidden(scene):
    directory = scene.lab.export / ".baton"
    return os.listdir(directory) if directory.exists() else []


def test_hidden_link_goes_with_the_last_handle(scene):
    """D2: a file that is removed while it is open has a link that no mount sees, until its last handle goes."""
    program = scene.one.python()
    fd = program.create("file")
    program.pwrite(fd, b"text")
    stranger = scene.two.python()
    stranger.unlink("file")
    assert len(hidden(scene)) == 1
    for anybody in (program, stranger):
        assert anybody.listdir(scene.at("")) == []
        for call in ("stat", "listdir", "rmdir"):
            with refused(errno.ENOENT):
                anybody.call(f"os.{call}", scene.at(".baton"))
        with refused(errno.EPERM):
            anybody.mkdir(scene.at(".baton"))
    assert program.pread(fd, 4) == b"text"
    program.close(fd)
    eventually(lambda: hidden(scene) == [], 10, "the hidden link is gone")


def test_removed_file_over_a_kill(scene):
    """D2: it is read and written on after the server was killed, and is gone with its last handle all the same."""
    program = scene.one.python()
    fd = program.create("file")
    program.pwrite(fd, b"text")
    program.unlink("file")
    scene.server.restart()
    assert program.pread(fd, 4) == b"text"
    program.pwrite(fd, b"TEXT")
    assert program.fstat(fd)["st_nlink"] == 0
    scene.server.restart(kill=False)
    assert program.pread(fd, 4) == b"TEXT"
    program.close(fd)
    eventually(lambda: hidden(scene) == [], 30, "the hidden link is gone")
