"""O: what an open excludes."""
import errno
import os
import pathlib

import pytest
from lab import eventually, refused

READ, WRITE, CONTENT, NAMES = "read", "write", "content", "names"
ALL = {READ, WRITE, CONTENT, NAMES}


def attempt(program, act):
    """Tries the act on the file "held", several ways where there are several; whether it was allowed."""
    ways = {
        READ: [lambda: program.read_file("held")],
        WRITE: [lambda: program.close(program.open("held", "w")), lambda: program.close(program.open("held", "rw")),
                lambda: program.close(program.open("held", "w", os.O_TRUNC)),
                lambda: program.close(program.create("held"))],
        CONTENT: [lambda: program.truncate("held", 1)],
        NAMES: [lambda: program.chmod("held", 0o640), lambda: program.utime("held"), lambda: program.rename("other", "held"),
                lambda: program.rename("held", "moved"), lambda: program.unlink("moved")],
    }[act]
    answers = set()
    for way in ways:
        try:
            way()
            answers.add(True)
        except OSError as error:
            if error.errno == errno.ENOENT and act == NAMES and False in answers:
                continue   # nothing was moved, so there is nothing to remove
            assert error.errno == errno.EBUSY, error
            answers.add(False)
    assert len(answers) == 1, f"{act}: {answers}"
    return answers.pop()


@pytest.mark.parametrize("scene, who, allowed", [
    (("--claim", "write"), "instance", {READ}),
    (("--claim", "write"), "anonymous", {READ, NAMES}),
    (("--claim", "exclusive"), "instance", set()),
    (("--claim", "exclusive"), "anonymous", set()),
    (("--claim", "none"), "instance", ALL),
    (("--claim", "none"), "anonymous", ALL),
], indirect=["scene"])
@pytest.mark.parametrize("act", [READ, WRITE, CONTENT, NAMES])
def test_conflict_table(scene, guid, other_guid, who, allowed, act):
    """O2: what strangers may do with a claimed file, by claim mode."""
    scene.store("other")
    scene.one.python(instance=guid).create("held")
    stranger = scene.two.python(instance=other_guid if who == "instance" else None)
    assert attempt(stranger, act) == (act in allowed)


@pytest.mark.parametrize("mode, act, allowed", [("exclusive", READ, False), ("none", WRITE, True), ("write", READ, True)])
def test_claim_mode_of_a_directory(scene, guid, mode, act, allowed):
    """O2: the xattr user.baton.claim on a directory overrides the export's mode."""
    (scene.lab.export / "directory").mkdir()
    os.setxattr(scene.lab.export / "directory", "user.baton.claim", mode.encode())
    scene.one.python(instance=guid).create("directory/held")
    stranger = scene.two.python(cwd=scene.at("directory"))
    assert attempt(stranger, act) == allowed


def test_claim_ends_with_last_writer(scene, guid, other_guid):
    """O2: the claim lasts until X's last handle that can write closes; one that only reads claims nothing."""
    holder = scene.one.python(instance=guid)
    first, second = holder.create("data"), holder.open("data", "w")
    holder.open("data", "r")
    stranger = scene.two.python(instance=other_guid)
    holder.close(first)
    with refused(errno.EBUSY):
        stranger.open("data", "rw")
    holder.close(second)

    def granted():
        try:
            return stranger.open("data", "rw")
        except OSError as error:
            assert error.errno == errno.EBUSY
            return None
    eventually(granted, 5, "the claim ends with the close")


def test_without_instance_plain_posix(scene):
    """O1: opens without an instance never exclude each other."""
    a, b = scene.one.python(), scene.two.python()
    at_a, at_b = a.create("data"), b.open("data", "rw")
    a.pwrite(at_a, b"aa", 0)
    b.pwrite(at_b, b"bb", 2)
    assert scene.stored("data") == b"aabb"


def test_instance_that_comes_second(scene, guid, other_guid):
    """O3: X cannot claim what another instance has open for writing."""
    scene.one.python(instance=guid).create("data")
    with refused(errno.EBUSY):
        scene.two.python(instance=other_guid).open("data", "rw")
    scene.two.python(instance=other_guid).open("data", "r")


def test_forgotten_shell_is_demoted(scene, guid):
    """O3: a handle without an instance does not stop X; its later writes get EBUSY, reading goes on."""
    shell = scene.two.python()
    fd = shell.create("data")
    shell.pwrite(fd, b"shell")
    holder = scene.one.python(instance=guid)
    mine = holder.open("data", "rw")
    with refused(errno.EBUSY):
        shell.pwrite(fd, b"again")
    assert shell.pread(fd, 5) == b"shell"
    holder.pwrite(mine, b"owner")
    assert scene.stored("data") == b"owner"


@pytest.mark.parametrize("scene", [("--strict",)], indirect=True)
def test_forgotten_shell_with_strict(scene, guid):
    """O3: with --strict it is X who is refused."""
    shell = scene.two.python()
    fd = shell.create("data")
    with refused(errno.EBUSY):
        scene.one.python(instance=guid).open("data", "rw")
    shell.pwrite(fd, b"shell")


