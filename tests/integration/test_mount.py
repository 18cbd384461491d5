"""The mount as a program: how it starts, what it says, how it ends (issue 2, part 2)."""
import os
import signal

import pytest
from lab import eventually

BATONFS = "fuse.batonfs"


@pytest.fixture
def bench(lab):
    """A server, a node, and a function that runs batonfs there until it returns."""
    lab.server()
    node = lab.node("one")

    def run(*words, program="batonfs"):
        return node.run([lab.programs / program, *words], within=30)
    node.batonfs = run
    return node


def mounted(node):
    return [kind for point, kind in node.mounts() if point == str(node.lab.mount_point)]


def test_background(bench):
    """Goes to the background when the mount is usable, with no descriptor of its caller; umount ends it."""
    result = bench.batonfs("10.77.0.1", bench.lab.mount_point)   # run() reads its output to the end: it has let go of it
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert mounted(bench) == [BATONFS]
    program = bench.python()
    program.write_file("data", b"text")
    program.kill()
    program.exited()
    daemon, = [pid for pid in bench.pids() if b"batonfs" in open(f"/proc/{pid}/cmdline", "rb").read()]
    assert os.getsid(daemon) != os.getsid(bench.pid)
    assert os.readlink(f"/proc/{daemon}/cwd") == "/"
    assert {os.readlink(f"/proc/{daemon}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    bench.shell(f"umount {bench.lab.mount_point}")
    eventually(lambda: not os.path.exists(f"/proc/{daemon}"), 10, "batonfs ends with umount")


@pytest.mark.parametrize("way", ["terminate", "umount", "fusermount3"])
def test_clean_end(bench, way):
    """SIGTERM, umount and fusermount3 -u end it with status 0, and the session with it."""
    mount = bench.mount()
    if way == "terminate":
        assert mount.terminate() == 0
    elif way == "umount":
        assert mount.unmount() == 0
    else:
        bench.shell(f"fusermount3 -u {bench.lab.mount_point}")
        assert mount.process.wait(10) == 0
    assert mounted(bench) == []
    assert bench.lab.the_server.listing("sessions") == []


def test_as_mount_helper(bench):
    """mount.batonfs takes the words that mount(8) passes, among them those of fstab that are not for it."""
    options = "rw,_netdev,nofail,x-systemd.automount,node=web"
    result = bench.batonfs("10.77.0.1:7740", bench.lab.mount_point, "-o", options, program="mount.batonfs")
    assert result.returncode == 0, result.stderr
    assert mounted(bench) == [BATONFS]
    assert [session["node"] for session in bench.lab.the_server.listing("sessions")] == ["web"]
    bench.shell(f"umount {bench.lab.mount_point}")


@pytest.mark.parametrize("words, said", [
    (["10.77.0.1", "{mnt}", "-o", "nonsense"], "nonsense"),
    (["10.77.0.1", "{mnt}", "-o", "claim_wait=soon"], "claim_wait"),
    (["10.77.0.1", "/nonexistent"], "/nonexistent"),
    (["10.77.0.1:1", "{mnt}"], "10.77.0.1:1"),
    (["10.77.0.1"], "MOUNTPOINT"),
])
def test_clear_errors(bench, words, said):
    """What cannot work is said in one place, on stderr, with a status that is not 0, and nothing is mounted."""
    result = bench.batonfs(*(word.format(mnt=bench.lab.mount_point) for word in words))
    assert result.returncode != 0
    assert said in result.stderr
    assert mounted(bench) == []


def test_second_address(bench):
    """Of several servers named, the first that answers is taken."""
    bench.mount(server=type("Addresses", (), {"address": "10.77.0.1:1,10.77.0.1:7740"}))
    bench.python().write_file("data", b"text")


def test_read_only(bench):
    """-o ro: the kernel refuses every change."""
    bench.mount("ro")
    result = bench.run(["touch", bench.lab.mount_point / "data"])
    assert result.returncode != 0 and "Read-only" in result.stderr


def test_default_node_name(bench):
    """Without node= the name is the host's and the mount point's."""
    bench.batonfs("10.77.0.1", bench.lab.mount_point)
    session, = bench.lab.the_server.listing("sessions")
    assert session["node"] == f"one:{bench.lab.mount_point}"
    bench.shell(f"umount {bench.lab.mount_point}")


def test_open_files_survive_nothing_but_are_said(bench):
    """A mount that is killed leaves ENOTCONN behind, not a hang."""
    mount = bench.mount()
    program = bench.python()
    fd = program.create("data")
    mount.process.send_signal(signal.SIGKILL)
    mount.process.wait(10)
    with pytest.raises(OSError, match="107|Transport endpoint"):
        program.pwrite(fd, b"text")