def test_waiting_for_a_claim(scene, guid, other_guid):
    """O5: an open that meets a claim waits up to claim_wait, interruptible, and gets the file when it is let go."""
    point = scene.lab.directory / "patient"
    scene.two.mount("claim_wait=30", at=point, node="patient")
    holder = scene.one.python(instance=guid)
    fd = holder.create("data")
    waiter = scene.two.python(instance=other_guid, cwd=point)
    call = waiter.start_call("open", "data", os.O_RDWR).waits()
    waiter.interrupt()
    with refused(errno.EINTR):
        call.result()
    call = waiter.start_call("open", "data", os.O_RDWR).waits()
    holder.close(fd)
    waiter.pwrite(call.result(), b"waited")
    assert scene.stored("data") == b"waited"


def test_directory_of_the_instance(scene, guid):
    """I2(d), O2: where the directory carries the id too, a stranger elsewhere changes nothing that X has closed for the moment."""
    (scene.lab.export / "of-x").mkdir()
    os.setxattr(scene.lab.export / "of-x", "user.app_instance_id", guid.encode())
    program = scene.one.python(instance=guid)
    program.create("of-x/log")
    program.write_file("of-x/control", b"x")
    stranger = scene.two.python()
    for attempt in (lambda: stranger.open("of-x/control", "rw"), lambda: stranger.unlink("of-x/control"),
                    lambda: stranger.truncate("of-x/control", 0), lambda: stranger.rename("of-x/control", "of-x/other"),
                    lambda: stranger.create("of-x/new")):
        with refused(errno.EBUSY):
            attempt()
    assert stranger.read_file("of-x/control") == b"x"
    assert sorted(os.listdir(scene.lab.export / "of-x")) == ["control", "log"]


def test_a_signal_ends_nothing_but_a_wait(scene):
    """O5: where nobody is in the way, a disk does not know EINTR, whenever the signal comes."""
    program = ["/usr/bin/python3", pathlib.Path(__file__).parent / "programs" / "signals.py"]
    running = [scene.one.popen([*program, scene.at(f"folder{n}"), 500], stdout=-1, stderr=-2, text=True) for n in range(4)]
    assert [(process.communicate(timeout=120)[0], process.returncode) for process in running] == [("", 0)] * 4


@pytest.mark.parametrize("wait", ["0", "0.3"])
def test_claim_wait_is_over(lab, guid, other_guid, wait):
    """O5: after claim_wait the answer is EBUSY; 0 does not wait at all."""
    lab.server()
    node = lab.node("one")
    node.mount(f"claim_wait={wait}")
    node.python(instance=guid).create("data")
    call = node.python(instance=other_guid).start_call("open", "data", os.O_RDWR)
    with refused(errno.EBUSY):
        call.result()
    assert float(wait) <= call.seconds < float(wait) + 2


def test_close_and_open_on_one_node(lab, guid, other_guid):
    """O5: an open right behind a close of its own node never meets the old claim, though RELEASE is asynchronous."""
    lab.server()
    node = lab.node("one")
    node.mount("claim_wait=0")
    a, b = node.python(instance=guid), node.python(instance=other_guid)
    a.close(a.create("data"))
    for _ in range(100):
        for program in (b, a):
            program.close(program.open("data", "rw"))


def test_appends_of_two_nodes(scene):
    """O7: appends from both nodes all land, each in one piece, at the end as the server knows it."""
    count = 100
    text = ("for n in range(count):\n    os.write(fd, (f'{who} {n} ' + '.' * (n % 50)).encode() + b'\\n')\n")
    programs = [node.python() for node in (scene.one, scene.two) for _ in range(2)]
    calls = [program.start_call("run", text, who=number, count=count, fd=program.create("log", flags=os.O_APPEND))
             for number, program in enumerate(programs)]
    for call in calls:
        call.result(60)
    lines = scene.stored("log").decode().splitlines()
    assert sorted(lines) == sorted(f"{name} {n} " + "." * (n % 50) for name in range(4) for n in range(count))
    for name in range(4):
        own = [line for line in lines if line.startswith(f"{name} ")]
        assert own == sorted(own, key=lambda line: int(line.split()[1]))


def test_refusal_names_the_holder(scene, guid, other_guid):
    """O2, T13: a refusal is logged once per file and caller, and names the holder; the event says from whom to whom."""
    holder = scene.one.python(instance=guid)
    holder.create("data")
    stranger = scene.two.python(instance=other_guid)
    for _ in range(3):
        with refused(errno.EBUSY):
            stranger.open("data", "rw")
    assert [(node, of, int(pid)) for node, of, pid, _ in stranger.holders("data")] == [("one", guid, holder.pid)]
    lines = [line for line in scene.server.log().splitlines() if f"pid {stranger.pid}" in line and guid in line]
    assert len(lines) == 1 and "one" in lines[0]
    event = scene.server.events("refused", guid=other_guid)[0]
    assert (event["to_node"], event["from_node"], event["pid"]) == ("two", "one", stranger.pid)
